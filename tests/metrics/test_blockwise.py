"""Metrics by counting, block by block, against plain loops, every order of ties and the metrics of whole rows."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import reference_metrics as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score
from torch import Tensor

from emoclim.errors import ConfigError
from emoclim.metrics import blockwise, counting, retrieval
from emoclim.metrics.blockwise import measure_vectors
from emoclim.metrics.counting import Counter, lay_out
from emoclim.metrics.questions import Answer, Question

ROOT = Path(__file__).parents[2]
ALL = ("MRR", "mAP", "R-precision")
PLAIN = {
    "P@1": partial(reference.precision, k=1),
    "P@3": partial(reference.precision, k=3),
    "MRR": reference.reciprocal_rank,
    "mAP": reference.average_precision,
    "R-precision": reference.r_precision,
}
WHOLE_ROWS = {
    "P@1": partial(retrieval.precision_at_k, k=1),
    "P@3": partial(retrieval.precision_at_k, k=3),
    "MRR": retrieval.reciprocal_rank,
    "mAP": retrieval.average_precision,
    "R-precision": retrieval.r_precision,
}
MEMORY = 1 << 24


def on_grid(vectors: Tensor) -> Tensor:
    """As float64, whose products are exact."""
    return blockwise.on_grid(vectors).double()


SAME = torch.eye(4, dtype=torch.bool)


def measure_scores(scores: Tensor, question: Question) -> Answer:
    """Measure by given scores, all in one block."""
    scores = scores if scores.is_floating_point() else scores.double()
    rows, columns = (torch.arange(size) for size in scores.shape)
    answer, layout = Answer.blank(question), question.lay_out(columns)
    answer.count_candidates(question, rows, columns, None)
    if scores.numel():
        scores = scores.clamp(min=torch.finfo(scores.dtype).min)  # -inf is for what is no candidate
        placed = scores[:, layout.spread(columns)].masked_fill(layout.empty(), -torch.inf)
        answer.take(question, rows, placed, layout)
    return answer


def ask(queries: Tensor, candidates: Tensor, relevance: Tensor = SAME, **asked: object) -> Question:
    return Question(queries, candidates, relevance, **{"ks": (1, 3), "measures": ALL} | asked)


def drawn(n_queries: int, n_candidates: int, levels: int, seed: int) -> tuple[Tensor, Question]:
    """Scores of so many levels, and uneven classes: class 2 has no candidate, and is asked for; class 3 is rare."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels, (n_queries, n_candidates), generator=generator).double()
    classes = torch.tensor([0, 1, 1, 0, 1])[torch.randint(5, (n_candidates,), generator=generator)]
    classes[:1] = 3
    return scores, ask(torch.randint(4, (n_queries,), generator=generator), classes)


def assert_same(found: Answer, expected: Answer) -> None:
    assert found.values.keys() == expected.values.keys()
    for name, values in expected.values.items():
        assert torch.equal(found.values[name], values), name
    assert torch.equal(found.first, expected.first)
    assert torch.equal(found.n_relevant, expected.n_relevant)
    assert torch.equal(found.n_candidates, expected.n_candidates)


@settings(deadline=None)
@given(data=st.data(), width=st.sampled_from([1, 2, 32]))
def test_equals_the_mean_over_every_order_of_ties(data, width):
    size = data.draw(st.integers(1, 6))
    scores = data.draw(st.lists(st.integers(-1, 2), min_size=size, max_size=size))
    classes = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    related = data.draw(st.lists(st.booleans(), min_size=3, max_size=3))
    question = ask(torch.tensor([1]), torch.tensor(classes), torch.tensor(related)[None].expand(3, 3))
    with mock.patch.object(counting, "NARROWEST", width):
        found = measure_scores(torch.tensor([scores]), question)
    relevant = [related[of] for of in classes]
    for name, plain in PLAIN.items():
        expected = reference.over_all_orders(plain, scores, relevant)
        assert float(found.values[name]) == pytest.approx(expected, abs=1e-14), name
    first = [of for of, score in zip(classes, scores, strict=True) if score == max(scores)]
    assert found.first[1].tolist() == pytest.approx([first.count(of) / len(first) for of in range(3)])
    assert (found.n_relevant.tolist(), found.n_candidates.tolist()) == ([sum(relevant)], [size])


@pytest.mark.parametrize("width", [1, 4, 32])
@pytest.mark.parametrize("levels", [1, 20, 10**6], ids=["all-tied", "ties", "untied"])
@pytest.mark.parametrize("n_candidates", [1, 2, 40, 700])
def test_equals_the_metrics_of_whole_rows(width, levels, n_candidates, monkeypatch):
    scores, question = drawn(50, n_candidates, levels, seed=n_candidates)
    monkeypatch.setattr(counting, "NARROWEST", width)
    found = measure_scores(scores, question)
    relevant = question.relevance[question.queries][:, question.candidates]
    for name, whole in WHOLE_ROWS.items():
        torch.testing.assert_close(found.values[name], whole(scores, relevant), rtol=1e-13, atol=1e-15, msg=name)
    assert torch.equal(found.n_relevant, relevant.sum(dim=1))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_average_precision_equals_scikit_learn(data):
    seed, size = data.draw(st.integers(0, 999)), data.draw(st.integers(4, 60))
    generator = torch.Generator().manual_seed(seed)
    scores = torch.stack([torch.randperm(size, generator=generator) for _ in range(9)]) - size / 2
    question = ask(torch.arange(9) % 4, torch.arange(size) % 4, ks=(), measures=("mAP",))
    relevant = question.queries[:, None] == question.candidates
    expected = label_ranking_average_precision_score(relevant.numpy(), scores.numpy())
    assert float(measure_scores(scores, question).values["mAP"].mean()) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    "strictly_increasing",
    [lambda x: 2 * x - 31, torch.exp, lambda x: x**3, torch.arctan, torch.Tensor.float, torch.Tensor.int],
    ids=["affine", "exp", "cube", "arctan", "float32", "int32"],
)
def test_a_strictly_increasing_map_of_the_scores_changes_nothing(strictly_increasing):
    scores, question = drawn(40, 300, 12, seed=1)
    assert_same(measure_scores(strictly_increasing(scores), question), measure_scores(scores, question))


def test_the_place_of_a_candidate_in_the_gallery_changes_nothing():
    scores, question = drawn(40, 300, 12, seed=2)
    moved = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    found = measure_scores(scores[:, moved], ask(question.queries, question.candidates[moved]))
    assert_same(found, measure_scores(scores, question))


def test_infinite_scores_rank_at_the_ends():
    scores = torch.tensor([[0.0, float("-inf"), float("inf")]])
    found = measure_scores(scores, ask(torch.tensor([1]), torch.tensor([0, 1, 0])))
    assert found.values["MRR"].tolist() == [pytest.approx(1 / 3)]
    assert found.values["P@3"].tolist() == [pytest.approx(1 / 3)]


def test_refuses_scores_without_a_ranking():
    question = ask(torch.tensor([1]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="NaN"):
        measure_scores(torch.tensor([[0.0, float("nan")]]), question)


@pytest.mark.parametrize(("n_queries", "n_candidates"), [(0, 3), (2, 0)])
def test_no_queries_and_no_candidates(n_queries, n_candidates):
    question = ask(torch.zeros(n_queries).long(), torch.zeros(n_candidates).long())
    for found in (
        measure_scores(torch.zeros(n_queries, n_candidates), question),
        measure_vectors(torch.zeros(n_queries, 5), torch.zeros(n_candidates, 5), question, memory=MEMORY),
    ):
        assert all(values.tolist() == [0.0] * n_queries for values in found.values.values())
        assert all(values.tolist() == [0.0] * n_queries for values in found.expected().values())


def vectors(n_queries: int, n_candidates: int, seed: int) -> tuple[Tensor, Tensor, Question]:
    """On the grid, with many copies among the candidates, some of which are queries too."""
    generator = torch.Generator().manual_seed(seed)
    kinds = on_grid(torch.randn(30, 17, generator=generator))
    queries, candidates = (kinds[torch.randint(30, (size,), generator=generator)] for size in (n_queries, n_candidates))
    return queries, candidates, drawn(n_queries, n_candidates, 1, seed)[1]


@pytest.mark.parametrize("queries_at_once", [1, 3, 50, 99])
def test_results_do_not_depend_on_the_size_of_blocks(queries_at_once, monkeypatch):
    queries, candidates, question = vectors(50, 90, seed=3)
    expected = measure_scores(queries @ candidates.T, question)
    monkeypatch.setattr(blockwise, "_queries_per_block", lambda *_: queries_at_once)
    assert_same(measure_vectors(queries, candidates, question, memory=MEMORY), expected)


@pytest.mark.parametrize("queries_at_once", [4, 60])
def test_a_query_is_no_candidate_of_its_own(queries_at_once, monkeypatch):
    items, _, question = vectors(60, 60, seed=5)
    question = ask(
        question.queries, question.queries, torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 1], [0] * 4]) > 0
    )
    monkeypatch.setattr(blockwise, "_queries_per_block", lambda *_: queries_at_once)
    found = measure_vectors(items, items, question, memory=MEMORY, exclude_groups=torch.arange(len(items)))
    scores, relevant = items @ items.T, question.relevance[question.queries][:, question.queries]
    others = ~torch.eye(60, dtype=torch.bool)
    scores, relevant = scores[others].view(60, 59), relevant[others].view(60, 59)
    for name, whole in WHOLE_ROWS.items():
        torch.testing.assert_close(found.values[name], whole(scores, relevant), rtol=1e-13, atol=1e-15, msg=name)
    assert torch.equal(found.n_relevant, relevant.sum(dim=1))
    assert set(found.n_candidates.tolist()) == {59}


def test_groups_of_queries_without_candidates_find_nothing():
    queries, candidates, question = vectors(20, 30, seed=6)
    groups = torch.arange(20) % 4, torch.arange(30) % 3
    found = measure_vectors(queries, candidates, question, memory=MEMORY, groups=groups)
    lost = groups[0] == 3
    assert found.n_candidates.tolist() == [0 if alone else 10 for alone in lost.tolist()]
    assert all(not values[lost].any() for values in found.values.values())
    assert float(found.first.sum()) == int((~lost).sum())
    relevant = (question.queries[:, None] == question.candidates) & (groups[0][:, None] == groups[1])
    assert torch.equal(found.n_relevant, relevant.sum(dim=1))
    assert float(found.expected()["P@1"][0]) == int(relevant[0].sum()) / 10


@pytest.mark.parametrize("queries_at_once", [1, 100])
def test_a_query_of_zeros_finds_nothing_and_counts(queries_at_once, monkeypatch):
    monkeypatch.setattr(blockwise, "_queries_per_block", lambda *_: queries_at_once)
    generator = torch.Generator().manual_seed(6)
    queries, candidates = (on_grid(torch.randn(size, 5, generator=generator)) for size in (20, 30))
    question = ask(torch.arange(20) % 4, torch.arange(30) % 3)
    whole = measure_vectors(queries, candidates, question, memory=MEMORY)
    silent = torch.arange(20) % 3 == 0
    queries[silent] = 0
    found = measure_vectors(queries, candidates, question, memory=MEMORY)
    assert torch.equal(found.silent, silent)
    for name, values in found.values.items():
        expected = reference.retrieval(
            queries.tolist(),
            question.queries.tolist(),
            candidates.tolist(),
            question.candidates.tolist(),
            PLAIN[name],
            same_items=False,
        )
        assert values.tolist() == pytest.approx(expected, abs=1e-12), name
        assert torch.equal(values[~silent], whole.values[name][~silent])
        assert torch.equal(found.expected()[name], whole.expected()[name])  # chance is that of the same candidates
    assert float(found.first.sum()) == int((~silent).sum())


def test_groups_and_copies_at_once_are_ranked_as_plain_rows_are():
    items, _, question = vectors(40, 40, seed=8)
    question = ask(question.queries, question.queries)
    groups, copies = torch.arange(40) % 3, torch.arange(40) // 2
    found = measure_vectors(items, items, question, memory=MEMORY, exclude_groups=copies, groups=(groups, groups))
    for query in range(40):
        ranked = (groups == groups[query]) & (copies != copies[query])
        scores = (items[query] @ items.T)[ranked][None]
        relevant = (question.queries == question.queries[query])[ranked][None]
        assert (int(found.n_candidates[query]), int(found.n_relevant[query])) == (scores.numel(), int(relevant.sum()))
        for name, whole in WHOLE_ROWS.items():
            value = whole(scores, relevant)[0]
            torch.testing.assert_close(found.values[name][query], value, rtol=1e-13, atol=1e-15, msg=name)


def test_refuses_memory_that_does_not_hold_the_scores_of_one_query():
    queries, candidates, question = vectors(20, 1000, seed=7)
    with pytest.raises(ConfigError, match=r"ranking 1000 candidates takes 0\.\d MB"):
        measure_vectors(queries, candidates, question, memory=4000)


RANK_TIED = """
import re, sys, torch
from emoclim.metrics import blockwise
from emoclim.metrics.questions import Question
blockwise.BLOCK = blockwise.SORTED_BLOCK = blockwise.ROUNDED_FROM = sys.maxsize
classes, items = torch.arange(10000) % 4, blockwise.on_grid(torch.ones(10000, 8))
def rank(n_queries, memory):
    question = Question(classes[:n_queries], classes, torch.eye(4).bool(), (1, 10), MEASURES)
    blockwise.measure_vectors(items[:n_queries], items, question, memory=memory)
    return 1024 * int(re.search("VmHWM:\\\\s*(\\\\d+) kB", open("/proc/self/status").read())[1])
before = rank(1, sys.maxsize)
print(rank(N_QUERIES, 60_000_000) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory of a process is read from Linux")
@pytest.mark.parametrize(("n_queries", "measures"), [(1000, ("MRR",)), (60, ("MRR", "mAP"))])
def test_takes_no_more_memory_than_allowed_even_if_all_is_tied(n_queries, measures):
    script = RANK_TIED.replace("N_QUERIES", str(n_queries)).replace("MEASURES", repr(measures))
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert 30e6 < int(found.stdout) < 72e6  # what is read again takes some more, whatever the block; all at once, 80e6


def test_products_on_the_grid_are_exact_in_any_order():
    generator = torch.Generator().manual_seed(8)
    items = on_grid(torch.randn(40, 333, generator=generator))
    whole = (items * 2**26).long()
    exact = torch.tensor(
        [[sum(a * b for a, b in zip(x, y, strict=True)) for y in whole.tolist()] for x in whole.tolist()]
    )
    shuffled = torch.randperm(333, generator=generator)
    assert torch.equal((items @ items.T * 2**52).long(), exact)
    assert torch.equal(items[:, shuffled] @ items[:, shuffled].T, items @ items.T)
    assert torch.equal((items[:1] @ items[3:5].T)[0], (items @ items.T)[0, 3:5])


def test_the_grid_is_finer_than_float32_embeddings():
    items = torch.randn(50, 128, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    cosines = torch.nn.functional.cosine_similarity(items[:, None], items, dim=2)
    grid = on_grid(items)
    assert float((grid @ grid.T - cosines).abs().max()) < 2.0**-24  # the half of float32's epsilon


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=400), st.integers(1, 20), st.sampled_from([1, 8, 32]))
def test_each_chunk_holds_one_class_and_each_candidate_a_column(classes, deepest, width):
    labels = torch.tensor(classes)
    with mock.patch.object(counting, "NARROWEST", width):
        layout = lay_out(labels, 7, deepest)
    assert len(set(layout.columns.tolist())) == len(classes)
    assert torch.equal(layout.chunk_classes[layout.columns // layout.width], labels)
    empty = set(range(layout.n_columns)) - set(layout.columns.tolist())
    assert set(layout.empty().nonzero()[:, 0].tolist()) == empty
    assert len(empty) < 7 * layout.width


def test_much_that_is_read_again_is_read_in_parts(monkeypatch):
    scores, question = drawn(30, 200, 2, seed=10)
    layout = lay_out(question.candidates, 4, 1)
    columns = torch.full((30, layout.n_columns), -torch.inf, dtype=torch.float64)
    columns[:, layout.columns] = scores
    counter = Counter(columns, layout)
    expected = counter.around(scores[:, 0])
    monkeypatch.setattr(counting, "READ_AT_ONCE", 64)
    assert all(map(torch.equal, counter.around(scores[:, 0]), expected))
    higher = scores > scores[:, :1]
    assert expected[0].tolist() == [[int(row[question.candidates == of].sum()) for of in range(4)] for row in higher]
