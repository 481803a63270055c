"""Ranking metrics against plain loops, every order of ties, closed forms and scikit-learn."""

from collections.abc import Callable
from functools import partial
from math import comb

import pytest
import reference_metrics as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score
from torch import Tensor

from emoclim.metrics import ties
from emoclim.metrics.retrieval import (
    average_precision,
    class_means,
    hit_at_k,
    macro_mean,
    precision_at_k,
    r_precision,
    rank,
    reciprocal_rank,
)
from emoclim.metrics.ties import TieBlock, random_average_precision

METRICS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], reference.Metric]] = {
    "P@1": (partial(precision_at_k, k=1), partial(reference.precision, k=1)),
    "P@3": (partial(precision_at_k, k=3), partial(reference.precision, k=3)),
    "hit@1": (partial(hit_at_k, k=1), partial(reference.hit, k=1)),
    "hit@3": (partial(hit_at_k, k=3), partial(reference.hit, k=3)),
    "MRR": (reciprocal_rank, reference.reciprocal_rank),
    "mAP": (average_precision, reference.average_precision),
    "R-precision": (r_precision, reference.r_precision),
}
each_metric = pytest.mark.parametrize(("ours", "plain"), METRICS.values(), ids=METRICS.keys())


def untied(n_queries: int, n_candidates: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scores without ties, half of them negative, and a third of the candidates relevant."""
    generator = torch.Generator().manual_seed(seed)
    order = [torch.randperm(n_candidates, generator=generator) for _ in range(n_queries)]
    scores = (torch.stack(order).double() - n_candidates / 2) / n_candidates
    return scores, torch.rand(n_queries, n_candidates, generator=generator) < 1 / 3


@st.composite
def tied(draw: st.DrawFn, most: int) -> tuple[list[int], list[bool]]:
    """Scores of one query, many of them equal, and which candidates are relevant."""
    size = draw(st.integers(1, most))
    scores = draw(st.lists(st.integers(-1, 2), min_size=size, max_size=size))
    return scores, draw(st.lists(st.booleans(), min_size=size, max_size=size))


@each_metric
def test_equals_plain_loops_where_nothing_is_tied(ours, plain):
    scores, relevant = untied(40, 23, seed=0)
    expected = [plain(reference.ordered(*row)) for row in zip(scores.tolist(), relevant.tolist(), strict=True)]
    found = ours(scores, relevant)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0)


@each_metric
@given(query=tied(6))
def test_ties_count_as_the_mean_over_all_their_orders(ours, plain, query):
    scores, relevant = query
    found = ours(torch.tensor([scores]), torch.tensor([relevant]))
    assert float(found) == pytest.approx(reference.over_all_orders(plain, scores, relevant), abs=1e-14)


@each_metric
@pytest.mark.parametrize(
    "strictly_increasing",
    [lambda x: 2 * x - 31, torch.exp, lambda x: x**3, torch.arctan, lambda x: 0.5 * (x + 1)],
    ids=["affine", "exp", "cube", "arctan", "halved"],
)
@settings(max_examples=25)
@given(data=st.data())
def test_a_strictly_increasing_map_of_the_scores_changes_nothing(ours, plain, strictly_increasing, data):
    size = data.draw(st.integers(1, 30))
    whole = data.draw(st.lists(st.integers(-64, 64), min_size=size, max_size=size))
    relevant = torch.tensor([data.draw(st.lists(st.booleans(), min_size=size, max_size=size))])
    scores = torch.tensor([whole], dtype=torch.float64) / 8  # exact, and far enough apart for every map
    assert torch.equal(ours(strictly_increasing(scores), relevant), ours(scores, relevant))


@each_metric
@given(query=tied(12), seed=st.integers(0, 99))
def test_the_place_of_a_candidate_in_the_gallery_changes_nothing(ours, plain, query, seed):
    scores, relevant = (torch.tensor([values]) for values in query)
    moved = torch.randperm(scores.shape[1], generator=torch.Generator().manual_seed(seed))
    assert torch.equal(ours(scores[:, moved], relevant[:, moved]), ours(scores, relevant))


def test_average_precision_equals_scikit_learn():
    scores, relevant = untied(50, 31, seed=1)
    relevant[:, 0] = True  # scikit-learn has its own rules for a query without a relevant candidate
    found = average_precision(scores, relevant)
    for row, value in enumerate(found.tolist()):
        assert value == pytest.approx(average_precision_score(relevant[row], scores[row]), abs=1e-14)
    assert float(found.mean()) == pytest.approx(
        label_ranking_average_precision_score(relevant.numpy(), scores.numpy()), abs=1e-14
    )


def test_negative_scores_are_scores():
    found = average_precision(torch.tensor([[-0.1, -0.2, -0.9]]), torch.tensor([[True, False, True]]))
    assert float(found) == pytest.approx((1 / 1 + 2 / 3) / 2)


def level(n_relevant: Tensor, n_candidates: int) -> TieBlock:
    """All candidates in one block."""
    none = torch.zeros_like(n_relevant)
    return TieBlock(none, torch.full_like(n_relevant, n_candidates), none, n_relevant)


@pytest.mark.parametrize(("n_relevant", "n_candidates"), [(0, 5), (1, 1), (1, 9), (4, 9), (9, 9), (137, 1035)])
def test_a_random_order_has_the_closed_forms(n_relevant, n_candidates):
    block = level(torch.tensor([n_relevant]), n_candidates)
    share = n_relevant / n_candidates
    assert float(block.precision_at(1)) == pytest.approx(share)
    assert float(block.precision_at(5)) == pytest.approx(share * min(5, n_candidates) / 5)
    assert float(block.precision_at(block.hits)) == pytest.approx(share)
    # The first relevant one is at rank i if the others are among the M - i places below.
    first_at = [comb(n_candidates - i, n_relevant - 1) for i in range(1, n_candidates + 1)] if n_relevant else []
    expected = sum(ways / i for i, ways in enumerate(first_at, start=1)) / comb(n_candidates, n_relevant)
    assert float(block.reciprocal_rank()) == pytest.approx(expected, rel=1e-12)
    harmonic = sum(1 / i for i in range(1, n_candidates + 1))
    company = (n_relevant - 1) / max(n_candidates - 1, 1)
    expected = (harmonic + company * (n_candidates - harmonic)) / n_candidates if n_relevant else 0.0
    assert float(random_average_precision(block.hits, block.size)) == pytest.approx(expected, rel=1e-12)


def test_equal_scores_are_a_random_order():
    _, relevant = untied(8, 12, seed=2)
    equal, block = torch.full((8, 12), -0.5), level(relevant.sum(dim=1), 12)
    close = partial(torch.testing.assert_close, rtol=1e-14, atol=0)
    close(precision_at_k(equal, relevant, 3), block.precision_at(3))
    close(reciprocal_rank(equal, relevant), block.reciprocal_rank())
    close(average_precision(equal, relevant), random_average_precision(block.hits, block.size))
    close(r_precision(equal, relevant), block.precision_at(block.hits))


def test_many_kinds_of_ties_at_once_are_taken_in_parts(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    above, hits, others = (torch.randint(low, 40, (300,), generator=generator) for low in (0, 0, 1))
    block = TieBlock(above, hits + others, torch.zeros_like(above), hits)
    whole = block.reciprocal_rank()
    monkeypatch.setattr(ties, "CELLS", 64)
    assert torch.equal(block.reciprocal_rank(), whole)
    expected = [
        sum(comb(n - i, r - 1) / (a + i) for i in range(1, n - r + 2)) / comb(n, r) if r else 0.0
        for a, n, r in zip(above.tolist(), block.size.tolist(), hits.tolist(), strict=True)
    ]
    assert whole.tolist() == pytest.approx(expected, rel=1e-12)


@each_metric
def test_a_query_without_a_relevant_candidate_scores_zero(ours, plain):
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert ours(scores, torch.zeros(2, 3, dtype=torch.bool)).tolist() == [0, 0]


@each_metric
def test_no_candidates_and_no_queries(ours, plain):
    assert ours(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)).tolist() == [0, 0]
    assert ours(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool)).shape == (0,)


def test_precision_divides_by_k_even_if_there_are_fewer_candidates():
    found = precision_at_k(torch.tensor([[2.0, 1.0]]), torch.tensor([[True, True]]), k=5)
    assert float(found) == pytest.approx(2 / 5)


def test_refuses_what_has_no_ranking():
    scores, relevant = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"scores \(2, 3\) and relevant \(3, 2\)"):
        rank(scores, relevant.T)
    with pytest.raises(ValueError, match="NaN"):
        reciprocal_rank(torch.tensor([[0.0, float("nan")]]), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="not 0"):
        precision_at_k(scores, relevant, 0)


def test_infinite_scores_rank_at_the_ends():
    scores = torch.tensor([[0.0, float("-inf"), float("inf")]])
    assert float(reciprocal_rank(scores, torch.tensor([[False, True, False]]))) == pytest.approx(1 / 3)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4)), min_size=1, max_size=30))
def test_macro_mean_equals_plain_loops(queries):
    values, classes = zip(*queries, strict=True)
    found = macro_mean(torch.tensor(values, dtype=torch.float64), torch.tensor(classes))
    assert found == pytest.approx(reference.macro(values, classes), abs=1e-14)


def test_class_means_leave_out_classes_without_a_query():
    means = class_means(torch.tensor([1.0, 0.0, 0.25]), torch.tensor([4, 4, 1]))
    assert means.tolist() == [0.25, 0.5]


def test_macro_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one query"):
        macro_mean(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
