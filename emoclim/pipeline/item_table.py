"""Record what became of each item of a manifest, in the table ``<cache>.<manifest>.items.csv`` beside the cache.

Each item has exactly one state. The tables are for people and for other programs; what counts is the cache itself.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from emoclim.cache import COLUMNS, read_rows
from emoclim.data import Item
from emoclim.errors import CacheError
from emoclim.files import atomic

State = Literal["committed", "failed", "missing"]


class ItemStatus(NamedTuple):
    """What became of an item: a row of the table."""

    id: str
    state: State
    key: str = ""  # of its content; empty if that cannot be read
    reason: str = ""  # why it failed


def item_table_path(cache: Path, manifest_name: str) -> Path:
    """Return where the table of a manifest lies."""
    return cache.with_name(f"{cache.stem}.{manifest_name}.items.csv")


def failures_path(cache: Path, manifest_name: str) -> Path:
    """Return where its failed items stand alone; there is no such file if there are none."""
    return cache.with_name(f"{cache.stem}.{manifest_name}.failures.csv")


def write_item_table(cache: Path, manifest_name: str, statuses: Sequence[ItemStatus]) -> Path:
    """Write the table, whole or not at all."""
    path = item_table_path(cache, manifest_name)
    _write_csv(path, [COLUMNS, *statuses])
    return path


def write_failures(
    cache: Path, manifest_name: str, statuses: Sequence[ItemStatus], items: Iterable[Item]
) -> Path | None:
    """Write the failed items with their paths; remove an earlier file and return None if there are none."""
    path = failures_path(cache, manifest_name)
    reasons = {status.id: status.reason for status in statuses if status.state == "failed"}
    if not reasons:
        path.unlink(missing_ok=True)
        return None
    rows = [(item.id, item.path, reasons[item.id]) for item in items if item.id in reasons]
    _write_csv(path, [("id", "path", "reason"), *rows])
    return path


def read_item_table(path: Path) -> list[ItemStatus]:
    """Read what :func:`write_item_table` wrote; a file that is no such table raises :class:`CacheError`."""
    statuses = [ItemStatus._make(row) for row in read_rows(path)]
    if not all(status.state in get_args(State) for status in statuses):
        raise CacheError(f"{path} is no table of items; extract again to write it anew")
    return statuses


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file; names of files that are no UTF-8 keep their bytes."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
