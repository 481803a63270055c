"""What became of each item of a manifest: a table beside the cache, ``<cache>.<manifest>.items.csv``.

Each item is in exactly one state. The table is for people and for other programs; what counts is the cache itself.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from emoclim.errors import CacheError

State = Literal["committed", "failed", "missing"]


class ItemState(NamedTuple):
    """An item's id, what became of it, its content key if it has one, and why it failed if it did."""

    id: str
    state: State
    key: str = ""
    reason: str = ""


def accounts_path(cache: Path, manifest_name: str) -> Path:
    """Where the table of a manifest lies."""
    return cache.with_name(f"{cache.stem}.{manifest_name}.items.csv")


def failures_path(cache: Path, manifest_name: str) -> Path:
    """Where its failed items stand alone; there is no such file if there are none."""
    return cache.with_name(f"{cache.stem}.{manifest_name}.failures.csv")


def write_accounts(cache: Path, manifest_name: str, states: Sequence[ItemState]) -> Path:
    """Write the table, whole or not at all."""
    path = accounts_path(cache, manifest_name)
    write_table(path, [ItemState._fields, *states])
    return path


def read_accounts(path: Path) -> list[ItemState]:
    """Inverse of :func:`write_accounts`; a file that is no such table raises :class:`CacheError`."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != ItemState._fields or not all(_is_state(row) for row in rows[1:]):
        raise CacheError(f"{path} is no table of items; extract again to write it anew")
    return [ItemState._make(row) for row in rows[1:]]


def write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all; names that are no text keep their bytes."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    aside.replace(path)


def _is_state(row: Sequence[str]) -> bool:
    return len(row) == len(ItemState._fields) and row[1] in get_args(State)
