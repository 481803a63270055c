"""Compare two caches for `emoclim cache diff`, or two sets of features of the same items."""

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emoclim.cache import CacheManifest, FeatureCache, ids_by_key, open_cache
from emoclim.data import Features
from emoclim.errors import name_some
from emoclim.pipeline.caches.find import find_cache
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

BLOCK_ITEMS = 256  # read at once


@dataclass(frozen=True, slots=True)
class Gap:
    """How far the features of some items are apart."""

    items: int = 0
    difference: float = 0.0  # the largest of two numbers, as a share of the largest number of their item
    cosine: float = 1.0  # the smallest of two values of an item
    worst: str = ""  # the item with the largest difference
    recut: int = 0  # items that have another number of segments

    def joined(self, other: "Gap") -> "Gap":
        """Of the items of both."""
        return Gap(
            self.items + other.items,
            max(self.difference, other.difference),
            min(self.cosine, other.cosine),
            other.worst if other.difference > self.difference or not self.worst else self.worst,
            self.recut + other.recut,
        )

    def told(self) -> str:
        """In words."""
        apart = f"differ by at most {self.difference:.2g} of the largest number of an item"
        if not self.difference and not self.recut:
            apart = "are equal, bit for bit"
        recut = f"; {self.recut} have another number of segments" if self.recut else ""
        return f"{self.items} items {apart}, smallest cosine {self.cosine:.7g}{recut}"


def gap_between(one: Features, other: Features) -> Gap:
    """How far the features of the same items, in the same order, are apart; segments count where both keep some."""
    if not len(one):
        return Gap()
    tiny = torch.finfo(torch.float32).tiny
    difference = (one.values - other.values).abs().amax(1) / one.values.abs().amax(1).clamp(min=tiny)  # (N,)
    recut = 0
    for n, (mine, theirs) in enumerate(zip(_segments(one), _segments(other), strict=False)):
        if len(mine) != len(theirs):
            recut += 1
        elif len(mine):
            apart = (mine - theirs).abs().max() / mine.abs().max().clamp(min=tiny)
            difference[n] = torch.maximum(difference[n], apart)
    equal = (one.values == other.values).all(1)
    cosine = torch.cosine_similarity(one.values.double(), other.values.double()).where(~equal, 1.0)
    worst = int(difference.argmax())
    return Gap(len(one), float(difference[worst]), float(cosine.min()), one.ids[worst], recut)


def _segments(features: Features) -> list[Tensor]:
    """Those of each item; an empty list where none are kept."""
    if features.segments is None or features.offsets is None:
        return []
    return [features.segments[first:last] for first, last in pairwise(features.offsets.tolist())]


@dataclass(frozen=True, slots=True)
class CacheDifference:
    """In what two caches differ."""

    one: Path
    other: Path
    spec: tuple[str, ...]  # a line per entry of the spec that is not the same
    only_one: tuple[str, ...]  # ids, or keys where no manifest tells the id
    only_other: tuple[str, ...]
    gap: Gap | None  # between the items that both hold; None if their features are of different length

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {name: value for name, value in asdict(self).items() if name != "gap"}
        common = None if self.gap is None else asdict(self.gap)
        return plain | {"one": str(self.one), "other": str(self.other), "common": common}

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = [f"here: {self.one}; there: {self.other}", *(self.spec or ["both are of the same spec"])]
        for where, names in (("here", self.only_one), ("there", self.only_other)):
            if names:
                lines.append(f"{len(names)} items are only {where}: {name_some(names)}")
        if self.gap is None:
            return [*lines, "features of different length cannot be compared"]
        return [*lines, self.gap.told() if self.gap.items else "no item is in both"]


def diff_caches(
    one: str,
    other: str,
    *,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    track: Track = silent,
) -> CacheDifference:
    """Compare two caches, of which each may be called as :func:`find_cache` says."""
    here, there = find_cache(workspace, one), find_cache(workspace, other)
    by_id = here.spec.keyed_by_id != there.spec.keyed_by_id
    with open_cache(here.path) as first, open_cache(there.path) as second:
        mine, theirs = _keys_by_name(here, first, by_id), _keys_by_name(there, second, by_id)
        common = [name for name in mine if name in theirs]
        gap = None
        if here.spec.dim == there.spec.dim:
            gap = Gap()
            for start in track(range(0, len(common), BLOCK_ITEMS), description="compare"):
                names = common[start : start + BLOCK_ITEMS]
                pair = (first.read([mine[name] for name in names]), second.read([theirs[name] for name in names]))
                gap = gap.joined(gap_between(*pair))
    ids = ids_by_key(here.path) | ids_by_key(there.path)
    return CacheDifference(
        here.path,
        there.path,
        tuple(here.spec.differences(there.spec)),
        tuple(ids.get(name, name) for name in mine if name not in theirs),
        tuple(ids.get(name, name) for name in theirs if name not in mine),
        None if gap is None else replace(gap, worst=ids.get(gap.worst, gap.worst)),
    )


def _keys_by_name(note: CacheManifest, cache: FeatureCache, by_id: bool) -> dict[str, str]:
    """Keys of the committed items by what the items are to be known by: the key itself, or else the id."""
    if not by_id:
        return {key: key for key in cache}
    return {id_: key for key, id_ in ids_by_key(note.path).items() if key in cache}
