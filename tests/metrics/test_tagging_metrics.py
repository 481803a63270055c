"""ROC-AUC and average precision of tags: against plain loops, scikit-learn and published numbers."""

import json
from itertools import combinations

import numpy as np
import pytest
import reference_tagging as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from emoclim.metrics.tagging import draw_counts, resampled_metrics, tag_metrics
from emoclim.metrics.ties import random_average_precision

EXACT = 1e-12


@st.composite
def tables(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores, often tied, and a tag table in which each tag has a positive and a negative item."""
    n_items, n_tags = draw(st.integers(2, 40)), draw(st.integers(1, 5))
    seed, levels = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([1, 2, 5, 1000]))
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels + 1, (n_items, n_tags), generator=generator) / 8
    relevant = torch.rand(n_items, n_tags, generator=generator) < draw(st.sampled_from([0.05, 0.5, 0.95]))
    relevant[0], relevant[1] = True, False
    return scores.to(draw(st.sampled_from([torch.float32, torch.float64]))), relevant


def close(found: Tensor, expected: object) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=EXACT)


@settings(deadline=None, max_examples=50)
@given(tables())
def test_equals_scikit_learn_and_plain_loops(table):
    scores, relevant = table
    found = tag_metrics(scores, relevant)
    close(found.roc_auc, roc_auc_score(relevant.numpy(), scores.numpy(), average=None))
    close(found.average_precision, average_precision_score(relevant.numpy(), scores.numpy(), average=None))
    columns = list(zip(scores.T.tolist(), relevant.T.tolist(), strict=True))
    close(found.roc_auc, [reference.roc_auc(*column) for column in columns])
    close(found.average_precision, [reference.average_precision(*column) for column in columns])


@settings(deadline=None, max_examples=50)
@given(tables())
def test_only_the_order_of_scores_and_not_that_of_items_counts(table):
    scores, relevant = table
    found = tag_metrics(scores, relevant)
    moved = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))
    for other in (tag_metrics(scores * 4 - 1, relevant), tag_metrics(scores[moved], relevant[moved])):
        assert torch.equal(other.roc_auc, found.roc_auc)
        assert torch.equal(other.average_precision, found.average_precision)


def test_equals_scikit_learn_at_the_size_of_a_published_test_set():
    generator = torch.Generator().manual_seed(1)
    relevant = torch.rand(5329, 50, generator=generator) < 0.05
    untied = torch.rand(5329, 50, generator=generator)
    for scores in (untied, untied.round(decimals=1)):
        found = tag_metrics(scores, relevant)
        close(found.roc_auc, roc_auc_score(relevant.numpy(), scores.numpy(), average=None))
        close(found.average_precision, average_precision_score(relevant.numpy(), scores.numpy(), average=None))


def test_equals_published_scores_of_magnatagatune(shared):
    folder = shared / "golden_tagging"
    with np.load(folder / "mtat_musicnn_test.npz") as file:
        scores, relevant = torch.from_numpy(file["est"]), torch.from_numpy(file["gt"]).bool()
        tags = file["tags"].tolist()
    expected = json.loads((folder / "expected.json").read_text())
    found = tag_metrics(scores, relevant)
    assert float(found.roc_auc.mean()) == pytest.approx(0.910897708562001, abs=1e-15)
    assert float(found.average_precision.mean()) == pytest.approx(0.4508741076307893, abs=1e-15)
    for values, name in ((found.roc_auc, "roc_auc"), (found.average_precision, "average_precision")):
        close(values, [expected["per_tag"][tag][name] for tag in tags])
    assert found.n_positive.tolist() == [expected["per_tag"][tag]["support"] for tag in tags]


def test_equals_published_scores_of_moods_and_themes(shared):
    """The row MediaEval 2020 of Table 1 of VCMR: 76.6 / 15.0."""
    with np.load(shared / "golden_tagging" / "mediaeval2020_moodtheme_test.npz") as file:
        scores, relevant = torch.from_numpy(file["est"]), torch.from_numpy(file["gt"]).bool()
    assert scores.shape == (4231, 56)
    found = tag_metrics(scores, relevant)
    assert float(found.roc_auc.mean()) == pytest.approx(0.765519, abs=5e-7)
    assert float(found.average_precision.mean()) == pytest.approx(0.150127, abs=5e-7)


def test_what_the_items_do_not_define_is_nan_and_nothing_else():
    scores = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    found = tag_metrics(scores, torch.tensor([[False, True, False], [False, True, True]]))
    assert found.roc_auc.isnan().tolist() == [True, True, False]
    assert found.average_precision.isnan().tolist() == [True, False, False]
    assert found.average_precision[1:].tolist() == [1.0, 1.0]
    assert (found.n_positive.tolist(), found.n_negative.tolist()) == ([0, 2, 1], [2, 0, 1])


def test_equal_scores_give_one_half_and_the_share_of_positive_items():
    found = tag_metrics(torch.zeros(8, 1), torch.tensor([[True]] * 2 + [[False]] * 6))
    assert (found.roc_auc.item(), found.average_precision.item()) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("scores", "relevant", "told"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.bool), "must be one"),
        (torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.bool), "N > 0"),
        (torch.tensor([[0.0], [float("nan")]]), torch.ones(2, 1, dtype=torch.bool), "NaN"),
    ],
)
def test_refuses_what_has_no_order(scores, relevant, told):
    with pytest.raises(ValueError, match=told):
        tag_metrics(scores, relevant)


@pytest.mark.parametrize(("n_items", "n_positive"), [(1, 1), (5, 1), (6, 3), (6, 6)])
def test_random_order_is_the_mean_over_all_orders(n_items, n_positive):
    orders = [
        reference.average_precision(range(n_items), [place in chosen for place in range(n_items)])
        for chosen in combinations(range(n_items), n_positive)
    ]
    found = random_average_precision(torch.tensor([n_positive, 0]), torch.tensor([n_items, n_items]))
    assert found[0].item() == pytest.approx(sum(orders) / len(orders), abs=EXACT)
    assert found[1] == 0


@settings(deadline=None, max_examples=30)
@given(tables(), st.integers(0, 2**32 - 1))
def test_resamples_equal_the_metrics_of_repeated_items(table, seed):
    scores, relevant = table
    counts = draw_counts(len(scores), 4, torch.Generator().manual_seed(seed))
    roc_auc, average_precision = resampled_metrics(scores, relevant, counts)
    for number, times in enumerate(counts.T.long()):
        expected = tag_metrics(scores.repeat_interleave(times, 0), relevant.repeat_interleave(times, 0))
        close(roc_auc[:, number], expected.roc_auc)
        close(average_precision[:, number], expected.average_precision)


def test_blocks_of_resamples_do_not_meet(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    scores, relevant = torch.rand(30, 2, generator=generator), torch.rand(30, 2, generator=generator) < 0.3
    counts = draw_counts(30, 10, generator)
    whole = resampled_metrics(scores, relevant, counts)
    monkeypatch.setattr("emoclim.metrics.tagging.RESAMPLES_PER_BLOCK", 3)
    for one, other in zip(whole, resampled_metrics(scores, relevant, counts), strict=True):
        assert torch.equal(one, other)


def test_resamples_draw_as_many_items_as_there_are():
    counts = draw_counts(20, 500, torch.Generator().manual_seed(0))
    assert counts.shape == (20, 500)
    assert set(counts.sum(0).tolist()) == {20}
    assert counts.mean(1).sub(1).abs().max() < 0.2
    assert torch.equal(counts, draw_counts(20, 500, torch.Generator().manual_seed(0)))


def test_groups_are_drawn_whole():
    groups = torch.tensor([0, 0, 1, 2, 2, 2])
    counts = draw_counts(6, 50, torch.Generator().manual_seed(0), groups=groups)
    assert torch.equal(counts[0], counts[1])
    assert torch.equal(counts[3], counts[5])
    assert set(counts[[0, 2, 3]].sum(0).tolist()) == {3}
    assert not torch.equal(counts[0], counts[2])


def test_counts_belong_to_the_items():
    with pytest.raises(ValueError, match="each of the 3 items"):
        resampled_metrics(torch.zeros(3, 1), torch.ones(3, 1, dtype=torch.bool), torch.ones(4, 2))
