"""Intervals and tests: against plain loops, against scipy, on data with known truth, and at their edges."""

import random

import pytest
import reference_uncertainty as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from emoclim.metrics import uncertainty
from emoclim.metrics.retrieval import class_means, macro_mean
from emoclim.metrics.uncertainty import bootstrap_group_mean, bootstrap_means, holm, mean_weights, sign_flip_test

PIECES = (7, 6, 5, 5, 5, 5, 4, 4, 4)
CLASSES = torch.tensor([5, 2, 2, 5, 9, 9, 9, 2, 5, 5, 2, 9, 2])  # 5 of 2, 4 of 5, 4 of 9


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed), dtype=torch.float64)


def test_means_are_those_of_the_metrics():
    values = scores(13, 3)
    found = bootstrap_means(values, CLASSES, generator(), n_resamples=100)
    for column in range(3):
        assert float(found.macro.value[column]) == pytest.approx(macro_mean(values[:, column], CLASSES), abs=1e-15)
        assert float(found.micro.value[column]) == pytest.approx(float(values[:, column].mean()), abs=1e-15)
        torch.testing.assert_close(found.classes.value[:, column], class_means(values[:, column], CLASSES))
    for one in (found.macro, found.micro, found.classes):
        assert bool(((one.low < one.value) & (one.value < one.high)).all())


def test_intervals_of_groups_are_those_of_a_plain_loop():
    """Pieces of 7, 6, 5, 5, 5, 5, 4, 4 and 4 performances, whose hits depend on the piece."""
    groups = torch.tensor([n for n, size in enumerate(PIECES) for _ in range(size)])
    values = (scores(45, 2) < scores(9, 1, seed=1)[groups]).double()
    found = bootstrap_group_mean(values, groups, generator(), n_resamples=20_000)
    draw, tail = random.Random(3), stats.norm.cdf(stats.t.ppf(0.025, 8))
    for column in range(2):
        assert float(found.value[column]) == pytest.approx(float(values[:, column].mean()), abs=1e-15)
        pieces = [values[groups == n, column].tolist() for n in range(9)]
        drawn = [draw.choices(pieces, k=8) for _ in range(20_000)]
        means = [sum(map(sum, some)) / sum(map(len, some)) for some in drawn]
        low, high = torch.tensor(means).double().quantile(torch.tensor([tail, 1 - tail]).double()).tolist()
        assert float(found.low[column]) == pytest.approx(low, abs=0.01)
        assert float(found.high[column]) == pytest.approx(high, abs=0.01)
    alike = bootstrap_group_mean(torch.ones(45, 1), groups, generator(), n_resamples=100)
    assert bool(alike.low.isnan().all() and alike.high.isnan().all())
    with pytest.raises(ValueError, match="no interval"):
        bootstrap_group_mean(values, groups, generator(), n_resamples=0)


def test_intervals_of_groups_hold_the_truth_about_as_often_as_they_say():
    draw, held = generator(5), 0
    groups = torch.arange(45) // 5
    for _ in range(200):
        piece = torch.randn(9, 1, generator=draw, dtype=torch.float64)[groups]
        values = piece + torch.randn(45, 1, generator=draw, dtype=torch.float64)
        found = bootstrap_group_mean(values, groups, draw, n_resamples=500)
        held += bool(found.low < 0 < found.high)
    assert 178 <= held <= 199  # of 190


def test_intervals_are_those_of_plain_loops():
    values = scores(13, 1)
    n_resamples = 20_000
    found = bootstrap_means(values, CLASSES, generator(), n_resamples=n_resamples)
    groups = reference.by_class(values[:, 0].tolist(), CLASSES.tolist())
    rows = reference.resampled(groups, n_resamples, seed=1)
    sizes = [len(group) for group in groups]
    ways = {
        "macro": ([1 / 3] * 3, found.macro.low, found.macro.high),
        "micro": ([size / 13 for size in sizes], found.micro.low, found.micro.high),
    } | {
        f"class {place}": ([float(place == other) for other in range(3)], low, high)
        for place, (low, high) in enumerate(zip(found.classes.low, found.classes.high, strict=True))
    }
    for name, (weights, low, high) in ways.items():
        drawn = [sum(w * mean for w, mean in zip(weights, row, strict=True)) for row in rows]
        errors = [w**2 * stats.tvar(group) / len(group) for w, group in zip(weights, groups, strict=True)]
        freedom = sum(errors) ** 2 / sum(e**2 / (size - 1) for e, size in zip(errors, sizes, strict=True))
        tail = stats.norm.cdf(stats.t.ppf(0.025, freedom))
        assert float(low) == pytest.approx(reference.percentile(drawn, tail), abs=0.01), name
        assert float(high) == pytest.approx(reference.percentile(drawn, 1 - tail), abs=0.01), name


@pytest.mark.parametrize(
    ("freedom", "level", "quantile"),
    [(1, 0.95, 12.706), (2, 0.9, 2.920), (2, 0.95, 4.303), (3, 0.95, 3.182), (12, 0.99, 3.055), (2000, 0.95, 1.961)],
)
def test_the_tail_is_that_of_a_t_quantile(freedom: int, level: float, quantile: float):
    one = torch.ones(1, 1, dtype=torch.float64)
    found = -torch.special.ndtri(uncertainty._tail(one, freedom * one[0], level))
    assert float(found) == pytest.approx(quantile, abs=6e-4)


def test_the_variance_of_what_is_drawn_is_unbiased():
    group = scores(5, 2)
    drawn = uncertainty._resampled_means(group, 200_000, generator())
    torch.testing.assert_close(drawn.mean(0), group.mean(0), rtol=0, atol=1e-3)
    torch.testing.assert_close(drawn.var(0), group.var(0) / 5, rtol=0.02, atol=0)


def test_blocks_change_the_draws_only(monkeypatch: pytest.MonkeyPatch):
    values = scores(13, 2)
    whole = bootstrap_means(values, CLASSES, generator(), n_resamples=4000)
    monkeypatch.setattr(uncertainty, "DRAWS_PER_BLOCK", 7)
    parts = bootstrap_means(values, CLASSES, generator(), n_resamples=4000)
    torch.testing.assert_close(parts.macro.low, whole.macro.low, rtol=0, atol=0.01)
    torch.testing.assert_close(parts.classes.high, whole.classes.high, rtol=0, atol=0.03)


def test_the_same_seed_gives_the_same_interval_whatever_stands_beside():
    values = scores(13, 4)
    all_at_once = bootstrap_means(values, CLASSES, generator(3))
    alone = bootstrap_means(values[:, 2:3], CLASSES, generator(3))
    torch.testing.assert_close(alone.macro.low, all_at_once.macro.low[2:3], rtol=0, atol=1e-14)
    torch.testing.assert_close(alone.micro.high, all_at_once.micro.high[2:3], rtol=0, atol=1e-14)


@pytest.mark.parametrize("sizes", [(210, 155, 120, 95, 65, 40), (9, 8, 7, 7, 6, 5), (3, 3, 4, 5, 5, 6)])
def test_intervals_hold_as_often_as_they_say(sizes: tuple[int, ...]):
    draw = generator(1)
    classes = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    chance = torch.linspace(0.15, 0.7, len(sizes), dtype=torch.float64)
    truths = chance.mean(), chance[classes].mean()
    repeats, held = 300, torch.zeros(2)
    for _ in range(repeats):
        hits = torch.rand(len(classes), 5, generator=draw, dtype=torch.float64) < chance[classes, None]
        found = bootstrap_means(hits.double().mean(1, keepdim=True), classes, draw, n_resamples=400)
        for place, (one, truth) in enumerate(zip((found.macro, found.micro), truths, strict=True)):
            held[place] += bool(one.low <= truth <= one.high)
    assert bool(((held / repeats - 0.95).abs() < 0.035).all()), held / repeats


def test_a_class_of_one_query_has_no_interval_of_its_own():
    found = bootstrap_means(scores(6, 1), torch.tensor([0, 0, 0, 1, 0, 0]), generator(), n_resamples=100)
    assert found.classes.low.isnan().tolist() == [[False], [True]]
    assert bool(found.macro.low < found.macro.value)
    lone = bootstrap_means(scores(2, 1), torch.tensor([3, 1]), generator(), n_resamples=100)
    assert bool(lone.macro.high.isnan())
    assert bool(lone.micro.low.isnan())
    assert lone.classes.value.shape == (2, 1)


def test_scores_that_are_all_alike_have_no_interval():
    values = torch.full((13, 2), 0.1, dtype=torch.float64)
    values[CLASSES == 9, 1] = scores(4, 1)[:, 0]
    found = bootstrap_means(values, CLASSES, generator(), n_resamples=100)
    assert found.classes.high.isnan().tolist() == [[True, True], [True, True], [True, False]]
    assert found.macro.low.isnan().tolist() == found.micro.high.isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("values", "classes", "words"),
    [
        (torch.zeros(0, 1), torch.zeros(0), "Q > 0"),
        (torch.zeros(3), torch.zeros(3), "Q > 0"),
        (torch.zeros(3, 1), torch.zeros(2), "Q > 0"),
        (torch.tensor([[torch.nan]]), torch.zeros(1), "not finite"),
    ],
)
def test_what_has_no_mean_is_refused(values: Tensor, classes: Tensor, words: str):
    with pytest.raises(ValueError, match=words):
        bootstrap_means(values, classes.long(), generator())
    with pytest.raises(ValueError, match=words):
        sign_flip_test(values, classes.double(), generator())


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="give no interval"):
        bootstrap_means(torch.zeros(3, 1), torch.zeros(3).long(), generator(), n_resamples=0)
    with pytest.raises(ValueError, match="give no interval"):
        bootstrap_means(torch.zeros(3, 1), torch.zeros(3).long(), generator(), level=1.0)
    with pytest.raises(ValueError, match="test nothing"):
        sign_flip_test(torch.zeros(3, 1), torch.ones(3), generator(), n_flips=0)


def test_weights_give_the_means():
    values = scores(13, 1)[:, 0]
    assert float(mean_weights(CLASSES, "macro") @ values) == pytest.approx(macro_mean(values, CLASSES))
    assert float(mean_weights(CLASSES, "micro") @ values) == pytest.approx(float(values.mean()))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([-1.0, -0.4, -0.2, 0.0, 0.2, 0.6]), min_size=1, max_size=9),
    st.sampled_from(["macro", "micro"]),
    st.integers(0, 1000),
)
def test_randomisation_comes_near_all_choices_of_signs(differences: list[float], mean: str, seed: int):
    classes = torch.arange(len(differences)) % 3
    weights = mean_weights(classes, mean)
    exact = reference.sign_flip(differences, weights.tolist())
    n_flips = 20_000
    table = torch.tensor(differences, dtype=torch.float64)[:, None]
    found = sign_flip_test(table, weights, generator(seed), n_flips=n_flips)
    assert float(found) == pytest.approx(exact, abs=5 * (exact * (1 - exact) / n_flips) ** 0.5 + 1 / n_flips)


def test_p_values_are_never_zero_and_one_where_nothing_differs():
    better = torch.cat([torch.full((40, 1), 0.5), torch.zeros(40, 1), -torch.full((40, 1), 0.5)], dim=1)
    weights = torch.full((40,), 1 / 40)
    assert sign_flip_test(better, weights, generator(), n_flips=99).tolist() == [0.01, 1.0, 0.01]


def test_p_values_are_uniform_where_nothing_differs_but_chance():
    draw = generator(5)
    p_values = sign_flip_test(torch.randn(50, 400, generator=draw), torch.ones(50), draw, n_flips=2000)
    assert stats.kstest(p_values.numpy(), "uniform").pvalue > 0.01


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_the_stepwise_procedure(p_values: list[float]):
    assert holm(torch.tensor(p_values, dtype=torch.float64)).tolist() == pytest.approx(reference.holm(p_values))
