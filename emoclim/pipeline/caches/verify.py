"""Verify a cache by its checksums, its tables of items and some items encoded again: `emoclim cache verify`."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python

from emoclim.cache import (
    CacheNote,
    FeatureCache,
    MemoryCache,
    SourceRef,
    ids_by_key,
    in_blocks,
    item_table_path,
    open_cache,
    read_item_table,
    refreshed,
    status_columns,
    write_item_table,
)
from emoclim.data import ContentKeys, Item, Manifest
from emoclim.encoders import choose_device
from emoclim.errors import CacheError, DecodeError, EmoclimError, name_some
from emoclim.files import PARTIAL
from emoclim.pipeline.caches.diff import FeatureDiff, compare_features
from emoclim.pipeline.find_caches import changed_versions, encoder_of, find_path, note_of
from emoclim.pipeline.library import open_library
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.stages import extract

TOLERANCE = 1e-4
BLOCK_BYTES = 1 << 23  # read at once, about


@dataclass(frozen=True, slots=True)
class Verification:
    """What one `emoclim cache verify` found."""

    cache: Path
    items: int
    damaged: tuple[str, ...]  # ids, or keys where no manifest tells the id
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    encoded_again: FeatureDiff | None  # between items as they are and as they are made today; None if none were
    tolerance: float
    repaired: bool = False  # the damaged items are left out now

    @property
    def drifted(self) -> bool:
        """Tell whether the encoder makes other features today."""
        again = self.encoded_again
        return again is not None and (again.difference > self.tolerance or again.recut > 0)

    @property
    def sound(self) -> bool:
        """Tell whether the cache may be trusted."""
        return not (self.damaged or self.problems or self.drifted)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = dict(to_jsonable_python(self))
        tolerance = plain.pop("tolerance")
        if self.encoded_again:
            plain["encoded_again"]["tolerance"] = tolerance
        return plain | {"sound": self.sound}

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        lines = []
        if self.damaged:
            left_out = "they are left out now;" if self.repaired else "leave them out with --repair, then"
            lines.append(
                f"{self.cache} is damaged: the numbers of {len(self.damaged)} items are not what was written "
                f"({name_some(self.damaged)}); {left_out} extract them again"
            )
        lines += self.problems
        if again := self.encoded_again:
            verdict = f"worst: {again.worst}; not the same encoder any more" if self.drifted else "within tolerance"
            lines.append(f"encoded again: {again.message()} ({verdict})")
        if self.sound:
            lines.insert(0, f"{self.cache} is sound: all {self.items} items were read and are what was written")
        return [*lines, *self.remarks]


def verify_cache(
    name: str,
    *,
    encode: int = 0,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    repair: bool = False,
    device: str = "auto",
    workspace: Workspace,
    track: Track = silent,
) -> Verification:
    """Read all of a cache, encode `encode` of its items again, and with `repair` leave out those that are damaged."""
    path = find_path(workspace, name)
    try:
        cache = open_cache(path)
    except CacheError as error:
        return Verification(path, 0, (), (str(error),), (), None, tolerance)
    with cache:
        note = note_of(path)
        damaged = _damaged(cache, track)
        problems, remarks = cache.problems(), tuple(changed_versions(note))
        if path.resolve().parent.suffix == PARTIAL:
            problems += (f"{path} was being made by a run that did not end; delete it, and run that again",)
        if lines := note.spec.differences(cache.spec):
            what = f"the note beside {path} is of other features ({'; '.join(lines)})"
            problems += (f"{what}; extract or import its manifest again to write it anew",)
        for source in note.sources:
            wrong, stale = _disagreements(note, source, cache)
            problems, remarks = problems + wrong, remarks + stale
        again, ids = None, ids_by_key(note.path) if damaged or encode else {}
        if encode:
            again, failed = _encode_again(note, cache, damaged, encode, seed, choose_device(device), workspace, track)
            again = replace(again, worst=ids.get(again.worst, again.worst))
            problems += failed
        items = len(cache)
    if damaged and repair:
        _leave_out(note, damaged)
    named = tuple(ids.get(key, key) for key in damaged)
    return Verification(note.path, items, named, problems, remarks, again, tolerance, bool(damaged) and repair)


def _damaged(cache: FeatureCache, track: Track) -> list[str]:
    """Find the keys of the items that cannot be read as they were written."""

    def among(keys: Sequence[str]) -> list[str]:
        try:
            cache.read(keys)
        except CacheError:
            half = len(keys) // 2
            return [*among(keys[:half]), *among(keys[half:])] if half else list(keys)
        return []

    rows = len(cache) + cache.n_segments
    size = max(1, BLOCK_BYTES * len(cache) // max(1, 4 * cache.spec.dim * rows))
    return [key for block in track(in_blocks(cache.in_order(), size), description="verify") for key in among(block)]


def _leave_out(note: CacheNote, damaged: list[str]) -> None:
    """Take items back, and say so in the tables of items."""
    with open_cache(note.path, note.spec) as cache:
        cache.leave_out(damaged)
        for source in note.sources:
            with suppress(CacheError):  # a table that is missing or spoilt is written anew by the next extraction
                statuses = read_item_table(item_table_path(note.path, source.name))
                write_item_table(note.path, source.name, [refreshed(status, cache) for status in statuses])


def _disagreements(note: CacheNote, source: SourceRef, cache: FeatureCache) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell where the table of a manifest's items says more than is true, and where it says less."""
    table = item_table_path(note.path, source.name)
    if not table.is_file():
        return (), (f"{table} is missing; extract again to write it anew",)
    hashes, lost, found, problems, remarks = [np.empty(0, np.int64)], list[str](), list[str](), list[str](), list[str]()
    try:
        for rows in status_columns(table):
            hashes.append(rows.ids.hashes())
            said, held = rows.states.are("committed"), cache.holds(rows.keys)
            lost += rows.ids.take(np.flatnonzero(said & ~held))
            found += rows.ids.take(np.flatnonzero(held & ~said))
        twice = _repeated(table, np.concatenate(hashes))
    except CacheError as error:
        return (str(error),), ()
    if twice:
        problems.append(f"{table} lists {len(twice)} items more than once ({name_some(twice)}); extract again")
    if lost:
        problems.append(
            f"{table} calls {len(lost)} items committed that the cache does not hold ({name_some(lost)}); extract again"
        )
    if found:
        remarks.append(
            f"{table} does not know yet that {len(found)} items were encoded since; extract again to renew it"
        )
    return tuple(problems), tuple(remarks)


def _repeated(table: Path, hashes: NDArray[np.int64]) -> list[str]:
    """Return the ids that a table of items lists more than once, given the hash of each."""
    hashes.sort()
    again = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(again):
        return []
    some = (ids.take(np.flatnonzero(np.isin(ids.hashes(), again))) for ids, *_ in status_columns(table))
    return [id_ for id_, count in Counter(chain.from_iterable(some)).items() if count > 1]


def _encode_again(
    note: CacheNote,
    cache: FeatureCache,
    damaged: Collection[str],
    count: int,
    seed: int,
    device: torch.device,
    workspace: Workspace,
    track: Track,
) -> tuple[FeatureDiff, tuple[str, ...]]:
    """Encode some random items again; return how far they are from those kept, and why some cannot be encoded."""
    encoder, keys = encoder_of(note, track), workspace.content_keys()
    chosen = _choose(note, cache.keys(), frozenset(damaged), count, seed, keys)
    keys.save()
    if not chosen:
        raise CacheError(f"no item of {note.path} can be encoded again, for no file is as it was; extract them")
    manifest = Manifest(f"{len(chosen)} items again", encoder.spec.modality, Path(), tuple(chosen.values()))
    with MemoryCache(encoder.spec) as again:
        failures = extract(manifest, encoder, again, device=device, track=track).failures
        made = [key for key in chosen if key in again]
        difference = compare_features(cache.read(made), again.read(made))
    return difference, tuple(f"{one.id} was encoded, and cannot be any more: {one.reason}" for one in failures)


def _choose(
    note: CacheNote, committed: Collection[str], damaged: Collection[str], count: int, seed: int, keys: ContentKeys
) -> dict[str, Item]:
    """Choose up to so many random sound items of all manifests, by key, whose files are there and as they were."""
    items: list[Item] = []
    for source in note.sources:
        with suppress(EmoclimError):  # a manifest that is gone has no items to encode
            items += open_library(note, source, need_files=False).manifest.items
    chosen: dict[str, Item] = {}
    for row in torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist():
        with suppress(DecodeError):
            if (key := keys(items[row])) in committed and key not in damaged:
                chosen.setdefault(key, items[row])
        if len(chosen) == count:
            break
    return chosen
