"""Write manifests: the inverse of `read_manifest`.

Conventions: rows are sorted by id; a path is relative to the manifest, with ``/`` between its parts on every system; a
column that no item fills is left out. The same items in the same places have the same bytes.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from emoclim.data.labels.valence_arousal import NUMBERS
from emoclim.data.listing import is_utf8
from emoclim.data.manifest import COLUMNS, Item
from emoclim.data.tables import PARQUET, SEPARATOR, table_bytes
from emoclim.errors import ManifestError

TEXT = tuple(
    name for name in COLUMNS if name not in ("start", "duration", *NUMBERS)
)  # even where it looks like numbers
SUFFIXES = frozenset({".csv", *PARQUET})


def check_target(target: Path) -> Path:
    """Check that a manifest can be written to a path."""
    if target.suffix.lower() not in SUFFIXES:
        raise ManifestError(f"{target} is no name for a manifest; it ends in {', '.join(sorted(SUFFIXES))}")
    if target.is_dir():
        raise ManifestError(f"{target} is a folder; give the manifest another name")
    return target


def manifest_bytes(items: Sequence[Item], target: Path, columns: Mapping[str, Mapping[str, str]]) -> bytes:
    """Make the bytes of a manifest's file."""
    if clashing := [name for name in columns if name.lower() in COLUMNS]:
        raise ManifestError(f"column {clashing[0]!r} of {target} is one that a manifest has anyway; call it otherwise")
    home, real = os.path.realpath(target.parent), lru_cache(maxsize=None)(os.path.realpath)
    rows = [
        _cells(item, _relative(item.path, home, real) if item.path else "", target)
        for item in sorted(items, key=lambda item: item.id)
    ]
    told = {name.lower() for name in columns}
    measured = dict.fromkeys(name for item in items for name in item.measures if name not in told)
    measures = {
        name: {item.id: repr(item.measures[name]) for item in items if name in item.measures} for name in measured
    }
    columns = {**measures, **columns}
    filled = [name for name in COLUMNS if name == "id" or any(row[name] for row in rows)]
    further = [name for name, cells in columns.items() if any(cells.get(row["id"]) for row in rows)]
    cells = [[*(row[name] for name in filled), *(columns[name].get(row["id"], "") for name in further)] for row in rows]
    return table_bytes([*filled, *further], cells, target.suffix, TEXT)


def is_writable(name: str) -> bool:
    """Return whether an id or a path can stand in a manifest: it is UTF-8 and comes back unchanged."""
    return bool(name) and is_utf8(name) and name == name.strip() and "\r" not in name


def _cells(item: Item, path: str, target: Path) -> dict[str, str]:
    """Make the row of an item, by column."""
    if not is_writable(item.id):
        raise ManifestError(f"the id {item.id!r} cannot stand in {target}; give another")
    if any(SEPARATOR in tag for tag in item.tags):
        raise ManifestError(
            f"a tag of {item.id} holds {SEPARATOR!r}, which parts the tags in {target}; call it otherwise"
        )
    texts = {name: getattr(item, name) or "" for name in ("label", "split", "id", "group", "pair", "text")}
    seconds = {"start": item.start, "duration": item.duration}
    given = seconds | dict(zip(NUMBERS, item.numbers or (None, None), strict=True))
    numbers = {name: "" if value is None else repr(float(value)) for name, value in given.items()}
    return {"path": path, "tags": SEPARATOR.join(item.tags), **texts, **numbers}


def _relative(path: Path, home: str, real: Callable[[str], str]) -> str:
    """Make a path relative to a folder; resolve links to folders, so that ``..`` leads where it should."""
    parent = real(str(path.parent))
    with suppress(ValueError):  # another drive
        parent = os.path.relpath(parent, home)
    return Path(parent, path.name).as_posix()
