"""What became of each item of a manifest: a table beside the cache, ``<cache>.<manifest>.items.csv``.

Each item is in exactly one state. The table is for people and for other programs; what counts is the cache itself.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from emoclim.cache import COLUMNS, read_rows
from emoclim.errors import CacheError
from emoclim.files import atomic

State = Literal["committed", "failed", "missing"]


class ItemStatus(NamedTuple):
    """An item's id, what became of it, its content key if it has one, and why it failed if it did."""

    id: str
    state: State
    key: str = ""
    reason: str = ""


def item_table_path(cache: Path, manifest_name: str) -> Path:
    """Where the table of a manifest lies."""
    return cache.with_name(f"{cache.stem}.{manifest_name}.items.csv")


def failures_path(cache: Path, manifest_name: str) -> Path:
    """Where its failed items stand alone; there is no such file if there are none."""
    return cache.with_name(f"{cache.stem}.{manifest_name}.failures.csv")


def write_item_table(cache: Path, manifest_name: str, states: Sequence[ItemStatus]) -> Path:
    """Write the table, whole or not at all."""
    path = item_table_path(cache, manifest_name)
    write_csv(path, [COLUMNS, *states])
    return path


def read_item_table(path: Path) -> list[ItemStatus]:
    """Inverse of :func:`write_item_table`; a file that is no such table raises :class:`CacheError`."""
    states = [ItemStatus._make(row) for row in read_rows(path)]
    if not all(item.state in get_args(State) for item in states):
        raise CacheError(f"{path} is no table of items; extract again to write it anew")
    return states


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all; names that are no text keep their bytes."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
