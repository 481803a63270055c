"""Counting over float32 products against counting over exact ones, where these are nearer than float32 tells."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from emoclim.metrics import blockwise, rounded
from emoclim.metrics.blockwise import measure_vectors, on_grid
from emoclim.metrics.questions import Answer, Question
from emoclim.metrics.rounded import RoundedCounter, TooNearError, error_bound

MEMORY = 1 << 24


def drawn(kinds: int, jitter: float, seed: int, n_queries: int = 60, n_candidates: int = 700) -> tuple[Any, ...]:
    """Vectors of few kinds, copies of which differ by `jitter`, with a question about them."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(kinds, 19, generator=draw, dtype=torch.float64)
    sides = []
    for size in (n_queries, n_candidates):
        noise = jitter * torch.randn(size, 19, generator=draw, dtype=torch.float64)
        sides.append(on_grid(centres[torch.randint(kinds, (size,), generator=draw)] + noise))
    classes = [torch.randint(5, (size,), generator=draw) for size in (n_queries, n_candidates)]
    relevance = torch.rand(5, 5, generator=draw) < 0.3
    return *sides, Question(*classes, relevance, (1, 3, 40), ("MRR",), (2,))


def measured(monkeypatch: pytest.MonkeyPatch, first: int, *given: Any, **how: Any) -> Answer:
    monkeypatch.setattr(blockwise, "ROUNDED_FROM", first)
    return measure_vectors(*given, memory=MEMORY, **how)


def assert_same_bits(found: Answer, expected: Answer) -> None:
    for name, values in expected.values.items():
        assert torch.equal(found.values[name], values), name
    assert torch.equal(found.first, expected.first)
    assert torch.equal(found.n_relevant, expected.n_relevant)


@pytest.mark.parametrize("jitter", [0, 1e-9, 1e-8, 3e-8, 1e-7, 1e-6, 1e-3, 1])
@pytest.mark.parametrize("kinds", [1, 30])
def test_rounding_changes_no_bit(kinds: int, jitter: float, monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(kinds, jitter, seed=kinds)
    assert_same_bits(measured(monkeypatch, 1, *given), measured(monkeypatch, 10**9, *given))


@pytest.mark.parametrize("jitter", [0, 1e-8, 1])
def test_rounding_changes_no_bit_among_groups_and_copies(jitter: float, monkeypatch: pytest.MonkeyPatch) -> None:
    items, _, question = drawn(40, jitter, seed=2, n_queries=300)
    question = replace(question, candidates=question.queries)
    how = {"exclude_groups": torch.arange(300) // 3, "groups": (torch.arange(300) % 2,) * 2}
    given = items, items, question
    assert_same_bits(measured(monkeypatch, 1, *given, **how), measured(monkeypatch, 10**9, *given, **how))


def test_few_exact_products_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    class Counting(RoundedCounter):
        def __init__(self, scores: Tensor, layout: Any, exact: Any, error: float) -> None:
            super().__init__(scores, layout, lambda q, c: (counts.append(len(q)), exact(q, c))[1], error)

    monkeypatch.setattr(blockwise, "RoundedCounter", Counting)
    queries, candidates, question = drawn(5000, 1, seed=3, n_candidates=5000)
    measured(monkeypatch, 1, queries, candidates, replace(question, ks=(1, 5), hits=()))
    assert 0 < sum(counts) < 10 * len(queries)  # of 5000 a query: the five best, the first relevant, and each again


def test_what_is_too_near_is_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounded, "NEAR", 1)
    monkeypatch.setattr(rounded, "READ_AT_ONCE", 128)
    raised = []

    class Telling(RoundedCounter):
        def best(self, k: int) -> Tensor:
            try:
                return super().best(k)
            except TooNearError:
                raised.append(True)
                raise

    monkeypatch.setattr(blockwise, "RoundedCounter", Telling)
    given = drawn(3, 1e-9, seed=4)
    assert_same_bits(measured(monkeypatch, 1, *given), measured(monkeypatch, 10**9, *given))
    assert raised


@pytest.mark.parametrize("dim", [1, 8, 128, 2000])
def test_rounded_products_are_as_near_as_is_said(dim: int) -> None:
    draw = torch.Generator().manual_seed(dim)
    one, other = (on_grid(torch.randn(400, dim, generator=draw)) for _ in range(2))
    other[:200] = one[:200]  # the products of greatest magnitude
    exact = one.double() @ other.double().T / 2.0**52
    apart = (blockwise.rounded(one) @ blockwise.rounded(other).T - exact).abs().max()
    assert float(apart) <= error_bound(dim)


def test_matrix_products_of_less_precision_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(30, 1, seed=5)
    expected = measured(monkeypatch, 10**9, *given)
    multiply, coarse = torch.mm, []

    def coarsely(one: Tensor, other: Tensor, *, out: Tensor) -> Tensor:
        coarse.append(out.dtype == torch.float32)
        if not coarse[-1]:
            return multiply(one, other, out=out)
        return out.copy_(multiply(one.bfloat16(), other.bfloat16()))

    monkeypatch.setattr(torch, "mm", coarsely)
    monkeypatch.setattr(blockwise, "RoundedCounter", None)
    monkeypatch.setattr(blockwise, "_queries_per_block", lambda *_: 10)
    assert_same_bits(measured(monkeypatch, 1, *given), expected)
    assert coarse.count(True) == 1  # and never again


def test_the_grid_does_not_depend_on_what_is_brought_to_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(1000, 128, generator=torch.Generator().manual_seed(1))
    expected = (torch.nn.functional.normalize(vectors.double(), dim=1) * 2.0**26).round()
    monkeypatch.setattr(blockwise, "ROWS", 7)
    assert torch.equal(on_grid(vectors).double(), expected)
