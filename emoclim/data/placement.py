"""Place the items of a data set into the parts of a split, and equal items into one group.

Conventions: items of equal content are one group. Where a split is made, a group is placed whole; a published split
stays as it was published, and what is not clean about it is told.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from emoclim.data.datasets.base import GIVEN, Description, LeftOut, Prepared
from emoclim.data.grouping import annotated_items, join_groups, labelled_by_rarest_tag
from emoclim.data.manifest import SPLITS, Item, torn_sets
from emoclim.data.splits import assign_splits
from emoclim.errors import ConfigError, name_some

OFFICIAL, NONE = "official", "none"
SHARES = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Placement:
    """Items in their places."""

    split: str
    items: tuple[Item, ...]  # each with its split and its group, sorted by id
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()  # what there is to tell of equal contents and of groups, one sentence each


def choose_split(wanted: str | None, prepared: Prepared, description: Description) -> str:
    """Choose a split by its name, or the default one."""
    named = [*description.splits, *(name for name in prepared.splits if name not in description.splits)]
    name = wanted or (GIVEN if GIVEN in prepared.splits else description.default_split)
    if name == OFFICIAL and named:
        name = named[0]
    shares = SHARES.fullmatch(name)
    if name in prepared.splits or name == NONE or (shares and abs(sum(map(float, shares.groups())) - 100) < 1e-6):
        return name
    listed = [*named, "shares that add up to 100, such as 80-10-10", NONE]
    raise ConfigError(f"there is no split {name!r} here; there are: {', '.join(listed)}")


def place_items(
    items: Sequence[Item],
    split: str,
    splits: Mapping[str, Mapping[str, str]],
    contents: Mapping[str, str],
    seed: int,
) -> Placement:
    """Place items into a split."""
    items = sorted(items, key=lambda item: item.id)
    if split in splits:
        return _as_published(items, split, splits[split], contents)
    notes = _equal_contents(items, contents, "kept in one part each")
    joined = _with_groups(items, contents)
    if not (shares := SHARES.fullmatch(split)):
        return Placement(split, joined, notes=tuple(notes))
    labelled = annotated_items(joined)
    if not labelled and any(item.tags for item in joined):
        labelled = list(labelled_by_rarest_tag(joined))
    if not labelled:
        return Placement(
            NONE, joined, notes=(*notes, "no item has a label, numbers or a tag, so that none has a split")
        )
    fractions = dict(zip(SPLITS, (float(share) / 100 for share in shares.groups()), strict=True))
    placed = assign_splits(labelled, seed, fractions=fractions)
    return Placement(split, tuple(replace(item, split=placed.get(item.id)) for item in joined), notes=tuple(notes))


def _as_published(
    items: Sequence[Item], name: str, published: Mapping[str, str], contents: Mapping[str, str]
) -> Placement:
    """Place items as a published split says, which is not ours to change."""
    kept = [replace(item, split=published[item.id]) for item in items if item.id in published]
    reason = f"in no part of the split {name!r}"
    left_out = tuple(LeftOut(item.id, "unused", reason) for item in items if item.id not in published)
    contents = {item.id: contents[item.id] for item in kept if item.id in contents}
    torn = torn_sets(kept, {item.id: item.group for item in kept if item.group})
    leaking = torn_sets(kept, contents)
    notes = []
    if torn:
        kept = [replace(item, group=None) if item.group in torn else item for item in kept]
        notes.append(f"{len(torn)} groups lie in two parts of the split {name!r}, and are no groups here")
    inside = {item.id: f"{item.split} {contents[item.id]}" for item in kept if item.id in contents}
    clean = {id_: content for id_, content in contents.items() if content not in leaking}
    across = {id_: content for id_, content in contents.items() if content in leaking}
    told = f"in two parts of the split {name!r}, which stays as it is, so that tests on them are not clean"
    notes += [*_equal_contents(kept, clean, "kept in one part each"), *_equal_contents(kept, across, told)]
    return Placement(name, _with_groups(kept, inside), left_out, tuple(notes))


def _with_groups(items: Sequence[Item], contents: Mapping[str, str]) -> tuple[Item, ...]:
    """Put items of equal content into one group; leave an item without group alone if nothing equals it."""
    joined = join_groups(items, contents)
    sizes = Counter(item.group for item in joined)
    both = zip(items, joined, strict=True)
    return tuple(item if before.group or sizes[item.group] > 1 else before for before, item in both)


def _equal_contents(items: Sequence[Item], contents: Mapping[str, str], fate: str) -> list[str]:
    """Tell which items hold the same content, and what became of them."""
    holders: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if content := contents.get(item.id):
            holders[content].append(item)
    shared = [same for same in holders.values() if len(same) > 1]
    if not shared:
        return []
    named = [name_some([item.id for item in same], SHOWN, " = ") for same in shared]
    notes = [f"{len(shared)} contents occur more than once, {fate} ({name_some(named, SHOWN)})"]
    unlike = [name for name, same in zip(named, shared, strict=True) if len({(i.label, i.tags) for i in same}) > 1]
    if unlike:
        notes.append(f"{len(unlike)} of them are labelled differently: {name_some(unlike, SHOWN)}")
    return notes
