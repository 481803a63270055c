"""Ids of items: what a cache knows by its content is known to a manifest by a name.

Convention: beside a cache ``<stem>.h5`` or ``<stem>.zarr`` lies, for each manifest that was extracted into it, a table
``<stem>.<manifest>.items.csv`` with the columns ``id,state,key,reason``; rows whose state is ``committed`` have a key.
Imported features are keyed by id: ``id:<id>``.
"""

import csv
from collections.abc import KeysView, Sequence
from contextlib import suppress
from pathlib import Path

from emoclim.errors import CacheError, name_some

COLUMNS = ["id", "state", "key", "reason"]
COMMITTED = "committed"
BY_ID = "id:"  # begins the keys of imported features


def find_keys(ids: Sequence[str], committed: KeysView[str], cache: Path | None) -> list[str]:
    """Keys of some items."""
    meant: dict[str, dict[str, str]] = {id_: {} for id_ in ids if id_ not in committed}  # key -> who says so
    for id_, keys in meant.items():
        if (key := f"{BY_ID}{id_}") in committed:
            keys[key] = "what was imported"
    for table in _tables(cache) if meant else ():
        for id_, state, key, _ in read_rows(table):
            if state == COMMITTED and id_ in meant:
                meant[id_].setdefault(key, table.name)
    where = "the cache" if cache is None else f"cache {cache}"
    for id_, keys in meant.items():
        if len(keys) > 1:
            raise CacheError(
                f"{id_!r} stands for different contents in {' and '.join(keys.values())} beside {where}; "
                "ask for it by its key, which is in these tables"
            )
    if unknown := [id_ for id_, keys in meant.items() if not committed & keys.keys()]:
        raise CacheError(
            f"{where} does not hold {len(unknown)} of the {len(ids)} items asked for ({name_some(unknown)}); "
            "extract these items first, or see in the tables beside it how they are called"
        )
    return [next(iter(meant[id_])) if id_ in meant else id_ for id_ in ids]


def ids_beside(cache: Path) -> dict[str, str]:
    """Ids by key, as far as the tables beside a cache can be read."""
    ids: dict[str, str] = {}
    for table in _tables(cache):
        with suppress(CacheError):
            ids |= {key: id_ for id_, _, key, _ in read_rows(table) if key}
    return ids


def _tables(cache: Path | None) -> list[Path]:
    """The tables beside a cache, by name."""
    if cache is None:
        return []
    begin = f"{cache.stem}."
    return sorted(path for path in cache.parent.glob("*.items.csv") if path.name.startswith(begin))


def read_rows(table: Path) -> list[list[str]]:
    """Rows of a table of items, under :data:`COLUMNS`; a file that is none raises :class:`CacheError`."""
    try:
        with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise CacheError(
            f"{table} cannot be read as a table of items ({error}); extract again to write it anew"
        ) from error
    if not rows or rows[0] != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise CacheError(f"{table} is no table of items; extract again to write it anew")
    return rows[1:]
