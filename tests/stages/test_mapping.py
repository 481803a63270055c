"""Maps of libraries: what lies near stays near, and what is drawn is told."""

import pytest
import torch

from emoclim.learning.heads import Metric, as_candidates
from emoclim.stages.searching.mapping import lay_out

GROUPS = torch.arange(60) % 3


def groups_of_items(dim: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, dim, generator=generator)[GROUPS] + 0.05 * torch.randn(60, dim, generator=generator)


@pytest.mark.parametrize("landmarks", [40, 20])
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_the_nearest_in_a_map_is_of_the_same_group(
    metric: Metric, landmarks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoclim.stages.searching.mapping.LANDMARKS", landmarks)
    vectors = torch.nn.functional.normalize(as_candidates(groups_of_items(), metric), dim=1).float()
    rows, points = lay_out(vectors, metric, most=40, seed=1)
    assert len(rows) == 40
    assert torch.equal(rows, rows.unique())
    distances = torch.cdist(points, points).fill_diagonal_(torch.inf)
    assert torch.equal(GROUPS[rows][distances.argmin(dim=1)], GROUPS[rows])
    assert points.amin() >= 0
    assert float((points.amax(dim=0) - points.amin(dim=0)).amax()) == pytest.approx(1, abs=1e-5)


def test_a_seed_draws_one_map_and_another_draws_others() -> None:
    vectors = groups_of_items()
    first, again, other = (lay_out(vectors, most=20, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.rows, other.rows)


def test_nothing_and_one_item_and_equal_items_have_a_map() -> None:
    assert lay_out(torch.empty(0, 4)).points.shape == (0, 2)
    assert lay_out(torch.ones(1, 4)).points.tolist() == [[0.5, 0.5]]
    assert lay_out(torch.ones(9, 4)).points.isfinite().all()
