"""Verify a cache for `emoclim cache verify`: its checksums, its tables of items, and some items encoded again."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from emoclim.cache import (
    CacheManifest,
    FeatureCache,
    MemoryCache,
    SourceRef,
    ids_by_key,
    item_table_path,
    open_cache,
    read_item_table,
    refreshed,
    write_item_table,
)
from emoclim.data import ContentKeys, Item, Manifest
from emoclim.encoders import Encoder
from emoclim.errors import CacheError, DecodeError, EmoclimError, name_some
from emoclim.files import PARTIAL
from emoclim.pipeline.caches.compare import Gap, gap_between
from emoclim.pipeline.caches.find import changed_versions, encoder_of, find_path, note_of
from emoclim.pipeline.library import open_library
from emoclim.pipeline.workspace import Workspace, choose_device
from emoclim.progress import Track, silent
from emoclim.stages import extract

BLOCK_ITEMS = 256  # read at once
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Verification:
    """What one `emoclim cache verify` found."""

    cache: Path
    items: int
    damaged: tuple[str, ...]  # ids, or keys where no manifest tells the id
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    gap: Gap | None  # between items as they are and encoded again; None if none were
    tolerance: float
    repaired: bool = False  # the damaged items are left out now

    @property
    def drifted(self) -> bool:
        """Whether the encoder makes other features today."""
        return self.gap is not None and (self.gap.difference > self.tolerance or self.gap.recut > 0)

    @property
    def sound(self) -> bool:
        """Whether the cache may be trusted."""
        return not (self.damaged or self.problems or self.drifted)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        again = None if self.gap is None else asdict(self.gap) | {"tolerance": self.tolerance}
        plain = {name: value for name, value in asdict(self).items() if name not in ("gap", "tolerance")}
        return plain | {"cache": str(self.cache), "sound": self.sound, "encoded_again": again}

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = []
        if self.damaged:
            remedy = "leave them out with --repair, then extract them again"
            if self.repaired:
                remedy = "they are left out now; extract them again"
            lines.append(
                f"{self.cache} is damaged: the numbers of {len(self.damaged)} items are not what was written "
                f"({name_some(self.damaged)}); {remedy}"
            )
        lines += self.problems
        if self.gap is not None:
            verdict = f"worst: {self.gap.worst}; not the same encoder any more" if self.drifted else "within tolerance"
            lines.append(f"encoded again: {self.gap.told()} ({verdict})")
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
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
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
        damaged, ids = _damaged(cache, track), ids_by_key(note.path)
        problems, remarks = cache.problems(), tuple(changed_versions(note))
        if path.resolve().parent.suffix == PARTIAL:
            problems += (f"{path} was being made by a run that did not end; delete it, and run that again",)
        for source in note.sources:
            wrong, stale = _disagreements(note, source, cache)
            problems, remarks = problems + wrong, remarks + stale
        gap = None
        if encode:
            encoder = encoder_of(note, track)
            chosen = _choose(note, cache.keys() - frozenset(damaged), encode, seed, workspace)
            gap, failed = _encode_again(cache, encoder, chosen, choose_device(device), track)
            gap = replace(gap, worst=ids.get(gap.worst, gap.worst))
            problems += failed
        items = len(cache)
    if damaged and repair:
        _leave_out(note, damaged)
    named = tuple(ids.get(key, key) for key in damaged)
    return Verification(note.path, items, named, problems, remarks, gap, tolerance, bool(damaged) and repair)


def _damaged(cache: FeatureCache, track: Track) -> list[str]:
    """Keys of the items that cannot be read as they were written."""
    keys = list(cache)
    blocks = [keys[first : first + BLOCK_ITEMS] for first in range(0, len(keys), BLOCK_ITEMS)]
    return [key for block in track(blocks, description="verify") for key in _damaged_of(cache, block)]


def _damaged_of(cache: FeatureCache, keys: list[str]) -> list[str]:
    try:
        cache.read(keys)
    except CacheError:
        half = len(keys) // 2
        return keys if len(keys) == 1 else _damaged_of(cache, keys[:half]) + _damaged_of(cache, keys[half:])
    return []


def _leave_out(note: CacheManifest, damaged: list[str]) -> None:
    """Take items back, and say so in the tables of items."""
    with open_cache(note.path, note.spec) as cache:
        cache.leave_out(damaged)
        for source in note.sources:
            with suppress(CacheError):  # a table that is missing or spoilt is written anew by the next extraction
                statuses = read_item_table(item_table_path(note.path, source.name))
                write_item_table(note.path, source.name, [refreshed(status, cache) for status in statuses])


def _disagreements(
    note: CacheManifest, source: SourceRef, cache: FeatureCache
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the table of a manifest's items says more than is true, and where it says less."""
    table = item_table_path(note.path, source.name)
    if not table.is_file():
        return (), (f"{table} is missing; extract again to write it anew",)
    try:
        states = read_item_table(table)
    except CacheError as error:
        return (str(error),), ()
    committed, problems, remarks = cache.keys(), [], []
    if twice := [id_ for id_, count in Counter(state.id for state in states).items() if count > 1]:
        problems.append(f"{table} lists {len(twice)} items more than once ({name_some(twice)}); extract again")
    if lost := [state.id for state in states if state.state == "committed" and state.key not in committed]:
        problems.append(
            f"{table} calls {len(lost)} items committed that the cache does not hold ({name_some(lost)}); extract again"
        )
    if found := [state.id for state in states if state.state != "committed" and state.key in committed]:
        remarks.append(
            f"{table} does not know yet that {len(found)} items were encoded since; extract again to renew it"
        )
    return tuple(problems), tuple(remarks)


def _encode_again(
    cache: FeatureCache, encoder: Encoder, chosen: dict[str, Item], device: torch.device, track: Track
) -> tuple[Gap, tuple[str, ...]]:
    """How far items encoded from their files are from those in the cache, and why some cannot be encoded any more."""
    manifest = Manifest(f"{len(chosen)} items again", encoder.spec.modality, Path(), tuple(chosen.values()))
    with MemoryCache(encoder.spec) as again:
        extraction = extract(manifest, encoder, again, device=device, track=track)
        made = [key for key in chosen if key in again]
        gap = gap_between(cache.read(made), again.read(made))
    failures = extraction.failures
    return gap, tuple(f"{one.id} was encoded, and cannot be any more: {one.reason}" for one in failures)


def _choose(
    note: CacheManifest, committed: Collection[str], count: int, seed: int, workspace: Workspace
) -> dict[str, Item]:
    """Up to so many random items whose files are there and as they were, by key."""
    keys = ContentKeys(workspace.caches / "content.json")
    chosen: dict[str, Item] = {}
    for key, item in _unchanged_items(note, committed, keys, seed):
        chosen.setdefault(key, item)
        if len(chosen) == count:
            break
    keys.save()
    if not chosen:
        raise CacheError(
            f"no item of {note.path} can be encoded again, for no file is there and as it was; extract them"
        )
    return chosen


def _unchanged_items(
    note: CacheManifest, committed: Collection[str], keys: ContentKeys, seed: int
) -> Iterator[tuple[str, Item]]:
    """Items of all manifests that are still there, in random order, with their keys, if these are committed."""
    items: list[Item] = []
    for source in note.sources:
        try:
            items += open_library(note, source, need_files=False).manifest.items
        except EmoclimError:  # a manifest that is gone has no items to encode
            continue
    for row in torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist():
        try:
            key = keys(items[row])
        except DecodeError:
            continue
        if key in committed:
            yield key, items[row]
