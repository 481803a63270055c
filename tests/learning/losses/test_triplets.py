"""The triplet loss against plain loops, against pytorch-metric-learning, and head by head."""

from typing import Any, get_args

import pytest
import reference
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import DistanceWeightedMiner, distance_weighted_miner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.learning.losses.triplets import Negatives, negative_weights, triplet_loss

WAYS: tuple[Negatives, ...] = get_args(Negatives)


def units(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def unlike(n: int, *, seed: int = 1) -> Tensor:
    """Which of n rows are of other classes; the first anchor has no negative."""
    labels = torch.randint(3, (n,), generator=torch.Generator().manual_seed(seed))
    negative = labels[:, None] != labels
    negative[0] = False
    return negative


def of_seed(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("n", "width"), [(1, 4), (9, 2), (14, 3), (12, 64)])
def test_the_loss_of_all_negatives_and_its_gradient_equal_the_plain_loops(n: int, width: int) -> None:
    anchor, contrast = units(3, n, width).requires_grad_(), units(3, n, width, seed=2)
    negative, margins = unlike(n), torch.tensor([0.0, 0.2, 0.9], dtype=torch.float64)
    found = triplet_loss(anchor, contrast, negative, margins)
    (gradient,) = torch.autograd.grad(found.sum(), anchor)
    for k, margin in enumerate(margins.tolist()):
        rows = anchor[k].detach(), contrast[k]
        assert found[k].item() == pytest.approx(reference.triplet(*rows, negative, margin), abs=1e-6)
        torch.testing.assert_close(gradient[k], plain_gradient(*rows, negative, margin), rtol=0, atol=1e-6)


def plain_gradient(anchor: Tensor, contrast: Tensor, negative: Tensor, margin: float) -> Tensor:
    gradient = torch.zeros_like(anchor)
    for i in range(len(anchor)):
        for j in range(len(contrast)):
            if negative[i, j] and margin - anchor[i] @ contrast[i] + anchor[i] @ contrast[j] > 0:
                gradient[i] += (contrast[j] - contrast[i]) / negative[i].sum()
    return gradient / max(1, int(negative.any(dim=1).sum()))


@pytest.mark.parametrize("negatives", WAYS)
@pytest.mark.parametrize("width", [2, 3, 64])
def test_weights_equal_the_plain_loops(width: int, negatives: Negatives) -> None:
    anchor, contrast, negative = units(14, width), units(14, width, seed=2), unlike(14)
    weights = negative_weights((anchor @ contrast.T)[None], negative, negatives, width)[0]
    for row, chances in zip(
        weights, reference.negative_probabilities(anchor, contrast, negative, negatives), strict=True
    ):
        assert set(row.nonzero()[:, 0].tolist()) == set(chances)
        expected = torch.tensor(list(chances.values()), dtype=torch.float64)
        torch.testing.assert_close(row[list(chances)] / row.sum().clamp(min=1e-9), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("negatives", WAYS)
def test_negatives_are_drawn_as_often_as_they_are_likely(negatives: Negatives) -> None:
    """Of a thousand equal anchors, and four places of contrasts, the first of which is never a negative."""
    n = 1000
    anchor, group = torch.eye(1, 3, dtype=torch.float64).expand(1, n, 3), torch.arange(n) % 4
    cosines = torch.tensor([0.99, 0.8, 0.4, -0.3], dtype=torch.float64)
    places = torch.stack([cosines, (1 - cosines**2).sqrt(), 0 * cosines], dim=1)
    contrast = places[group][None].requires_grad_()
    negative = (group != 0).expand(n, n)
    loss = triplet_loss(anchor, contrast, negative, 3.0, negatives=negatives, generator=of_seed(0))
    (gradient,) = torch.autograd.grad(loss.sum(), contrast)
    drawn = torch.zeros(4, dtype=torch.float64).index_add(0, group, gradient[0] @ anchor[0, 0] + 1 / n)
    (chances,) = reference.negative_probabilities(anchor[0, :1], places, torch.arange(4)[None] > 0, negatives)
    expected = torch.tensor([chances.get(place, 0.0) for place in range(4)], dtype=torch.float64)
    assert (drawn - expected).abs().max() < 4 * (0.25 / n) ** 0.5
    assert drawn[0].abs() < 1e-12
    assert len(set(chances.values())) == (3 if negatives == "similar" else 2)


@pytest.mark.parametrize("shift", [1, 4, 7])
@pytest.mark.parametrize("negatives", WAYS)
def test_loss_and_gradient_equal_those_of_pytorch_metric_learning(negatives: Negatives, shift: int) -> None:
    n = 13
    near = 2 * torch.eye(1, 8, dtype=torch.float64)  # to all rows, so that either way draws them
    raw = [(units(1, n, 8, seed=seed) + near).requires_grad_() for seed in (0, 2)]  # the library makes them unit rows
    anchor, contrast = (normalize(rows, dim=-1) for rows in raw)
    numbers = torch.arange(n)
    other = (numbers + shift) % n
    only = numbers[:, None].roll(-shift, 0) == numbers  # one negative for each anchor
    found = triplet_loss(anchor, contrast, only, 0.2, negatives=negatives, generator=of_seed(0))
    loss: Any = TripletMarginLoss(margin=0.2, swap=False, distance=CosineSimilarity(), reducer=MeanReducer())
    expected = loss(anchor[0], indices_tuple=(numbers, numbers, other), ref_emb=contrast[0])
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad(value.sum(), raw, retain_graph=True) for value in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("width", [2, 3, 8, 64])
def test_weights_equal_those_of_the_distance_weighted_miner(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor, contrast = units(20, width), units(25, width, seed=2)
    contrast[:10] = normalize(contrast[:10] + 3 * anchor[:10], dim=-1)
    labels, others = torch.arange(20) % 3, torch.arange(25) % 4
    seen: list[Tensor] = []

    def catch(*_given: object, weights: Tensor, **_options: object) -> tuple[Tensor, ...]:
        seen.append(weights)
        return (labels[:0],) * 3

    monkeypatch.setattr(distance_weighted_miner.lmu, "get_random_triplet_indices", catch)
    DistanceWeightedMiner()(anchor, labels, contrast, others)
    weights = negative_weights((anchor @ contrast.T)[None], labels[:, None] != others, "inverse_density", width)[0]
    kept = (weights > 0).any(dim=1)
    assert kept.sum() > 5
    torch.testing.assert_close((weights / weights.sum(dim=1, keepdim=True))[kept], seen[0][kept], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("negatives", WAYS)
def test_anchors_without_negatives_add_nothing(negatives: Negatives, dtype: torch.dtype) -> None:
    anchor, contrast = (units(2, 8, 5, seed=seed, dtype=dtype).requires_grad_() for seed in (0, 2))
    for generator in (None, of_seed(0)):
        loss = triplet_loss(anchor, contrast, torch.zeros(8, 8) > 0, 0.2, negatives=negatives, generator=generator)
        gradients = torch.autograd.grad(loss.sum(), (anchor, contrast))
        assert loss.tolist() == [0, 0]
        assert not any(gradient.count_nonzero() for gradient in gradients)


def test_the_mean_is_over_the_anchors_with_a_negative() -> None:
    anchor, contrast = units(1, 4, 5), units(1, 4, 5, seed=2)
    negative = torch.zeros(4, 4) > 0
    negative[0, 2] = negative[3, 1] = True
    cosines = anchor[0] @ contrast[0].T
    expected = (1.5 - cosines[[0, 3], [0, 3]] + cosines[[0, 3], [2, 1]]).relu().mean()
    torch.testing.assert_close(triplet_loss(anchor, contrast, negative, 1.5)[0], expected)


def test_by_density_those_on_the_other_side_are_never_drawn() -> None:
    anchor = torch.tensor([[[1.0, 0.0, 0.0]] * 3])
    contrast = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]])
    far, every = torch.tensor([[False, True, True]] * 3), torch.ones(3, 3) > 0
    none = triplet_loss(anchor, contrast, far, 0.2, negatives="inverse_density", generator=of_seed(0))
    near = triplet_loss(anchor, contrast, every, 0.2, negatives="inverse_density", generator=of_seed(0))
    assert none.tolist() == [0]
    torch.testing.assert_close(near, torch.tensor([(0.2 + 1.2 + 2.2) / 3]))


@pytest.mark.parametrize("negatives", WAYS)
@pytest.mark.parametrize("width", [2, 64, 300])
def test_extremes_stay_finite(width: int, negatives: Negatives) -> None:
    """Equal and opposite rows, in float32."""
    rows = torch.cat([torch.eye(4, width), -torch.eye(4, width), torch.eye(4, width)])[None].requires_grad_()
    for generator in (None, of_seed(0)):
        loss = triplet_loss(rows, rows, ~torch.eye(12, dtype=torch.bool), 0.2, negatives=negatives, generator=generator)
        (gradient,) = torch.autograd.grad(loss.sum(), rows)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()


def test_no_rows_give_zero() -> None:
    rows = torch.zeros(3, 0, 5).requires_grad_()
    loss = triplet_loss(rows, rows, torch.zeros(0, 0) > 0, 0.2, generator=of_seed(0))
    assert loss.tolist() == [0, 0, 0]


@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("negatives", WAYS)
@pytest.mark.parametrize("width", [2, 7, 64, 300])
@pytest.mark.parametrize("n", [7, 16, 33])
def test_each_of_eight_heads_is_computed_as_if_alone(n: int, width: int, negatives: Negatives, drawn: bool) -> None:
    """Loss and gradients to the bit, at a margin per head."""
    anchor, contrast = (units(8, n, width, seed=seed, dtype=torch.float32) for seed in (0, 2))
    contrast = normalize(contrast + anchor.roll(1, 1) + anchor, dim=-1)
    negative, margins = unlike(n), torch.linspace(0.5, 2, 8)

    def computed(heads: slice) -> tuple[Tensor, ...]:
        rows = [one[heads].clone().requires_grad_() for one in (anchor, contrast)]
        generator = of_seed(3) if drawn else None
        loss = triplet_loss(*rows, negative, margins[heads], negatives=negatives, generator=generator)
        return loss.detach(), *torch.autograd.grad(loss.sum(), rows)

    together = computed(slice(None))
    assert (together[0] > 0).all()
    for k in range(8):
        for one, of_all in zip(computed(slice(k, k + 1)), together, strict=True):
            assert torch.equal(one[0], of_all[k])
