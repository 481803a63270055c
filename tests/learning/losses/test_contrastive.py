"""The contrastive losses against plain loops and against what the equations imply."""

from collections.abc import Callable
from math import log
from typing import get_args

import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_cases import by_similarity, emo_clim, losses_of, prepared, total_of
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.config import TrainConfig
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.learner import Learner, weighted_sum
from emoclim.learning.losses.contrastive import NoPositive, similarity_supcon, supcon
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality

TERMS = (("image", "audio"), ("audio", "image"), ("image", "image"), ("audio", "audio"))
CONVENTIONS: tuple[NoPositive, ...] = get_args(NoPositive)
LOSSES = (supcon, similarity_supcon)
Loss = Callable[..., Tensor]


def units(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def classes(n: int, *, seed: int = 1, n_classes: int = 4) -> Tensor:
    return torch.randint(n_classes, (n,), generator=torch.Generator().manual_seed(seed))


def degrees(n: int, m: int, *, seed: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    """Similarities from 0 to 1, a third of them exactly 0 and a third exactly 1."""
    return (torch.rand(n, m, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3 - 1).clamp(0, 1)


def pulls(loss: Loss, n: int, m: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """What pulls n anchors and m contrasts in a loss: whether, or how much; nothing pulls the first anchor."""
    pull = classes(n)[:, None] == classes(m, seed=3) if loss is supcon else degrees(n, m, dtype=dtype)
    pull[0] = 0
    return pull


@pytest.mark.parametrize("no_positive", CONVENTIONS)
@pytest.mark.parametrize("temperature", [0.001, 0.005, 0.07, 1.0])
@pytest.mark.parametrize(("n", "m"), [(9, 14), (14, 9), (1, 5)])
@pytest.mark.parametrize("loss", LOSSES)
def test_across_modalities_equals_the_plain_loops(
    loss: Loss, n: int, m: int, temperature: float, no_positive: NoPositive
) -> None:
    anchor, contrast, pull = units(3, n, 8), units(3, m, 8, seed=2), pulls(loss, n, m)
    found = loss(anchor, contrast, pull, temperature, skip_self=False, no_positive=no_positive)
    plain = getattr(reference, loss.__name__)
    expected = [
        plain(anchor[k], contrast[k], pull, temperature, skip_self=False, no_positive=no_positive) for k in range(3)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("no_positive", CONVENTIONS)
@pytest.mark.parametrize("temperature", [0.001, 0.005, 0.07, 1.0])
@pytest.mark.parametrize("n", [2, 13])
@pytest.mark.parametrize("loss", LOSSES)
def test_within_a_modality_equals_the_plain_loops(
    loss: Loss, n: int, temperature: float, no_positive: NoPositive
) -> None:
    rows = units(3, n, 8)
    pull = classes(n)[:, None] == classes(n) if loss is supcon else degrees(n, n)
    found = loss(rows, rows, pull, temperature, skip_self=True, no_positive=no_positive)
    plain = getattr(reference, loss.__name__)
    expected = [plain(rows[k], rows[k], pull, temperature, skip_self=True, no_positive=no_positive) for k in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=5, max_size=5),
    st.floats(0.001, 10),
    st.booleans(),
    st.sampled_from(CONVENTIONS),
)
def test_any_similarity_equals_the_plain_loops(
    table: list[list[float]], temperature: float, skip_self: bool, no_positive: NoPositive
) -> None:
    anchor = units(1, 5, 4)
    contrast = anchor if skip_self else units(1, 5, 4, seed=2)
    similarity = torch.tensor(table, dtype=torch.float64)
    options = {"skip_self": skip_self, "no_positive": no_positive}
    found = similarity_supcon(anchor, contrast, similarity, temperature, **options)
    expected = reference.similarity_supcon(anchor[0], contrast[0], similarity, temperature, **options)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found.item() >= -log(4 / 3)


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


def test_anchors_without_positives_can_leave_the_divisor() -> None:
    anchor, contrast = units(2, 6, 8), units(2, 5, 8, seed=2)
    positive = torch.zeros(6, 5, dtype=torch.bool)
    positive[0, 1] = positive[2, 3] = positive[2, 4] = True
    some = supcon(anchor, contrast, positive, 0.1, skip_self=False, no_positive="skip")
    only = supcon(anchor[:, [0, 2]], contrast, positive[[0, 2]], 0.1, skip_self=False)
    torch.testing.assert_close(some, only)


@pytest.mark.parametrize("no_positive", CONVENTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("skip_self", [False, True])
def test_similarities_of_zero_and_one_give_supcon_to_the_bit(
    skip_self: bool, dtype: torch.dtype, no_positive: NoPositive
) -> None:
    labels = classes(40)
    labels[7] = 9  # an anchor without positives, if it skips itself
    positive, rows = labels[:, None] == labels, units(2, 40, 16, dtype=dtype)
    options = {"skip_self": skip_self, "no_positive": no_positive}
    found = similarity_supcon(rows, rows, positive.to(dtype), 0.07, **options)
    assert torch.equal(found, supcon(rows, rows, positive, 0.07, **options))


def test_at_the_minimum_what_is_more_similar_is_nearer() -> None:
    """Logits proportional to the log of s / (1 - s + s^2), increasing in s, have no gradient."""
    similarity = torch.linspace(0.01, 1, 100, dtype=torch.float64)
    logits = (similarity / (1 - similarity + similarity**2)).log()
    assert (logits.diff() > 0).all()
    anchor = logits[None, None].clone().requires_grad_()
    contrast = torch.eye(100, dtype=torch.float64)[None]
    lowest = similarity_supcon(anchor, contrast, similarity[None], 1.0, skip_self=False)
    torch.autograd.backward(lowest.sum())
    assert anchor.grad is not None
    assert anchor.grad.abs().max() < 1e-15
    for seed in range(5):
        beside = anchor.detach() + 0.1 * units(1, 1, 100, seed=seed)
        assert similarity_supcon(beside, contrast, similarity[None], 1.0, skip_self=False) > lowest


def test_a_little_similarity_counts_a_little() -> None:
    """What a vanishing similarity adds vanishes, although it is all that an anchor has."""
    anchor, contrast = units(1, 4, 8), units(1, 4, 8, seed=2)
    similarity = torch.eye(4, dtype=torch.float64)
    without = similarity.clone()
    similarity[3, 3], without[3, 3] = 1e-9, 0
    for no_positive in CONVENTIONS:
        options = {"skip_self": False, "no_positive": no_positive}
        little = similarity_supcon(anchor, contrast, similarity, 0.07, **options)
        nothing = similarity_supcon(anchor, contrast, without, 0.07, **options)
        torch.testing.assert_close(little, nothing, rtol=0, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("no_positive", CONVENTIONS)
@pytest.mark.parametrize("n", [1, 4])
def test_a_batch_without_any_positive_gives_zero_and_no_gradient(n: int, no_positive: NoPositive, loss: Loss) -> None:
    rows = units(2, n, 8).requires_grad_()
    pull = torch.eye(n, dtype=torch.bool if loss is supcon else torch.float64)
    value = loss(rows, rows, pull, 0.07, skip_self=True, no_positive=no_positive)
    torch.autograd.backward(value.sum())
    assert value.tolist() == [0, 0]
    assert rows.grad is not None
    assert rows.grad.count_nonzero() == 0


@pytest.mark.parametrize("no_positive", CONVENTIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("skip_self", [False, True])
@pytest.mark.parametrize("temperature", [0.001, 0.005])
def test_float32_is_stable_at_small_temperatures(
    temperature: float, skip_self: bool, loss: Loss, no_positive: NoPositive
) -> None:
    """Logits of -1000 to 1000, and a row's own at 1000, in float32 against float64, with their gradients."""
    pull = pulls(loss, 40, 40, torch.float32)
    pull[1] = pull[1] * 1e-3 if loss is similarity_supcon else pull[1]
    results = []
    for dtype in (torch.float32, torch.float64):
        anchor = units(2, 40, 16, dtype=torch.float32).to(dtype).requires_grad_()
        contrast = anchor if skip_self else units(2, 40, 16, seed=2, dtype=torch.float32).to(dtype)
        found = loss(anchor, contrast, pull, temperature, skip_self=skip_self, no_positive=no_positive)
        torch.autograd.backward(found.sum())
        assert anchor.grad is not None
        results.append((found.detach().double(), anchor.grad.double()))
    (narrow, narrow_gradient), (exact, gradient) = results
    torch.testing.assert_close(narrow, exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(narrow_gradient, gradient, rtol=0, atol=1e-4 * gradient.abs().max().item())
    pair = anchor[0].detach(), contrast[0].detach()
    plain = getattr(reference, loss.__name__)(*pair, pull, temperature, skip_self=skip_self, no_positive=no_positive)
    assert exact[0].item() == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("no_positive", CONVENTIONS)
def test_the_smallest_similarities_have_finite_gradients(no_positive: NoPositive) -> None:
    """Below the smallest normal float32, where one over the divisor would be infinite."""
    rows = units(1, 4, 8, dtype=torch.float32).requires_grad_()
    loss = similarity_supcon(rows, rows, torch.full((4, 4), 1e-42), 0.005, skip_self=True, no_positive=no_positive)
    torch.autograd.backward(loss.sum())
    assert rows.grad is not None
    assert loss.isfinite().all()
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize("no_positive", CONVENTIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("skip_self", [False, True])
def test_gradient(skip_self: bool, loss: Loss, no_positive: NoPositive) -> None:
    labels = classes(6)
    labels[5] = 9  # an anchor without positives, if it skips itself
    pull = labels[:, None] == labels if loss is supcon else degrees(6, 6)
    rows = [units(2, 6, 4, seed=seed).requires_grad_() for seed in range(1 if skip_self else 2)]
    options = {"skip_self": skip_self, "no_positive": no_positive}
    assert torch.autograd.gradcheck(lambda *r: loss(r[0], r[-1], pull, 0.2, **options), rows)


@pytest.mark.parametrize("no_positive", CONVENTIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("skip_self", [False, True])
@pytest.mark.parametrize(("n", "m"), [(64, 64), (13, 9)])
def test_each_of_eight_heads_is_computed_as_if_alone(
    n: int, m: int, skip_self: bool, loss: Loss, no_positive: NoPositive
) -> None:
    """Loss and gradient to the bit, at a temperature per head."""
    anchor = units(8, n, 32, dtype=torch.float32).requires_grad_()
    contrast = anchor if skip_self else units(8, m, 32, seed=2, dtype=torch.float32)
    pull, temperature = pulls(loss, n, contrast.shape[1], torch.float32), torch.linspace(0.005, 1, 8)
    options = {"skip_self": skip_self, "no_positive": no_positive}
    together = loss(anchor, contrast, pull, temperature, **options)
    (gradient,) = torch.autograd.grad(together.sum(), anchor)
    for k in range(8):
        head = anchor[k : k + 1].detach().requires_grad_()
        alone = loss(head, head if skip_self else contrast[k : k + 1], pull, temperature[k : k + 1], **options)
        assert torch.equal(alone[0], together[k])
        assert torch.equal(torch.autograd.grad(alone.sum(), head)[0][0], gradient[k])


def test_the_order_of_a_batch_does_not_matter() -> None:
    embeddings: dict[Modality, Tensor] = {"image": units(2, 10, 8), "audio": units(2, 7, 8, seed=2)}
    labels: dict[Modality, Tensor] = {"image": classes(10), "audio": classes(7, seed=3)}
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.5, 0.0]], dtype=torch.float64)
    orders: dict[Modality, Tensor] = {"image": torch.randperm(10), "audio": torch.randperm(7)}
    shuffled = {modality: rows[:, orders[modality]] for modality, rows in embeddings.items()}
    relabelled = {modality: labels[modality][orders[modality]] for modality in labels}
    objective = prepared(emo_clim([0.07] * 2), torch.float64)
    first = total_of(objective, embeddings, labels, weights)
    torch.testing.assert_close(total_of(objective, shuffled, relabelled, weights), first)


def made(n_heads: int, no_positive: NoPositive, similarity: Tensor | None) -> Objective:
    if similarity is not None:
        objective = by_similarity(similarity, n_heads, no_positive=no_positive)
        objective._dtype = torch.float64
        return objective
    return prepared(emo_clim([0.07] * n_heads, no_positive=no_positive), torch.float64)


@pytest.mark.parametrize("similarity", [None, degrees(4, 4)])
@pytest.mark.parametrize("no_positive", CONVENTIONS)
def test_objective_equals_the_plain_loops(no_positive: NoPositive, similarity: Tensor | None) -> None:
    embeddings: dict[Modality, Tensor] = {"image": units(3, 9, 8), "audio": units(3, 12, 8, seed=2)}
    labels: dict[Modality, Tensor] = {"image": classes(9), "audio": classes(12, seed=3)}
    weights = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    objective = made(3, no_positive, similarity)
    found = total_of(objective, embeddings, labels, weights)
    options = {"no_positive": no_positive, "similarity": similarity}
    for k in range(3):
        of_head = {modality: rows[k] for modality, rows in embeddings.items()}
        expected = reference.objective(of_head, labels, TERMS, weights[k].tolist(), 0.07, **options)
        assert found[k].item() == pytest.approx(expected, rel=1e-12)


def test_the_similarity_of_a_class_to_itself_alone_is_supcon() -> None:
    embeddings: dict[Modality, Tensor] = {"image": units(3, 9, 8), "audio": units(3, 12, 8, seed=2)}
    labels: dict[Modality, Tensor] = {"image": classes(9), "audio": classes(12, seed=3)}
    plain = losses_of(made(3, "count", None), embeddings, labels)
    found = losses_of(made(3, "count", torch.eye(4)), embeddings, labels)
    assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


@pytest.mark.parametrize(
    "objective",
    [emo_clim([0.07] * 2), emo_clim([0.07] * 2, no_positive="skip"), by_similarity(degrees(4, 4).float(), 2)],
)
def test_a_learner_minimises_its_objective(objective: Objective) -> None:
    modalities: tuple[Modality, ...] = ("image", "audio")
    generator = torch.Generator().manual_seed(0)
    banks = {name: HeadBank(2, 5, 7, 3, dropout=0.0, generator=generator) for name in modalities}
    batch = Batch(
        {"image": units(9, 5).float(), "audio": units(9, 5, seed=2).float()},
        {"image": classes(9), "audio": classes(9, seed=3)},
    )
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.5, 0.0]])
    learner = Learner(Banks(banks), objective, weights, TrainConfig())
    with torch.no_grad():
        found = {name: bank.eval()(batch.rows[name]) for name, bank in banks.items()}
        expected = losses_of(objective, found, batch.labels)
    torch.testing.assert_close(torch.stack(learner.evaluate([batch])), torch.stack(expected))
    before = learner.step(batch, generator)
    for _ in range(30):
        after = learner.step(batch, generator)
    assert (after < before).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_an_unknown_convention_is_refused(loss: Loss) -> None:
    rows = units(1, 2, 3)
    with pytest.raises(ValueError, match="count or skip, not 'drop'"):
        loss(rows, rows, torch.eye(2) > 0, 0.1, skip_self=False, no_positive="drop")


def test_terms_stand_in_the_order_of_the_paper() -> None:
    assert emo_clim().terms == ("image>audio", "audio>image", "image>image", "audio>audio")


def test_each_weight_belongs_to_its_term() -> None:
    embeddings: dict[Modality, Tensor] = {
        "image": units(4, 9, 8)[:1].expand(4, 9, 8),
        "audio": units(4, 9, 8, seed=2)[:1].expand(4, 9, 8),
    }
    labels: dict[Modality, Tensor] = {"image": classes(9), "audio": classes(9, seed=3)}
    objective = made(4, "count", None)
    by_term = losses_of(objective, embeddings, labels)
    found = total_of(objective, embeddings, labels, torch.eye(4, dtype=torch.float64))
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
