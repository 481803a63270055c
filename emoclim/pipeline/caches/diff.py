"""Compare two caches (`emoclim cache diff`), or two sets of features of the same items (`verify --re-encode`)."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from emoclim.cache import CacheNote, FeatureCache, ids_by_key, in_blocks, open_cache, split_features
from emoclim.data import Features
from emoclim.errors import name_some
from emoclim.pipeline.find_caches import find_cache
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent


@dataclass(frozen=True, slots=True)
class FeatureDiff:
    """How far the features of some items are apart."""

    items: int = 0
    difference: float = 0.0  # the largest of two numbers, as a share of the largest number of their item
    cosine: float = 1.0  # the smallest of two values of an item
    worst: str = ""  # the item with the largest difference
    recut: int = 0  # items that have another number of segments

    def merged(self, other: "FeatureDiff") -> "FeatureDiff":
        """Add the items of another comparison."""
        return FeatureDiff(
            self.items + other.items,
            max(self.difference, other.difference),
            min(self.cosine, other.cosine),
            other.worst if other.difference > self.difference or not self.worst else self.worst,
            self.recut + other.recut,
        )

    def message(self) -> str:
        """Say it in words."""
        apart = f"differ by at most {self.difference:.2g} of the largest number of an item"
        if not self.difference and not self.recut:
            apart = "are equal, bit for bit"
        recut = f"; {self.recut} have another number of segments" if self.recut else ""
        return f"{self.items} items {apart}, smallest cosine {self.cosine:.7g}{recut}"


def compare_features(one: Features, other: Features) -> FeatureDiff:
    """Compare features of the same items, in the same order; segments count where both sides keep some."""
    if not len(one):
        return FeatureDiff()
    tiny = torch.finfo(torch.float32).tiny
    difference = (one.values - other.values).abs().amax(1) / one.values.abs().amax(1).clamp(min=tiny)  # (N,)
    recut = 0
    segments = one.segments is not None and other.segments is not None
    for n, (mine, theirs) in enumerate(zip(split_features(one), split_features(other), strict=True)):
        counts = [0 if item.segments is None else len(item.segments) for item in (mine, theirs)]
        if segments and counts[0] != counts[1]:
            recut += 1
        elif mine.segments is not None and theirs.segments is not None:
            apart = (mine.segments - theirs.segments).abs().max() / mine.segments.abs().max().clamp(min=tiny)
            difference[n] = torch.maximum(difference[n], apart)
    equal = (one.values == other.values).all(1)
    cosine = torch.cosine_similarity(one.values.double(), other.values.double()).where(~equal, 1.0)
    worst = int(difference.argmax())
    return FeatureDiff(len(one), float(difference[worst]), float(cosine.min()), one.ids[worst], recut)


@dataclass(frozen=True, slots=True)
class CacheDifference:
    """What one `emoclim cache diff` found."""

    one: Path
    other: Path
    spec: tuple[str, ...]  # a line per entry of the spec that is not the same
    only_one: tuple[str, ...]  # ids, or keys where no manifest tells the id
    only_other: tuple[str, ...]
    common: FeatureDiff | None  # between the items that both hold; None if their features are of different length

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        lines = [f"here: {self.one}; there: {self.other}", *(self.spec or ["both are of the same spec"])]
        for where, names in (("here", self.only_one), ("there", self.only_other)):
            if names:
                lines.append(f"{len(names)} items are only {where}: {name_some(names)}")
        if self.common is None:
            return [*lines, "features of different length cannot be compared"]
        return [*lines, self.common.message() if self.common.items else "no item is in both"]


def diff_caches(one: str, other: str, *, workspace: Workspace, track: Track = silent) -> CacheDifference:
    """Compare two caches, of which each may be called as :func:`find_cache` says."""
    here, there = find_cache(workspace, one), find_cache(workspace, other)
    by_id = here.spec.keyed_by_id != there.spec.keyed_by_id
    with open_cache(here.path) as first, open_cache(there.path) as second:
        mine, theirs = _keys_by_name(here, first, by_id), _keys_by_name(there, second, by_id)
        common = [name for name in mine if name in theirs]
        gap = None
        if here.spec.dim == there.spec.dim:
            gap = FeatureDiff()
            for names in track(in_blocks(common), description="compare"):
                pair = (first.read([mine[name] for name in names]), second.read([theirs[name] for name in names]))
                gap = gap.merged(compare_features(*pair))
    ids = ids_by_key(here.path) | ids_by_key(there.path)
    return CacheDifference(
        here.path,
        there.path,
        tuple(here.spec.differences(there.spec)),
        tuple(ids.get(name, name) for name in mine if name not in theirs),
        tuple(ids.get(name, name) for name in theirs if name not in mine),
        None if gap is None else replace(gap, worst=ids.get(gap.worst, gap.worst)),
    )


def _keys_by_name(note: CacheNote, cache: FeatureCache, by_id: bool) -> dict[str, str]:
    """Map what items are to be known by, their keys or else their ids, to the keys of the committed ones."""
    if not by_id:
        return {key: key for key in cache}
    return {id_: key for key, id_ in ids_by_key(note.path).items() if key in cache}
