"""The contrastive losses against plain loops and against what the equations imply."""

import pytest
import reference
import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.data.manifest import Modality
from emoclim.losses import EMO_CLIM, objective, supcon, term_losses, weighted_sum


def units(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def classes(n: int, *, seed: int = 1, n_classes: int = 4) -> Tensor:
    return torch.randint(n_classes, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.005, 0.07, 1.0])
@pytest.mark.parametrize(("n", "m"), [(9, 14), (14, 9), (1, 5)])
def test_across_modalities_equals_the_plain_loops(n: int, m: int, temperature: float) -> None:
    anchor, contrast = units(3, n, 8), units(3, m, 8, seed=2)
    positive = classes(n)[:, None] == classes(m, seed=3)
    found = supcon(anchor, contrast, positive, temperature, skip_self=False)
    expected = [reference.supcon(anchor[k], contrast[k], positive, temperature, skip_self=False) for k in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.005, 0.07, 1.0])
@pytest.mark.parametrize("n", [2, 13])
def test_within_a_modality_equals_the_plain_loops(n: int, temperature: float) -> None:
    rows, labels = units(3, n, 8), classes(n)
    positive = labels[:, None] == labels
    found = supcon(rows, rows, positive, temperature, skip_self=True)
    expected = [reference.supcon(rows[k], rows[k], positive, temperature, skip_self=True) for k in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_two_points_by_hand() -> None:
    """One positive at cosine 1, one negative at cosine 0: minus the log of e / (e + 1)."""
    anchor = torch.tensor([[[1.0, 0.0]]])
    contrast = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    loss = supcon(anchor, contrast, torch.tensor([[True, False]]), 1.0, skip_self=False)
    assert loss.item() == pytest.approx(0.3132617)


def test_anchors_without_positives_add_nothing_and_stay_in_the_divisor() -> None:
    anchor, contrast = units(2, 6, 8), units(2, 5, 8, seed=2)
    positive = torch.zeros(6, 5, dtype=torch.bool)
    positive[0, 1] = positive[2, 3] = positive[2, 4] = True
    some = supcon(anchor, contrast, positive, 0.1, skip_self=False)
    only = supcon(anchor[:, [0, 2]], contrast, positive[[0, 2]], 0.1, skip_self=False)
    torch.testing.assert_close(some, only * 2 / 6)


@pytest.mark.parametrize("n", [1, 4])
def test_a_batch_without_any_positive_gives_zero_and_no_gradient(n: int) -> None:
    rows = units(2, n, 8).requires_grad_()
    loss = supcon(rows, rows, torch.eye(n, dtype=torch.bool), 0.07, skip_self=True)
    torch.autograd.backward(loss.sum())
    assert loss.tolist() == [0, 0]
    assert rows.grad is not None
    assert not rows.grad.any()


def test_float32_is_stable_at_a_small_temperature() -> None:
    """Similarities of -200 to 200, and itself at 200, in float32 against float64."""
    rows, labels = units(2, 40, 16), classes(40)
    positive = labels[:, None] == labels
    exact = supcon(rows, rows, positive, 0.005, skip_self=True)
    narrow = rows.float().requires_grad_()
    found = supcon(narrow, narrow, positive, 0.005, skip_self=True)
    torch.autograd.backward(found.sum())
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)
    assert narrow.grad is not None
    assert narrow.grad.isfinite().all()


@pytest.mark.parametrize("skip_self", [False, True])
def test_gradient(skip_self: bool) -> None:
    labels = classes(6)
    labels[5] = 9  # an anchor without positives, if it skips itself
    positive = labels[:, None] == labels
    rows = [units(2, 6, 4, seed=seed).requires_grad_() for seed in range(1 if skip_self else 2)]
    assert torch.autograd.gradcheck(lambda *r: supcon(r[0], r[-1], positive, 0.2, skip_self=skip_self), rows)


def test_the_order_of_a_batch_does_not_matter() -> None:
    embeddings: dict[Modality, Tensor] = {"image": units(2, 10, 8), "audio": units(2, 7, 8, seed=2)}
    labels: dict[Modality, Tensor] = {"image": classes(10), "audio": classes(7, seed=3)}
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.5, 0.0]], dtype=torch.float64)
    orders: dict[Modality, Tensor] = {"image": torch.randperm(10), "audio": torch.randperm(7)}
    shuffled = {modality: rows[:, orders[modality]] for modality, rows in embeddings.items()}
    relabelled = {modality: labels[modality][orders[modality]] for modality in labels}
    first = objective(embeddings, labels, EMO_CLIM, weights, 0.07)
    torch.testing.assert_close(objective(shuffled, relabelled, EMO_CLIM, weights, 0.07), first)


def test_objective_equals_the_plain_loops() -> None:
    embeddings: dict[Modality, Tensor] = {"image": units(3, 9, 8), "audio": units(3, 12, 8, seed=2)}
    labels: dict[Modality, Tensor] = {"image": classes(9), "audio": classes(12, seed=3)}
    weights = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = objective(embeddings, labels, EMO_CLIM, weights, 0.07)
    for k in range(3):
        of_head = {modality: rows[k] for modality, rows in embeddings.items()}
        expected = reference.objective(of_head, labels, EMO_CLIM, weights[k].tolist(), 0.07)
        assert found[k].item() == pytest.approx(expected, rel=1e-12)


def test_terms_stand_in_the_order_of_the_paper() -> None:
    assert EMO_CLIM == (("image", "audio"), ("audio", "image"), ("image", "image"), ("audio", "audio"))


def test_each_weight_belongs_to_its_term() -> None:
    embeddings: dict[Modality, Tensor] = {
        "image": units(4, 9, 8)[:1].expand(4, 9, 8),
        "audio": units(4, 9, 8, seed=2)[:1].expand(4, 9, 8),
    }
    labels: dict[Modality, Tensor] = {"image": classes(9), "audio": classes(9, seed=3)}
    by_term = term_losses(embeddings, labels, EMO_CLIM, 0.07)
    found = objective(embeddings, labels, EMO_CLIM, torch.eye(4, dtype=torch.float64), 0.07)
    torch.testing.assert_close(found, torch.stack([loss[k] for k, loss in enumerate(by_term)]))
    assert len({round(value, 6) for value in found.tolist()}) == 4


def test_a_temperature_per_head() -> None:
    anchor, contrast = units(2, 6, 8), units(2, 6, 8, seed=2)
    positive = classes(6)[:, None] == classes(6, seed=3)
    both = supcon(anchor, contrast, positive, torch.tensor([0.07, 0.5], dtype=torch.float64), skip_self=False)
    for k, temperature in enumerate((0.07, 0.5)):
        alone = supcon(anchor[k : k + 1], contrast[k : k + 1], positive, temperature, skip_self=False)
        torch.testing.assert_close(both[k : k + 1], alone)


def test_a_weight_per_term_is_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        weighted_sum((torch.ones(1), torch.ones(1)), torch.ones(1, 3))
