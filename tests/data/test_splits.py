"""Splits: stratified, whole groups together, made once, independent of order."""

import csv
import multiprocessing
import random
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoclim.data import splits
from emoclim.data.manifest import SPLITS, Item, Manifest
from emoclim.data.splits import assign_splits, splits_path, with_splits
from emoclim.errors import ManifestError


def items_of(counts: dict[str, int], per_group: int = 1) -> list[Item]:
    return [
        Item(
            f"{label}/{n}",
            Path(f"{label}/{n}"),
            label=label,
            group=f"{label}-{n // per_group}" if per_group > 1 else None,
        )
        for label, count in counts.items()
        for n in range(count)
    ]


def manifest_of(folder: Path, items: list[Item]) -> Manifest:
    return Manifest("images", "image", folder / "images.csv", tuple(items))


def test_large_classes_are_split_eighty_ten_ten() -> None:
    splits = assign_splits(items_of({"awe": 200, "fear": 50}), seed=1)
    for label, count in (("awe", 200), ("fear", 50)):
        found = Counter(split for id_, split in splits.items() if id_.startswith(label))
        assert found == {"train": count * 8 // 10, "val": count // 10, "test": count // 10}


@given(
    counts=st.dictionaries(st.sampled_from("abcdef"), st.integers(3, 30), min_size=1),
    per_group=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_groups_stay_whole_and_every_class_is_everywhere(counts: dict[str, int], per_group: int, seed: int) -> None:
    items = items_of({label: count * per_group for label, count in counts.items()}, per_group)
    splits = assign_splits(items, seed)
    where: dict[str, set[str]] = {}
    for item in items:
        where.setdefault(item.group or item.id, set()).add(splits[item.id])
    assert all(len(found) == 1 for found in where.values())
    for label in counts:
        assert {splits[item.id] for item in items if item.label == label} == set(SPLITS)


@given(seed=st.integers(0, 99))
def test_the_order_of_items_does_not_matter(seed: int) -> None:
    items = items_of({"awe": 17, "fear": 9}, per_group=2)
    shuffled = items.copy()
    random.Random(seed).shuffle(shuffled)
    assert assign_splits(items, 7) == assign_splits(shuffled, 7)


def test_other_seeds_split_otherwise() -> None:
    items = items_of({"awe": 40})
    assert assign_splits(items, 1) != assign_splits(items, 2)


def test_splits_are_written_once_and_kept_when_items_are_added(tmp_path: Path) -> None:
    few = manifest_of(tmp_path, items_of({"awe": 20}))
    first = {item.id: item.split for item in with_splits(few, seed=1).items}
    more = manifest_of(tmp_path, items_of({"awe": 40}))
    second = {item.id: item.split for item in with_splits(more, seed=2).items}
    assert {id_: second[id_] for id_ in first} == first
    assert Counter(second.values()) == {"train": 32, "val": 4, "test": 4}
    with splits_path(more).open(newline="") as file:
        assert {row["id"]: row["split"] for row in csv.DictReader(file)} == second


def test_what_became_of_splits_is_told(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, items_of({"awe": 20}))
    assert with_splits(manifest, keep=False).notes[-1] == "80/10/10 splits are yet to be made"
    assert with_splits(manifest).notes[-1] == f"80/10/10 splits were written to {splits_path(manifest)}"
    assert with_splits(manifest).notes[-1] == f"splits are those of {splits_path(manifest)}"


def test_who_comes_second_takes_the_splits_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = manifest_of(tmp_path, items_of({"awe": 40}))
    found = {}
    second = threading.Thread(target=lambda: found.update(second=with_splits(manifest, seed=2).items))

    def interleaved(items: Iterable[Item], seed: int, kept: Mapping[str, str]) -> dict[str, str]:
        if seed == 1:
            second.start()
            second.join(0.3)  # it would end by then, if it did not wait
        return assign_splits(items, seed, kept)

    monkeypatch.setattr(splits, "assign_splits", interleaved)
    first = with_splits(manifest, seed=1).items
    second.join()
    assert found["second"] == first
    assert with_splits(manifest, seed=None).items == first


def placed(folder: Path, seed: int) -> tuple[Item, ...]:
    return with_splits(manifest_of(folder, items_of({"awe": 40})), seed).items


def test_processes_that_start_together_get_the_same_splits(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        found = list(processes.map(placed, [tmp_path] * 8, range(8)))
    assert set(found) == {found[0]}
    assert {path.name for path in tmp_path.iterdir()} == {"images.splits.csv", ".images.splits.csv.lock"}


def write_twins(folder: Path, count: int) -> list[Item]:
    """Items ``a0, b0, a1, b1, ...``; the two files of a number hold the same."""
    for number in range(count):
        for name in "ab":
            (folder / f"{name}{number}").write_text(f"content {number}")
    names = [f"{name}{number}" for number in range(count) for name in "ab"]
    return [Item(name, folder / name, label="awe") for name in names]


def splits_of(items: Iterable[Item]) -> dict[str, str | None]:
    return {item.id: item.split for item in items}


def test_files_of_equal_content_share_a_split(tmp_path: Path) -> None:
    items = write_twins(tmp_path, 20)
    missing = [Item(f"c{number}", tmp_path / f"c{number}", label="awe") for number in range(20)]
    found = splits_of(with_splits(manifest_of(tmp_path, [*items, *missing])).items)
    assert all(found[f"a{number}"] == found[f"b{number}"] for number in range(20))
    assert len({found[item.id] for item in missing}) == 3  # what cannot be read is like nothing else


def test_who_is_added_later_goes_where_its_twin_is(tmp_path: Path) -> None:
    items = write_twins(tmp_path, 20)
    first = splits_of(with_splits(manifest_of(tmp_path, items[::2])).items)
    read: list[str] = []

    def key(item: Item) -> str:
        read.append(item.id)
        return item.id[1:]

    second = splits_of(with_splits(manifest_of(tmp_path, items), seed=7, keys=key).items)
    assert second == first | {f"b{name[1:]}": split for name, split in first.items()}
    assert sorted(read) == sorted(second)
    with_splits(manifest_of(tmp_path, items), seed=7, keys=key)
    assert len(read) == len(second)  # nothing is to be placed any more


def test_splits_that_part_equal_content_already_are_left_as_they_are(tmp_path: Path) -> None:
    items = write_twins(tmp_path, 20)
    kept = {"a0": "train", "b0": "test", "a1": "val"}
    splits_path(manifest_of(tmp_path, items)).write_text(
        "\n".join(["id,split", *(f"{name},{split}" for name, split in kept.items())])
    )
    found = splits_of(with_splits(manifest_of(tmp_path, items)).items)
    assert {name: found[name] for name in kept} == kept
    assert all(found[f"a{number}"] == found[f"b{number}"] for number in range(1, 20))


def test_own_splits_are_left_alone_and_half_of_them_refused(tmp_path: Path) -> None:
    items = [replace(item, split="test") for item in items_of({"awe": 4})]
    assert with_splits(manifest_of(tmp_path, items)).items == tuple(items)
    assert not splits_path(manifest_of(tmp_path, items)).exists()
    with pytest.raises(ManifestError, match="a split for 3 of 4 labelled items"):
        with_splits(manifest_of(tmp_path, [replace(items[0], split=None), *items[1:]]))


def test_a_group_that_joins_what_was_placed_apart_is_refused() -> None:
    items = [Item("a", Path("a"), label="awe", group="song"), Item("b", Path("b"), label="awe", group="song")]
    with pytest.raises(ManifestError, match="group 'song' joins items placed in test and train"):
        assign_splits(items, 1, {"a": "train", "b": "test"})
    assert assign_splits(items, 1, {"a": "val"}) == {"a": "val", "b": "val"}


def test_an_item_called_like_a_group_is_not_in_it() -> None:
    items = [
        Item("a", Path("a"), label="awe"),
        Item("b", Path("b"), label="awe", group="a"),
        Item("item a", Path("item a"), label="awe", group="b"),
    ]
    kept = {"a": "train", "b": "test", "item a": "val"}
    assert assign_splits(items, 1, kept) == kept


def test_readers_do_not_place_items(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, items_of({"awe": 5}))
    with pytest.raises(ManifestError, match=r"5 items have no split .*awe/0"):
        with_splits(manifest, seed=None)
    made = with_splits(manifest, seed=3)
    assert with_splits(manifest, seed=None).items == made.items


def test_items_without_a_label_get_no_split(tmp_path: Path) -> None:
    items = [*items_of({"awe": 5}), Item("x", Path("x"))]
    assert with_splits(manifest_of(tmp_path, items)).items[-1].split is None


def test_items_with_valence_and_arousal_alone_get_a_split(tmp_path: Path) -> None:
    items = [*items_of({"awe": 10}), *(Item(f"n{n}", text=str(n), numbers=(0.5, n)) for n in range(10))]
    placed = with_splits(manifest_of(tmp_path, items)).items
    assert {item.split for item in placed[10:]} == set(SPLITS)
    assert sorted(item.split or "" for item in placed[10:]) == ["test", *["train"] * 8, "val"]


def test_a_spoilt_splits_file_is_refused(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, items_of({"awe": 5}))
    splits_path(manifest).write_text("id,split\nawe/0,dev\n")
    with pytest.raises(ManifestError, match="not a table of id and split"):
        with_splits(manifest)


def test_splits_that_cannot_be_kept_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    manifest = manifest_of(tmp_path / "file", items_of({"awe": 5}))
    with pytest.raises(ManifestError, match="splits cannot be kept"):
        with_splits(manifest)


def test_ids_that_look_like_rows_keep_their_splits(tmp_path: Path) -> None:
    items = [Item(f"{n},\n{n}.png", text=f"{n}", label="awe") for n in range(10)]
    manifest = Manifest("odd", "text", tmp_path / "odd.csv", tuple(items))
    assert with_splits(manifest).items == with_splits(manifest).items


def test_items_without_labels_are_placed_if_all_are_to_be_and_alike_by_equal_ids(tmp_path: Path) -> None:
    items = [Item(f"{n}", text=f"Sentence {n}.") for n in range(50)]
    one, other = (Manifest(name, "text", tmp_path / f"{name}.csv", tuple(items)) for name in ("one", "other"))
    assert {item.split for item in with_splits(one).items} == {None}
    placed = with_splits(one, every=True)
    assert Counter(item.split for item in placed.items) == {"train": 40, "val": 5, "test": 5}
    assert with_splits(one, None, every=True).items == placed.items == with_splits(other, every=True).items
    own = replace(one, items=(replace(items[0], split="test"), *items[1:]))
    assert with_splits(own, every=True) == own  # the others are only searched


def test_what_was_placed_for_who_takes_every_item_has_no_split_for_others(tmp_path: Path) -> None:
    items = [Item(f"{n}", text=f"Sentence {n}.", label="awe" if n < 30 else None) for n in range(50)]
    manifest = Manifest("half", "text", tmp_path / "half.csv", tuple(items))
    before = with_splits(manifest)
    assert None not in {item.split for item in with_splits(manifest, every=True).items}
    assert with_splits(manifest).digest() == with_splits(manifest, None).digest() == before.digest()
