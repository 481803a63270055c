"""Make and extend the index of a library, block by block, so that it takes little memory. Used by search."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.config import Average
from emoclim.data import Features, Fingerprint, Item
from emoclim.index.index import Index, IndexNote, Source, heads_name, read_index, table_names, write_note
from emoclim.index.items import Entry, write_items
from emoclim.index.numbers import NumberWriter, select
from emoclim.learning import Heads, save_heads
from emoclim.progress import Track
from emoclim.stages import Embedded, embed, longest

BLOCK = 2048  # items whose features are in memory at once

Read = Callable[[Sequence[str]], Features]  # of items of these keys


@dataclass(frozen=True, slots=True)
class IndexedLibrary:
    """What an index is made of."""

    root: Path  # where its files lie
    items: Sequence[Item]  # with features, N; each may be made when it is asked for
    keys: Sequence[str]  # of these in the cache, N
    others: Sequence[Item]  # without
    file: Callable[[Item], Fingerprint]  # of an item when it was read
    read: Read
    heads: Heads  # one pair
    average: Average
    fitted: bool  # whether the heads are fitted to this library, and kept beside it


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which items are the rows of an index."""

    places: NDArray[np.int64]  # (N,) of the items, in the order of rows
    before: NDArray[np.int64]  # (N,) which rows of the index before they were, or -1
    kept: int  # how many rows stay where they are

    def blocks(self) -> list[slice]:
        """Cut the other rows into blocks that are all new, or all were there."""
        changes = np.flatnonzero(np.diff(self.before[self.kept :] < 0)) + 1 + self.kept
        edges = pairwise([self.kept, *changes.tolist(), len(self.before)])
        return [slice(row, min(row + BLOCK, last)) for first, last in edges for row in range(first, last, BLOCK)]


def build_index(
    folder: Path, key: Mapping[str, object], source: Source, library: IndexedLibrary, before: Index | None, track: Track
) -> Index:
    """Write an index; what one `before` holds of the library is kept where its heads are the same.

    Items that are new come behind the others, or where some are gone all are written in the order of the manifest.
    """
    same = before if before and not library.fitted and before.embedded.metric == "ip" else None
    plan = _plan(library.keys, same)
    kept, count = plan.kept, len(plan.places)
    generation = (before.note.generation if before else 0) + (not kept)
    number = before.note.table + 1 if before else 1
    folder.mkdir(parents=True, exist_ok=True)
    seconds = np.zeros(count, np.float32)
    if kept and before:
        seconds[:kept] = before.items.seconds
    one: Embedded | None = before.embedded if kept and before else None
    with NumberWriter(folder, generation, before.note.numbers if kept and before else {}) as numbers:
        for one, rows, lengths in _blocks(plan, same, library, track):
            numbers.append(one)
            seconds[rows] = lengths
        numbers.sync()
        notes = numbers.notes
    entries = _entries(library, plan.places, seconds), (Entry(item, "", library.file(item)) for item in library.others)
    for name, listed in zip(table_names(number), entries, strict=True):
        write_items(folder / name, listed, library.root)
    if library.fitted:
        save_heads(library.heads, folder / heads_name(number))
    assert one is not None
    facts = one.modality, one.metric, list(one.names), count, one.vectors.shape[1]
    write_note(folder, IndexNote(dict(key), source, *facts, generation, number, notes, library.fitted))
    found = read_index(folder, library.root)
    assert found is not None
    return found


def _plan(keys: Sequence[str], before: Index | None) -> _Plan:
    """Put items in the order of their rows."""
    rows: dict[str, list[int]] = {}
    for key, row in before.items.keys() if before else ():
        rows.setdefault(key, []).append(row)
    found = (own.pop(0) if (own := rows.get(key)) else -1 for key in keys)
    was = np.fromiter(found, np.int64, len(keys))
    if before is None or any(rows.values()):
        return _Plan(np.arange(len(keys)), was, 0)
    places = np.lexsort((was, was < 0))
    return _Plan(places, was[places], before.note.rows)


def _entries(library: IndexedLibrary, places: NDArray[np.int64], seconds: NDArray[np.float32]) -> Iterator[Entry]:
    """Yield what a table says of each row."""
    for place, length in zip(places.tolist(), seconds.tolist(), strict=True):
        item, key = library.items[place], library.keys[place]
        yield Entry(item, key, library.file(item), length)


def _blocks(
    plan: _Plan, before: Index | None, library: IndexedLibrary, track: Track
) -> Iterator[tuple[Embedded, slice, NDArray[np.float32]]]:
    """Yield items behind those that stay where they are, their rows, and how long they last."""
    blocks, most = plan.blocks(), _longest(plan, library)
    for rows in track(blocks, "index", len(blocks)):
        were = plan.before[rows]
        if before is not None and were[0] >= 0:
            yield select(before.embedded, torch.from_numpy(were)), rows, before.items.seconds[were]
            continue
        features = library.read([library.keys[place] for place in plan.places[rows].tolist()])
        seconds = np.zeros(len(were), np.float32) if features.seconds is None else features.seconds.numpy()
        yield embed(features, library.heads, library.average, most), rows, seconds


def _longest(plan: _Plan, library: IndexedLibrary) -> Tensor | None:
    """Find what all candidates are brought to the length of, where they are compared by distances."""
    most: Tensor | None = None
    for rows in plan.blocks():
        if plan.before[rows.start] >= 0:
            continue
        features = library.read([library.keys[place] for place in plan.places[rows].tolist()])
        if (own := longest(features, library.heads, library.average)) is None:
            return None
        most = own if most is None else torch.maximum(most, own)
    return most
