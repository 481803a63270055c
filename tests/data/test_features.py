"""Feature specs and tables: identity, drawing of segments, selection of rows."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.errors import CacheError, CacheMismatch

SPEC = FeatureSpec("letters", "audio", 2, "none", {"overlap": 0.75, "length": 4})
COUNTS = (2, 0, 3)


def table() -> Features:
    """Three items of two, no and three segments; every number tells where it stands."""
    offsets = torch.tensor([0, *torch.tensor(COUNTS).cumsum(0).tolist()])
    segments = torch.arange(5.0)[:, None].expand(5, 2) + 10
    values = -torch.arange(3.0)[:, None].expand(3, 2)
    return Features(SPEC, ("a", "b", "c"), values, segments, offsets, torch.arange(5.0), torch.tensor([1.0, 2.0, 3.0]))


def test_the_digest_depends_on_every_entry_and_not_on_their_order() -> None:
    same = FeatureSpec("letters", "audio", 2, "none", {"length": 4, "overlap": 0.75})
    others = [
        FeatureSpec("words", "audio", 2, "none", SPEC.settings),
        FeatureSpec("letters", "image", 2, "none", SPEC.settings),
        FeatureSpec("letters", "audio", 3, "none", SPEC.settings),
        FeatureSpec("letters", "audio", 2, "a@0123456789ab", SPEC.settings),
        FeatureSpec("letters", "audio", 2, "none", {"overlap": 0.5, "length": 4}),
    ]
    assert same.digest() == SPEC.digest()
    assert len({spec.digest() for spec in (SPEC, *others)}) == 6
    assert FeatureSpec.from_dict(SPEC.to_dict()) == SPEC


def test_differences_are_told_line_by_line() -> None:
    other = FeatureSpec("letters", "audio", 2, "none", {"overlap": 0.5, "precision": "bf16"})
    assert SPEC.differences(other) == [
        "length: 4 here, absent there",
        "overlap: 0.75 here, 0.5 there",
        "precision: absent here, bf16 there",
    ]
    with pytest.raises(CacheMismatch, match=r"cache x holds other features .*overlap: 0\.75 here, 0\.5 there"):
        SPEC.require(other, "cache x")


def test_draws_take_each_segment_equally_often_and_values_where_there_is_none() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = table().draw(torch.tensor([0, 1, 2]).repeat(3000), generator)[:, 0].view(3000, 3)
    assert (drawn[:, 1] == -1).all()
    for column, rows in ((0, [10.0, 11.0]), (2, [12.0, 13.0, 14.0])):
        shares = torch.stack([(drawn[:, column] == row).float().mean() for row in rows])
        assert shares.sum() == pytest.approx(1)
        assert (shares - 1 / len(rows)).abs().max() < 0.04


def test_draws_depend_on_the_generator_alone() -> None:
    items = torch.tensor([0, 2, 2, 0])
    first, second = (table().draw(items, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    bare = Features(SPEC, ("a",), torch.ones(1, 2))
    assert torch.equal(bare.draw(torch.tensor([0, 0]), torch.Generator()), torch.ones(2, 2))


@given(rows=st.lists(st.integers(0, 2), max_size=6))
def test_selected_rows_keep_their_segments(rows: list[int]) -> None:
    whole = table()
    part = whole.select(torch.tensor(rows, dtype=torch.int64))
    assert part.ids == tuple("abc"[row] for row in rows)
    assert part.values[:, 0].tolist() == [-float(row) for row in rows]
    assert whole.offsets is not None
    assert part.offsets is not None
    assert part.segments is not None
    assert part.starts is not None
    for n, row in enumerate(rows):
        own = part.segments[part.offsets[n] : part.offsets[n + 1], 0]
        assert own.tolist() == [10.0 + k for k in range(int(whole.offsets[row]), int(whole.offsets[row + 1]))]
    assert torch.equal(part.starts + 10, part.segments[:, 0])


def test_moving_to_a_device_keeps_everything() -> None:
    moved = table().to(torch.device("cpu"))
    assert torch.equal(moved.values, table().values)
    assert moved.ids == ("a", "b", "c")


def test_a_split_without_its_short_items_keeps_what_has_no_length() -> None:
    audio, spec = table(), FeatureSpec("letters", "image", 2, "none", {})
    image = Features(spec, ("x", "y"), torch.zeros(2, 2), seconds=torch.zeros(2))
    split = Split(
        {"image": image, "audio": audio}, {"image": torch.tensor([0, 1]), "audio": torch.arange(3)}, tuple("abc")
    )
    found = split.lasting(2.0)
    assert found.features["audio"].ids == ("b", "c")
    assert found.labels["audio"].tolist() == [1, 2]
    assert found.features["image"].ids == ("x", "y")
    assert split.lasting(0.0).features["audio"].ids == audio.ids


def test_items_of_unknown_length_are_not_taken_for_long_ones() -> None:
    split = Split({"audio": replace(table(), seconds=None)}, {"audio": torch.arange(3)}, tuple("abc"))
    with pytest.raises(CacheError, match="how long its items are"):
        split.lasting(1.0)
