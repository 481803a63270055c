"""Tables of items beside a cache: what became of each item of a manifest, and which key an id stands for.

For each manifest that was extracted into ``<stem>.h5`` or ``<stem>.zarr`` there is ``<stem>.<manifest>.items.csv``,
with each item in exactly one state, then the files of a folder that were left out. It is for people, other programs and
looking up ids; what counts is the cache.
"""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from emoclim.cache.statuses import ROWS, State, status_rows
from emoclim.data import ContentKeys, FeatureSpec, Item, shown_path
from emoclim.errors import CacheError, DecodeError, name_some
from emoclim.files import FORMULA, atomic, csv_bytes, shielded, write_bytes

if TYPE_CHECKING:  # loaded by what reads columns; listing what there is does without
    import numpy as np
    from numpy.typing import NDArray

    from emoclim.data import Texts

LONGEST_NAME = 100  # bytes of a manifest's name in those of its tables; file systems take 255 in all
BY_ID = "id:"  # begins the keys of imported features, which are known by their ids
FORMULA_LINE = re.compile(rf"^{FORMULA.pattern}", re.MULTILINE)
# control characters stand as \x1b; slashes before them, and before what looks like one, are doubled
CONTROLS = re.compile(r"(\\*)([\x00-\x1f\x7f-\x9f]|(?<=\\)x[0-9a-f]{2})")


class ItemStatus(NamedTuple):
    """An item's id, what became of it, its content key if it has one, and why it failed if it did."""

    id: str
    state: State
    key: str = ""
    reason: str = ""


def item_table_path(cache: Path, manifest_name: str) -> Path:
    """Return where the table of a manifest's items lies."""
    return cache.with_name(f"{cache.stem}.{_short(manifest_name)}.items.csv")


def failures_path(cache: Path, manifest_name: str) -> Path:
    """Return where a manifest's failed items stand alone; there is no such file if there are none."""
    return cache.with_name(f"{cache.stem}.{_short(manifest_name)}.failures.csv")


def _short(name: str) -> str:
    """Cut a name that leaves no room for a cache's beside it, and make it another one's none the less."""
    encoded = os.fsencode(name)
    if len(encoded) <= LONGEST_NAME:
        return name
    return f"{encoded[:LONGEST_NAME].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:6]}"


def write_item_table(cache: Path, manifest_name: str, statuses: Sequence[ItemStatus]) -> Path:
    """Write the table of a manifest's items, whole or not at all."""
    path = item_table_path(cache, manifest_name)
    _write_csv(path, [ItemStatus._fields, *statuses])
    return path


def write_imported_table(cache: Path, manifest_name: str, ids: Sequence[str], there: "NDArray[np.bool_]") -> None:
    """Write the table of items that are known by their ids, of which some are `there` ``(N,)`` and the others not."""
    from emoclim.data import Texts

    with atomic(item_table_path(cache, manifest_name)) as partial, partial.open("wb") as file:
        file.write(csv_bytes([ItemStatus._fields]))
        for first in range(0, len(ids), ROWS):
            part = slice(first, first + ROWS)
            file.write(_imported_rows(Texts.of(ids[part]), there[part]))


def _imported_rows(ids: "Texts", there: "NDArray[np.bool_]") -> bytes:
    """Write rows of a table of items; of many plain ids without a Python object of each."""
    states: tuple[State, State] = ("missing", "committed")
    if len(ids) < ROWS or not _are_plain(ids):
        own = zip(ids, there.tolist(), strict=True)
        return _csv([ItemStatus(id_, states[held], f"{BY_ID}{id_}") for id_, held in own])
    import numpy as np
    import pyarrow.compute as pc

    from emoclim.data import Texts

    told = Texts.of([f",{state},{BY_ID}" for state in states])
    middle = told.arrow()[int(there[0])] if (there == there[0]).all() else told.take(there.astype(np.int64)).arrow()
    end, nothing = Texts.of([",\n", ""]).arrow()
    rows = pc.binary_join_element_wise(ids.arrow(), middle, ids.arrow(), end, nothing)
    return Texts.of(rows).bytes().tobytes()


def _are_plain(ids: "Texts") -> bool:
    """Tell whether a CSV file surely has texts as they are, by a look at all at once."""
    if not ids.lengths().all():
        return False
    text, signs = ids.bytes().tobytes().decode(errors="replace"), set(ids.data[ids.offsets[:-1]].tolist())
    told = any(sign in text for sign in (",", '"', "\\", "\ufffd"))
    return text.isprintable() and not told and not any(sign == ord("'") or FORMULA.match(chr(sign)) for sign in signs)


def keys_by_id(ids: Sequence[str]) -> Sequence[str]:
    """Return the keys of imported features, whose ids are known."""
    if len(ids) < ROWS:
        return tuple(f"{BY_ID}{id_}" for id_ in ids)
    import pyarrow.compute as pc

    from emoclim.data import Texts

    begin, nothing = Texts.of([BY_ID, ""]).arrow()
    return Texts.of(pc.binary_join_element_wise(begin, Texts.of(ids).arrow(), nothing))


def write_failures(
    cache: Path, manifest_name: str, statuses: Sequence[ItemStatus], items: Iterable[Item]
) -> Path | None:
    """Write the failed items with their paths; remove an earlier file and return None if there are none."""
    path = failures_path(cache, manifest_name)
    reasons = {status.id: status.reason for status in statuses if status.state == "failed"}
    if not reasons:
        path.unlink(missing_ok=True)
        return None
    rows = [(item.id, item.path and shown_path(item.path), reasons[item.id]) for item in items if item.id in reasons]
    _write_csv(path, [("id", "path", "reason"), *rows])
    return path


def read_item_table(path: Path) -> list[ItemStatus]:
    """Read a table of items; raise :class:`CacheError` for a file that is none."""
    return list(map(ItemStatus._make, chain.from_iterable(status_rows(path))))


def key_of(item: Item, spec: FeatureSpec, keys: ContentKeys) -> str:
    """Return the key of an item in a cache of that spec; raise as `keys` does if its file is needed and gone."""
    return f"{BY_ID}{item.id}" if spec.keyed_by_id else keys(item)


def item_statuses(
    items: Iterable[Item], key: Callable[[Item], str], committed: Collection[str], failures: Mapping[str, str]
) -> list[ItemStatus]:
    """Tell what became of items by what a cache holds now; where `key` raises :class:`DecodeError`, they failed."""
    statuses = []
    for item in items:
        try:
            own = key(item)
        except DecodeError as error:
            statuses.append(ItemStatus(item.id, "failed", "", str(error)))
            continue
        reason = failures.get(own, "")
        state: State = "committed" if own in committed else "failed" if reason else "missing"
        statuses.append(ItemStatus(item.id, state, own, reason))
    return statuses


def refreshed(status: ItemStatus, committed: Collection[str]) -> ItemStatus:
    """Update a status: the content may have been encoded, or be gone, since its table was written."""
    if status.key in committed:
        return ItemStatus(status.id, "committed", status.key)
    return status._replace(state="missing") if status.state == "committed" else status


def find_keys(
    ids: Sequence[str],
    holds: "Callable[[Sequence[str]], NDArray[np.bool_]]",
    tables: Iterable[tuple[str, Sequence[ItemStatus]]],
    where: str,
) -> list[str]:
    """Find the keys of items by id; raise :class:`CacheError` for those that are unknown or ambiguous."""
    meant: dict[str, dict[str, str]] = {id_: {} for id_ in compress(ids, ~holds(ids))}  # key -> who says so
    for id_ in compress(meant, holds(keys_by_id(tuple(meant)))):
        meant[id_][f"{BY_ID}{id_}"] = "what was imported"
    for name, statuses in tables if meant else ():
        for item in statuses:
            if item.state == "committed" and item.id in meant:
                meant[item.id].setdefault(item.key, name)
    for id_, keys in meant.items():
        if len(keys) > 1:
            raise CacheError(
                f"{id_!r} stands for different contents in {' and '.join(keys.values())} beside {where}; "
                "ask for it by its key, which is in these tables"
            )
    found = {id_: next(iter(keys), "") for id_, keys in meant.items()}
    if unknown := list(compress(found, ~holds(tuple(found.values())))):
        raise CacheError(
            f"{where} does not hold {len(unknown)} of the {len(ids)} items asked for ({name_some(unknown)}); "
            "extract these items first, or see in the tables beside it how they are called"
        )
    return [found.get(id_, id_) for id_ in ids]


def ids_by_key(cache: Path) -> dict[str, str]:
    """Map keys to ids, as far as the tables beside a cache can be read; the one that was written last counts."""
    ids: dict[str, str] = {}
    for table in sorted(item_tables(cache), key=lambda path: path.stat().st_mtime_ns):
        with suppress(CacheError):
            ids |= {item.key: item.id for item in read_item_table(table) if item.key}
    return ids


def item_tables(cache: Path) -> list[Path]:
    """List the tables beside a cache, by name."""
    begin = f"{cache.stem}."
    return sorted(path for path in cache.parent.glob("*.items.csv") if path.name.startswith(begin))


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    write_bytes(path, b"".join(_csv(rows[first : first + ROWS]) for first in range(0, len(rows), ROWS)))


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    return csv_bytes(rows if _is_plain(rows) else [map(_shielded, row) for row in rows], "backslashreplace")


def _is_plain(rows: Sequence[Sequence[object]]) -> bool:
    """Tell whether :func:`_shielded` surely leaves all cells of some rows as they are, by a look at all at once."""
    cells = [cell for row in rows for cell in row if type(cell) is str]
    if len(cells) < sum(map(len, rows)):
        return False
    text = "".join(cells)
    return text.isprintable() and "\\x" not in text and not FORMULA_LINE.search("\n".join(cells))


def _shielded(cell: object) -> str:
    """Write a cell so that no spreadsheet runs it, and no terminal obeys it."""
    text = "" if cell is None else str(cell)
    if not text.isprintable() or "\\x" in text:
        text = CONTROLS.sub(_escape, text)
    return shielded(text)


def _escape(found: re.Match[str]) -> str:
    slashes, control = found[1] * 2, found[2]
    return f"{slashes}\\x{ord(control):02x}" if len(control) == 1 else slashes + control
