"""The focal loss and its slope, against plain loops, and head by head."""

import pytest
import reference
import torch
from torch.nn.functional import cross_entropy

from emoclim.learning.objectives.classifying import focal_loss

GAMMAS = [0.0, 0.3, 1.0, 2.0, 5.0]


def drawn(n_heads: int, n: int, n_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    logits = torch.randn(n_heads, n, n_classes, generator=generator, dtype=torch.float64)
    return 2 * logits, torch.randint(n_classes, (n,), generator=generator)


def test_the_focal_loss_equals_plain_loops() -> None:
    logits, targets = drawn(len(GAMMAS), 9, 4)
    found = focal_loss(logits, targets, torch.tensor(GAMMAS, dtype=torch.float64))
    for k, gamma in enumerate(GAMMAS):
        assert float(found[k]) == pytest.approx(reference.focal(logits[k], targets.tolist(), gamma), rel=1e-6)
    assert float(found[0]) == pytest.approx(float(cross_entropy(logits[0], targets)), rel=1e-12)


def test_its_slope_is_that_of_the_plain_loss() -> None:
    logits, targets = drawn(len(GAMMAS), 5, 3)
    logits.requires_grad_()
    torch.autograd.backward(focal_loss(logits, targets, torch.tensor(GAMMAS, dtype=torch.float64)).sum())
    assert logits.grad is not None
    for k, gamma in enumerate(GAMMAS):
        for place in [(0, 0), (1, 2), (4, 1)]:
            moved = torch.zeros_like(logits[k]).detach()
            moved[place] = step = 1e-5
            up, down = (reference.focal(logits[k].detach() + s * moved, targets.tolist(), gamma) for s in (1, -1))
            assert float(logits.grad[k][place]) == pytest.approx((up - down) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_certainty_has_a_finite_slope(gamma: float) -> None:
    logits = torch.tensor([[[200.0, 0.0], [0.0, 200.0]]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]), torch.tensor([gamma]))
    torch.autograd.backward(loss.sum())
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert float(loss.detach()) == pytest.approx(100)


@pytest.mark.parametrize("n", [7, 32, 33])
@pytest.mark.parametrize("n_classes", [2, 7, 64, 300])
def test_each_head_has_the_loss_and_slope_that_it_has_alone(n: int, n_classes: int) -> None:
    logits, targets = drawn(8, n, n_classes)
    gammas = torch.linspace(0, 2.5, 8)
    losses, slopes = [], []
    for part in [slice(0, 8), *(slice(k, k + 1) for k in range(8))]:
        rows = logits.float()[part].clone().requires_grad_()
        losses.append(found := focal_loss(rows, targets, gammas[part]))
        torch.autograd.backward(found.sum())
        slopes.append(rows.grad)
    assert torch.equal(losses[0], torch.cat(losses[1:]))
    assert torch.equal(slopes[0], torch.cat(slopes[1:]))
