"""Make and extend the index of a library, block by block, so that it takes little memory. Used by search."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.cache import in_blocks
from emoclim.config import Average
from emoclim.data import Features
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
    entries: Sequence[Entry]  # with features
    others: Sequence[Entry]  # without
    read: Read
    heads: Heads  # one pair
    average: Average
    files: bool  # whether features are of the files as they are
    fitted: bool  # whether the heads are fitted to this library, and kept beside it


@dataclass(frozen=True, slots=True)
class _Planned:
    """An item, in the order of rows, and which row of the index before it was, or -1."""

    entry: Entry
    before: int


def build_index(
    folder: Path, key: Mapping[str, object], source: Source, library: IndexedLibrary, before: Index | None, track: Track
) -> Index:
    """Write an index; what one `before` holds of the library is kept where its heads are the same.

    Items that are new come behind the others, or where some are gone all are written in the order of the manifest.
    """
    same = before if before and not library.fitted and before.embedded.metric == "ip" else None
    plan, kept = _plan(library.entries, same)
    generation = (before.note.generation if before else 0) + (not kept)
    number = before.note.table + 1 if before else 1
    folder.mkdir(parents=True, exist_ok=True)
    seconds = np.zeros(len(plan), np.float32)
    if kept and before:
        seconds[:kept] = before.items.seconds
    one: Embedded | None = before.embedded if kept and before else None
    with NumberWriter(folder, generation, before.note.numbers if kept and before else {}) as numbers:
        for one, rows, lengths in _blocks(plan, kept, same, library, track):
            numbers.append(one)
            seconds[rows] = lengths
        numbers.sync()
        notes = numbers.notes
    entries = (replace(each.entry, seconds=float(seconds[row])) for row, each in enumerate(plan))
    for name, listed in zip(table_names(number), (entries, library.others), strict=True):
        write_items(folder / name, listed, library.root, files=library.files)
    if library.fitted:
        save_heads(library.heads, folder / heads_name(number))
    assert one is not None
    facts = one.modality, one.metric, list(one.names), len(plan), one.vectors.shape[1]
    write_note(folder, IndexNote(dict(key), source, *facts, generation, number, notes, library.fitted))
    found = read_index(folder, library.root)
    assert found is not None
    return found


def _plan(entries: Sequence[Entry], before: Index | None) -> tuple[list[_Planned], int]:
    """Put items in the order of their rows; tell how many rows of the index before stay where they are."""
    rows: dict[str, list[int]] = {}
    for key, row in reversed(list(before.items.keys()) if before else []):
        rows.setdefault(key, []).append(row)
    plan = [_Planned(one, rows[one.key].pop() if rows.get(one.key) else -1) for one in entries]
    if before is None or any(rows.values()):
        return plan, 0
    return sorted(plan, key=lambda one: (one.before < 0, one.before)), before.note.rows


def _blocks(
    plan: Sequence[_Planned], kept: int, before: Index | None, library: IndexedLibrary, track: Track
) -> Iterator[tuple[Embedded, slice, NDArray[np.float32]]]:
    """Yield items behind those that stay where they are, their rows, and how long they last."""
    most = _longest(plan, library)
    runs = [list(run) for _, run in groupby(plan[kept:], lambda one: one.before < 0)]
    blocks = [block for run in runs for block in in_blocks(run, BLOCK)]
    row = kept
    for block in track(blocks, "index", len(blocks)):
        rows = slice(row, row := row + len(block))
        if before is not None and block[0].before >= 0:
            places = [one.before for one in block]
            yield select(before.embedded, torch.tensor(places)), rows, before.items.seconds[places]
            continue
        features = library.read([one.entry.key for one in block])
        seconds = np.zeros(len(block), np.float32) if features.seconds is None else features.seconds.numpy()
        yield embed(features, library.heads, library.average, most), rows, seconds


def _longest(plan: Sequence[_Planned], library: IndexedLibrary) -> Tensor | None:
    """Find what all candidates are brought to the length of, where they are compared by distances."""
    most: Tensor | None = None
    new = [one.entry.key for one in plan if one.before < 0]
    for block in in_blocks(new, BLOCK):
        if (own := longest(library.read(block), library.heads, library.average)) is None:
            return None
        most = own if most is None else torch.maximum(most, own)
    return most
