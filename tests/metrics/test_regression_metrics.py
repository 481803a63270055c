"""R2, correlation and concordance, against scikit-learn and NumPy, and their intervals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from torch import Tensor

from emoclim.metrics import bootstrap_regression, draw_counts, regression_metrics


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(n: int, seed: int, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    targets = torch.randn(n, 2, generator=seeded(seed), dtype=torch.float64) + shift
    return 0.6 * targets + torch.randn(n, 2, generator=seeded(seed + 1), dtype=torch.float64), targets


def plain(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """One column."""
    covariance = np.mean((predicted - predicted.mean()) * (true - true.mean()))
    concordance = 2 * covariance / (predicted.var() + true.var() + (predicted.mean() - true.mean()) ** 2)
    return {"R2": r2_score(true, predicted), "r": np.corrcoef(predicted, true)[0, 1], "CCC": concordance}


@given(st.integers(2, 40), st.integers(0, 999), st.sampled_from([0.0, -5.0, 1e4]))
def test_metrics_are_those_of_scikit_learn_and_numpy(n: int, seed: int, shift: float) -> None:
    predictions, targets = sample(n, seed, shift)
    found = regression_metrics(predictions, targets)
    for column in range(2):
        expected = plain(predictions[:, column].numpy(), targets[:, column].numpy())
        for name, value in expected.items():
            assert float(found[name][column]) == pytest.approx(value, rel=1e-6, abs=1e-7), name


def test_what_is_not_defined_is_no_number() -> None:
    varied, flat = torch.tensor([[1.0], [2.0], [3.0]]), torch.full((3, 1), 0.1)
    for predictions, targets, expected in (
        (flat, varied, {"R2": False, "r": True, "CCC": False}),
        (varied, flat, {"R2": True, "r": True, "CCC": False}),
        (flat, flat, {"R2": True, "r": True, "CCC": True}),
    ):
        found = regression_metrics(predictions, targets)
        assert {name: bool(values.isnan()) for name, values in found.items()} == expected
        assert float(found["CCC"].nan_to_num()) == 0
        ends = bootstrap_regression(predictions, targets, seeded(), n_resamples=50)
        assert {name: bool(one.low.isnan()) for name, one in ends.items()} == expected


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_are_the_percentiles_of_resamples_one_at_a_time(grouped: bool) -> None:
    predictions, targets = sample(60, 3)
    groups = torch.arange(60) // 4 if grouped else torch.arange(60)
    found = bootstrap_regression(predictions, targets, seeded(1), groups=groups, n_resamples=400)
    slow: dict[str, list[float]] = {"R2": [], "r": [], "CCC": []}
    for counts in draw_counts(60, 400, seeded(1), groups=groups).T.long():
        chosen = torch.arange(60).repeat_interleave(counts)
        for name, value in plain(predictions[chosen, 0].numpy(), targets[chosen, 0].numpy()).items():
            slow[name].append(value)
    for name, values in slow.items():
        ends = float(found[name].low[0]), float(found[name].high[0])
        assert ends == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), rel=1e-6), name


def test_one_group_has_no_interval_and_other_input_is_refused() -> None:
    predictions, targets = sample(5, 0)
    assert bootstrap_regression(predictions, targets, seeded(), groups=torch.zeros(5).long())["R2"].low.isnan().all()
    for wrong in (predictions[:4], predictions[:, 0], predictions * torch.nan):
        with pytest.raises(ValueError, match="predictions? "):
            regression_metrics(wrong, targets)
    with pytest.raises(ValueError, match="give no interval"):
        bootstrap_regression(predictions, targets, seeded(), groups=torch.zeros(4).long())
