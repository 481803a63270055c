"""Group items that must share a split, by their group or by equal content; label items by their rarest tag."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emoclim.data.items.columns import ItemColumns, select_items
from emoclim.data.items.item import Item


def group_names(items: Iterable[Item]) -> dict[str, str]:
    """Name the group of each item, by id; one without a group has a name of its own, its id if possible."""
    return names_of_groups([(item.id, item.group) for item in items])


def names_of_groups(items: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """Name the group of each item as :func:`group_names` does, by its id and its group."""
    names = {id_: group or id_ for id_, group in items}
    groups = {group for _, group in items if group}
    taken = groups.union(names)
    for id_ in sorted(id_ for id_, group in items if not group and id_ in groups):
        name = f"item {id_}"
        while name in taken:
            name = f"item {name}"
        taken.add(name)
        names[id_] = name
    return names


def number_groups(items: Iterable[Item]) -> list[int]:
    """Number the groups of items from 0 on; one without a group is its own."""
    items = tuple(items)
    names, numbers = group_names(items), dict[str, int]()
    return [numbers.setdefault(names[item.id], len(numbers)) for item in items]


def join_groups(items: Iterable[Item], contents: Mapping[str, str]) -> tuple[Item, ...]:
    """Put items of equal content into one group, together with all of the groups they were in."""
    items = tuple(items)
    owners = group_names(items)
    joined: dict[str, str] = {}  # by a group, or an item without one: the same or one that comes before it

    def first(owner: str) -> str:
        while (before := joined.get(owner, owner)) != owner:
            owner = before
        return owner

    holder: dict[str, str] = {}
    for item in items:
        owner = owners[item.id]
        if content := contents.get(item.id):
            low, high = sorted((first(owner), first(holder.setdefault(content, owner))))
            joined[high] = low
    return tuple(replace(item, group=first(owners[item.id])) for item in items)


def labelled_by_rarest_tag(items: Iterable[Item]) -> tuple[Item, ...]:
    """Give each item the label it is placed by: of its tags the one that the fewest items have, or ``""``."""
    items = tuple(items)
    frequency = Counter(tag for item in items for tag in item.tags)
    return tuple(
        replace(item, label=min(item.tags, key=lambda tag: (frequency[tag], tag), default="")) for item in items
    )


def annotated_items(items: Iterable[Item]) -> Sequence[Item]:
    """Select the items that heads can learn from: where none is annotated, those that further numbers are known of."""
    if isinstance(items, ItemColumns):
        return select_items(items, annotated_rows(items))
    items = tuple(items)
    return [item for item in items if item.annotated] or [item for item in items if item.measures]


def annotated_rows(items: ItemColumns) -> NDArray[np.bool_]:
    """Tell of each row ``(N,)`` whether heads can learn from it."""
    label, pair = (items.coded(name) for name in ("label", "pair"))
    known = [one.where(value is not None for value in one.values) for one in (label, pair)]
    return known[0] | known[1]
