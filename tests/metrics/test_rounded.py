"""Counting over float32 products against counting over exact ones, where these are nearer than float32 tells."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from emoclim.metrics import blockwise, rounded
from emoclim.metrics.blockwise import measure_vectors, on_grid
from emoclim.metrics.questions import Answer, Question
from emoclim.metrics.rounded import error_bound

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


@pytest.mark.parametrize("at_once", [1, 64])
def test_no_bit_depends_on_tiles_and_blocks(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(30, 1e-7, seed=6)
    expected = measured(monkeypatch, 10**9, *given)
    monkeypatch.setattr(blockwise, "TILE", 4 * at_once)
    monkeypatch.setattr(blockwise, "TILE_QUERIES", 7)
    monkeypatch.setattr(blockwise, "ROWS", 25)
    monkeypatch.setattr(blockwise, "PLACED_ROWS", 40)
    monkeypatch.setattr(rounded, "PAIRS_AT_ONCE", at_once)
    monkeypatch.setattr(rounded, "QUERIES_AT_ONCE", 2)
    assert_same_bits(measured(monkeypatch, 1, *given), expected)


def test_first_relevant_candidates_far_down_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, candidates, question = drawn(5, 0.1, seed=7)
    nearest = (queries.double() @ candidates.double().T).topk(300, dim=1).indices
    rare = torch.full((700,), 1)
    rare[torch.unique(nearest, return_counts=True)[1].argsort()[:3]] = 0
    question = replace(question, queries=torch.zeros(60).long(), candidates=rare, relevance=torch.eye(5).bool())
    found = measured(monkeypatch, 1, queries, candidates, question)
    assert float(found.values["MRR"].min()) < 1 / 100
    assert_same_bits(found, measured(monkeypatch, 10**9, queries, candidates, question))


def test_few_exact_products_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    read = blockwise.Gallery._chunk

    def counting(gallery: Any, rows: Tensor, vectors: Tensor, chunk: int) -> Tensor:
        counts.append(len(rows))
        return read(gallery, rows, vectors, chunk)

    monkeypatch.setattr(blockwise.Gallery, "_chunk", counting)
    queries, candidates, question = drawn(5000, 1, seed=3, n_candidates=5000)
    measured(monkeypatch, 1, queries, candidates, replace(question, ks=(1, 5), hits=()))
    assert 0 < sum(counts) < 20 * len(queries)  # chunks of some 160: the five best, the first relevant, and each again


@pytest.mark.parametrize("dim", [1, 8, 128, 2000])
def test_rounded_products_are_as_near_as_is_said(dim: int) -> None:
    draw = torch.Generator().manual_seed(dim)
    one, other = (on_grid(torch.randn(400, dim, generator=draw)) for _ in range(2))
    other[:200] = one[:200]  # the products of greatest magnitude
    apart = (one @ other.T - one.double() @ other.double().T).abs().max()
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
    monkeypatch.setattr(blockwise, "PeakCounter", None)
    monkeypatch.setattr(blockwise, "_queries_per_block", lambda *_: 10)
    assert_same_bits(measured(monkeypatch, 1, *given), expected)
    assert coarse.count(True) == 1  # and never again


def test_the_grid_does_not_depend_on_what_is_brought_to_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(1000, 128, generator=torch.Generator().manual_seed(1))
    expected = on_grid(vectors)
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    assert float((expected - unit).abs().max()) <= 2.0**-26  # half of it, and what float32 rounds before
    assert torch.equal((expected.double() * 2**26).round(), expected.double() * 2**26)
    monkeypatch.setattr(blockwise, "GRID_ROWS", 7)
    assert torch.equal(on_grid(vectors), expected)
