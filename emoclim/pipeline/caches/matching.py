"""Find the items of a manifest in a file of features before its numbers are read. Used by `importing`.

Of Parquet the ids are enough, mostly. Whatever looks wrong in them is told by a look at all there is, as of other
files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoclim.data import Manifest, Texts, ids_of
from emoclim.errors import CacheError, name_some
from emoclim.pipeline.caches.feature_tables import NO_ID, Block, read_blocks, read_outline
from emoclim.progress import Track

NONE = -1  # place of an item that there is not


class Given(NamedTuple):
    """A file or folder of features."""

    path: Path
    files: Sequence[Path]
    values: str  # array or column with the vectors of items


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a file of features that can be imported."""

    ids: Texts  # of each row; NO_ID where the file has none
    dim: int
    max_segments: int  # of an item
    whole: bool  # whether all numbers were looked at


def find_rows(given: Given, manifest: Manifest, track: Track, *, allow_extra: bool) -> tuple[Survey, NDArray[np.int64]]:
    """Survey a file of features; find the place of each row's item ``(N,)`` in a manifest, see :func:`match_ids`."""
    with suppress(CacheError):
        if seen := _glance(given, ids_of(manifest.items)):
            return seen, match_ids(seen.ids, manifest, given.path, allow_extra=allow_extra)
    seen = survey(given, track)
    return seen, match_ids(seen.ids, manifest, given.path, allow_extra=allow_extra)


def _glance(given: Given, own: Sequence[str]) -> Survey | None:
    """Survey a file by its ids; None where only a look at all of it tells more."""
    if (outline := read_outline(given.files, given.values)) is None:
        return None
    ids, dim = outline
    if ids != own and ids.lengths().any() and len(ids.arrow().unique()) < len(ids):
        return None
    return Survey(ids, dim, 0, whole=False)


def survey(given: Given, track: Track) -> Survey:
    """Read all items, and tell what is wrong if not all of them can be imported."""
    parts, dims, max_segments = list[Texts](), set[int](), 0
    for block in track(read_blocks(given.files, given.values), f"check {given.path.name}"):
        parts.append(block.ids)
        dims.add(block.values.shape[1])
        max_segments = max(max_segments, int(block.offsets.diff().max()) if block.ids else 0)
    ids = Texts.join(parts)
    problems = [] if ids else ["it holds no item"]
    if len(dims) > 1:
        problems.append(f"not all values are equally long ({min(dims)} to {max(dims)})")
    if twice := [id_ for id_, count in Counter(ids).items() if id_ != NO_ID and count > 1]:
        problems.append(f"{len(twice)} ids occur more than once ({name_some(twice)})")
    if problems:
        raise CacheError(f"{given.path} cannot be imported: {'; '.join(problems)}; correct it")
    return Survey(ids, dims.pop(), max_segments, whole=True)


def read_numbers(given: Given, seen: Survey, track: Track) -> Iterator[Block]:
    """Read all items of a file that was surveyed."""
    blocks, rows = _ahead(read_blocks(given.files, given.values, seen.ids)), 0
    for block in track(blocks, f"import {given.path.name}"):
        if block.values.shape[1] != seen.dim:
            survey(given, track)  # which tells how long all are
        rows += len(block.ids)
        yield block
    if rows < len(seen.ids):
        raise CacheError(f"{given.path} changed while it was read; import it again when it is whole")


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """Yield blocks, the next of which a thread reads meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(next, blocks, None)
        while (block := reading.result()) is not None:
            reading = thread.submit(next, blocks, None)
            yield block


def match_ids(ids: Texts, manifest: Manifest, file: Path, *, allow_extra: bool) -> NDArray[np.int64]:
    """Find the place of each row's item by its id, or NONE; where there are no ids, rows and items are in one order."""
    own = ids_of(manifest.items)
    if ids == own or (len(ids) == len(own) and not ids.lengths().any()):
        return np.arange(len(ids))
    places = _places(ids, Texts.of(own))
    strangers = ids.take(np.flatnonzero(places == NONE))
    if len(strangers) == len(ids) or (strangers and not allow_extra):
        named = name_some(id_ or "a row without id" for id_ in strangers)
        fault = f"{len(strangers)} of {len(ids)} rows are of no item of {manifest.source} ({named})"
        raise CacheError(f"{file}: {fault}; give them ids like {own[0]}, or leave them out with --allow-extra")
    return places


def _places(ids: Texts, own: Texts) -> NDArray[np.int64]:
    import pyarrow.compute as pc

    found = pc.index_in(ids.arrow(), value_set=own.arrow())
    places: NDArray[np.int32] = np.from_dlpack(pc.fill_null(found, NONE) if found.null_count else found)
    return places.astype(np.int64)
