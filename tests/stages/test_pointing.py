"""Search by valence and arousal: items lie in the mean of their emotions' places, the nearest come first."""

import math

import pytest
import torch

from emoclim.stages.searching.pointing import EmotionPlane

COORDINATES = torch.tensor([[1.0, 0.25], [-0.75, 0.5], [-0.5, -1.0]])


def emotions(n_items: int) -> torch.Tensor:
    return torch.rand(n_items, 3, generator=torch.Generator().manual_seed(6)).mul(3).softmax(dim=1)


@pytest.mark.parametrize("at", [(0.0, 0.0), (0.9, 0.1), (-1.0, -1.0)])
def test_the_nearest_come_first_as_in_plain_arithmetic(at: tuple[float, float]) -> None:
    read = emotions(50)
    means = [
        [sum(p * c[axis] for p, c in zip(row, COORDINATES.tolist(), strict=True)) for axis in (0, 1)]
        for row in read.tolist()
    ]
    distances = [math.dist(mean, at) for mean in means]
    expected = sorted(range(50), key=distances.__getitem__)[:10]
    hits = EmotionPlane([f"i{n}" for n in range(50)], torch.split(read, 20), COORDINATES).search(at, top=10)
    assert [hit.row for hit in hits] == expected
    assert [hit.id for hit in hits] == [f"i{n}" for n in expected]
    assert [hit.score for hit in hits] == pytest.approx([-distances[n] for n in expected], abs=1e-6)
    assert [tuple(hit.parts.values()) for hit in hits] == [pytest.approx(means[n], abs=1e-6) for n in expected]
    assert [hit.percentile for hit in hits] == [100 * (49 - rank) / 50 for rank in range(10)]


def test_only_what_is_included_and_has_emotions_is_ranked() -> None:
    read = emotions(6)
    read[2] = torch.nan
    plane = EmotionPlane("abcdef", [read], COORDINATES)
    assert {hit.id for hit in plane.search((0.5, 0.5), top=9)} == {*"abdef"}
    found = plane.search((0.5, 0.5), top=9, included=torch.tensor([1, 2, 5]))
    assert {hit.id for hit in found} == {"b", "f"}
    assert found[0].percentile == 50
    assert EmotionPlane((), [read[:0]], COORDINATES).search((0.0, 0.0)) == []


def test_equal_items_keep_their_order() -> None:
    plane = EmotionPlane("abc", [torch.full((3, 3), 1 / 3)], COORDINATES)
    assert [hit.id for hit in plane.search((0.0, 0.0))] == ["a", "b", "c"]
