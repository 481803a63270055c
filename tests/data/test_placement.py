"""Which part of a split each item belongs to: splits that are made, and splits that were published."""

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoclim.data.datasets.base import Description, Prepared
from emoclim.data.grouping import group_names
from emoclim.data.manifest import Item
from emoclim.data.placement import choose_split, place_items
from emoclim.errors import ConfigError

ITEMS = [
    Item(f"{label}{n}", Path(f"{label}{n}"), label=label, group=f"g{n // 2}" if n < 6 else None)
    for label in "ab"
    for n in range(20)
]


def described(**changes: object) -> Description:
    return Description("audio", "about", "what", "licence", "citation", "source", ("layout",), **changes)


def prepared(splits: Mapping[str, Mapping[str, str]]) -> Prepared:
    return Prepared("audio", (), splits=splits)


@pytest.mark.parametrize(
    ("wanted", "splits", "default", "found"),
    [
        (None, {}, "80-10-10", "80-10-10"),
        (None, {"given": {}}, "80-10-10", "given"),
        (None, {"one": {}, "two": {}}, "two", "two"),
        ("official", {"one": {}, "two": {}}, "80-10-10", "one"),
        ("two", {"one": {}, "two": {}}, "one", "two"),
        ("33.3-33.3-33.4", {}, "80-10-10", "33.3-33.3-33.4"),
        ("none", {"given": {}}, "80-10-10", "none"),
    ],
)
def test_the_split_that_is_meant(
    wanted: str | None, splits: Mapping[str, Mapping[str, str]], default: str, found: str
) -> None:
    known = described(splits={name: "how" for name in splits if name != "given"}, default_split=default)
    assert choose_split(wanted, prepared(splits), known) == found


@pytest.mark.parametrize("wanted", ["80-10-20", "official", "80/10/10", "two"])
def test_a_split_that_is_none_is_told_with_those_there_are(wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"'{wanted}'.* shares"):
        choose_split(wanted, prepared({}), described())


@given(seed=st.integers(0, 9), order=st.integers(0, 99), twins=st.lists(st.integers(0, 39), min_size=2, max_size=6))
def test_groups_and_contents_are_whole_whatever_the_order(seed: int, order: int, twins: list[int]) -> None:
    contents = {item.id: "same" if place in twins else item.id for place, item in enumerate(ITEMS)}
    shuffled = ITEMS.copy()
    random.Random(order).shuffle(shuffled)
    placed = place_items(shuffled, "80-10-10", {}, contents, seed)
    assert placed == place_items(ITEMS, "80-10-10", {}, contents, seed)
    parts: dict[str, set[str | None]] = {}
    for item, before in zip(placed.items, sorted(ITEMS, key=lambda item: item.id), strict=True):
        parts.setdefault(item.group or item.id, set()).add(item.split)
        assert item.id == before.id
        assert bool(item.group) or not before.group
    assert all(len(found) == 1 for found in parts.values())
    same = {ITEMS[twin].id for twin in twins}
    assert len({item.split for item in placed.items if item.id in same}) == 1


def test_shares_are_kept_within_each_label() -> None:
    placed = place_items(
        [Item(f"{n}", Path(f"{n}"), label="ab"[n % 2]) for n in range(200)], "60-30-10", {}, {}, seed=3
    )
    for label in "ab":
        found = Counter(item.split for item in placed.items if item.label == label)
        assert found == {"train": 60, "val": 30, "test": 10}
    assert not any(item.group for item in placed.items)
    without = place_items(placed.items, "80-0-20", {}, {}, seed=3)
    assert Counter(item.split for item in without.items) == {"train": 160, "test": 40}


def test_items_with_tags_only_are_placed_by_their_rarest() -> None:
    items = [Item(f"{n}", Path(f"{n}"), tags=("all", "rare") if n < 10 else ("all",)) for n in range(100)]
    placed = place_items(items, "80-10-10", {}, {}, seed=1)
    assert Counter(item.split for item in placed.items if "rare" in item.tags) == {"train": 8, "val": 1, "test": 1}
    assert {item.label for item in placed.items} == {None}


def test_items_with_neither_label_nor_tag_have_no_split_which_is_told() -> None:
    placed = place_items([Item("a", Path("a")), Item("b", Path("b"))], "80-10-10", {}, {}, seed=1)
    assert (placed.split, {item.split for item in placed.items}) == ("none", {None})
    assert placed.notes == ("no item has a label, numbers or a tag, so that none has a split",)


def test_a_published_split_stays_and_what_is_not_clean_is_told() -> None:
    items = [
        Item("a", Path("a"), label="x", group="torn"),
        Item("b", Path("b"), label="x", group="torn"),
        Item("c", Path("c"), label="x", group="whole"),
    ]
    items += [
        Item("d", Path("d"), label="y"),
        Item("e", Path("e"), label="x"),
        Item("f", Path("f"), label="x", group="whole"),
        Item("g", Path("g"), label="x"),
    ]
    items += [Item("h", Path("h"), label="x"), Item("i", Path("i"), label="x")]
    split = {"a": "train", "b": "test", "c": "train", "d": "train", "e": "test", "f": "train", "h": "val", "i": "val"}
    contents = {"c": "1", "d": "1", "e": "1", "g": "1", "h": "2", "i": "2"}
    placed = place_items(items, "published", {"published": split}, contents, seed=1)
    assert {item.id: item.split for item in placed.items} == split
    groups = {item.id: item.group for item in placed.items}
    assert groups == {"a": None, "b": None, "c": "d", "d": "d", "e": None, "f": "d", "h": "h", "i": "h"}
    assert [(one.id, one.kind, one.reason) for one in placed.left_out] == [
        ("g", "unused", "in no part of the split 'published'")
    ]
    assert placed.notes == (
        "1 groups lie in two parts of the split 'published', and are no groups here",
        "1 contents occur more than once, kept in one part each (h = i)",
        "1 contents occur more than once, in two parts of the split 'published', which stays as it is, so that tests "
        "on them are not clean (c = d = e)",
        "1 of them are labelled differently: c = d = e",
    )


def test_an_item_called_like_a_group_stays_out_of_it() -> None:
    items = [
        Item("1.jpg", Path("1.jpg")),
        Item("A", Path("A"), label="sad"),
        Item("B", Path("B"), label="sad", group="A"),
        Item("C", Path("C"), label="sad"),
    ]
    split = {"A": "train", "B": "test", "C": "train"}
    placed = place_items(items, "given", {"given": split}, {"A": "a", "B": "b", "C": "c"}, seed=1)
    assert {item.id: item.group for item in placed.items} == {"A": None, "B": "A", "C": None}
    twins = place_items(items, "none", {}, {"A": "same", "C": "same"}, seed=1)
    groups = {item.id: item.group for item in twins.items}
    assert groups == {"1.jpg": None, "A": "C", "B": "A", "C": "C"}


names = st.sampled_from(["a", "b", "item a", "item b", "item item a"])


@given(groups=st.dictionaries(names, st.none() | names))
def test_names_of_groups_tell_apart_what_is_apart(groups: dict[str, str | None]) -> None:
    called = group_names(Item(id_, Path(id_), group=group) for id_, group in groups.items())
    owners = {id_: ("group", group) if group else ("item", id_) for id_, group in groups.items()}
    assert (
        len(set(called.values()))
        == len(set(owners.values()))
        == len(set(zip(called.values(), owners.values(), strict=True)))
    )
    assert all(called[id_] == group for id_, group in groups.items() if group)


def test_many_of_one_content_are_told_by_a_few() -> None:
    items = [Item(f"{n}", Path(f"{n}")) for n in range(9)]
    notes = place_items(items, "none", {}, {item.id: "same" for item in items}, seed=1).notes
    told = "1 contents occur more than once, kept in one part each (0 = 1 = 2 and 6 more)"
    assert notes == (told,)
