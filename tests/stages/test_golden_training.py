"""The losses and 200 training steps against numbers of the reference implementation; see tests/golden/README.md."""

import copy
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from objective_cases import TERMS, emo_clim, losses_of, prepared, total_of
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.learner import Learner
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality

GOLDEN = Path(__file__).parents[1] / "golden"
MODALITIES: tuple[Modality, Modality] = ("image", "audio")
TERM_NAMES = [term.replace(">", "2") for term in TERMS]
EVEN = dict.fromkeys(TERM_NAMES, 0.25)
UNEVEN = {"image2image": 0.1, "audio2audio": 0.4, "image2audio": 0.3, "audio2image": 0.2}
CASES = ("n8_t07", "n8_t20", "n8_oneclass_t07", "n64_empty_t07")
FILL_OFFSET = 1000003
PARAMETERS = {
    "hidden_weight": "0.weight",
    "hidden_bias": "0.bias",
    "norm_weight": "1.weight",
    "norm_bias": "1.bias",
    "running_mean": "1.running_mean",
    "running_var": "1.running_var",
    "out_weight": "4.weight",
    "out_bias": "4.bias",
}
STATE_TOLERANCE = {"norm_weight": 1e-4, "norm_bias": 1e-4, "running_mean": 1e-2, "running_var": 1e-5}
CORNER_TOLERANCE = {"hidden_weight": 2e-4, "out_weight": 5e-5}


class Arrays(dict[str, npt.NDArray[np.float64]]):
    """The arrays of one golden file."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN / name, allow_pickle=False) as file:
            super().__init__({key: file[key] for key in file.files})


@pytest.fixture(scope="module")
def losses() -> Arrays:
    return Arrays("losses.npz")


@pytest.fixture(scope="module")
def golden() -> Arrays:
    return Arrays("end_to_end.npz")


def close(found: Tensor, expected: object, tolerance: float) -> None:
    """Compare with an absolute tolerance alone."""
    target = torch.as_tensor(np.asarray(expected), dtype=torch.float64)
    torch.testing.assert_close(found.detach().double(), target, rtol=0, atol=tolerance)


def case_of(losses: Arrays, case: str) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor], float]:
    embeddings = {m: torch.from_numpy(losses[f"{case}/{m}"])[None].requires_grad_() for m in MODALITIES}
    labels = {m: torch.from_numpy(losses[f"{case}/{m}_label"]) for m in MODALITIES}
    return embeddings, labels, float(losses[f"{case}/temperature"])


@pytest.mark.parametrize("case", CASES)
def test_each_term(losses: Arrays, case: str) -> None:
    embeddings, labels, temperature = case_of(losses, case)
    found = dict(zip(TERM_NAMES, losses_of(emo_clim([temperature]), embeddings, labels), strict=True))
    for name, expected in zip(losses["loss_order"], losses[f"{case}/losses"], strict=True):
        close(found[str(name)], [expected], 2e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("kind", "weights"), [("even", EVEN), ("uneven", UNEVEN)])
def test_totals_and_gradients(losses: Arrays, case: str, kind: str, weights: dict[str, float]) -> None:
    embeddings, labels, temperature = case_of(losses, case)
    table = torch.tensor([[weights[name] for name in TERM_NAMES]])
    total = total_of(emo_clim([temperature]), embeddings, labels, table)
    close(total, [losses[f"{case}/total_{kind}"]], 2e-6)
    torch.autograd.backward(total.sum())
    for modality, rows in embeddings.items():
        expected = losses.get(f"{case}/grad_{modality}_{kind}")
        if expected is not None:
            assert rows.grad is not None
            close(rows.grad[0, : len(expected)], expected, 5e-7)


def test_cases_cover_gradients_and_anchors_without_positives(losses: Arrays) -> None:
    with_gradient = [case for case in CASES if f"{case}/grad_image_uneven" in losses]
    assert with_gradient == ["n8_t20", "n64_empty_t07"]
    assert all(losses[f"{case}/anchors_without_positive"].any() for case in with_gradient)


def pseudo_parameter(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value that the reference run began with, from the parameter's name and shape alone."""
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()) + FILL_OFFSET)).standard_normal(shape)
    if name.endswith("running_var"):
        value = np.abs(1 + 0.1 * noise)
    elif name.endswith(("bias", "running_mean")):
        value = 0.1 * noise
    elif len(shape) == 1:
        value = 1 + 0.1 * noise
    else:
        value = noise / np.sqrt(shape[1])
    return torch.from_numpy(value.astype(np.float32))


def golden_bank(modality: Modality, dim: int, n_heads: int, dtype: torch.dtype) -> HeadBank:
    """A bank of equal heads with the parameters that the reference run began with; no dropout."""
    bank = HeadBank(n_heads, dim, 256, 128, dropout=0, generator=torch.Generator())
    state = {
        name: pseudo_parameter(f"{modality}_projector.{PARAMETERS[name]}", tuple(tensor.shape[1:])).expand_as(tensor)
        for name, tensor in bank.state_dict().items()
    }
    bank.load_state_dict(state)
    return bank.to(dtype)


@dataclass(frozen=True)
class Trajectory:
    """200 steps: losses and, at the marked steps, terms, ``(S, K)`` and ``(marks, K, 4)``; embeddings by moment."""

    losses: Tensor
    terms: Tensor
    initial: dict[Modality, Tensor]
    final: dict[Modality, Tensor]
    final_batch: dict[Modality, Tensor]
    states: dict[Modality, dict[str, Tensor]]


def run(golden: Arrays, weights: Tensor, dtype: torch.dtype) -> Trajectory:
    """Drive the training stage's own step over the recorded batches."""
    rows = {m: torch.from_numpy(golden[m]).to(dtype) for m in MODALITIES}
    labels = {m: torch.from_numpy(golden[f"{m}_label"]) for m in MODALITIES}
    picks = {m: torch.from_numpy(golden[f"batch_{m}"]).long() for m in MODALITIES}
    banks = {m: golden_bank(m, rows[m].shape[1], len(weights), dtype) for m in MODALITIES}
    objective = prepared(emo_clim([0.07] * len(weights)), dtype)
    learner = Learner(Banks(banks), objective, weights.to(dtype), TrainConfig())
    shown = torch.from_numpy(golden["shown_items"])
    marks = set(golden["marks"].tolist())
    generator = torch.Generator()
    with torch.no_grad():
        initial = {m: banks[m].eval()(rows[m][shown]) for m in MODALITIES}
    losses, terms = [], []
    for step, (image, audio) in enumerate(zip(picks["image"], picks["audio"], strict=True), start=1):
        chosen: dict[Modality, Tensor] = {"image": image, "audio": audio}
        batch = Batch({m: rows[m][chosen[m]] for m in MODALITIES}, {m: labels[m][chosen[m]] for m in MODALITIES})
        if step in marks:
            terms.append(terms_of(banks, batch))
        losses.append(learner.step(batch, generator))
    with torch.no_grad():
        final = {m: banks[m].eval()(rows[m][shown]) for m in MODALITIES}
    states = {m: {name: tensor.clone() for name, tensor in banks[m].state_dict().items()} for m in MODALITIES}
    with torch.no_grad():
        final_batch = {m: banks[m].train()(batch.rows[m])[:, :5] for m in MODALITIES}
    return Trajectory(torch.stack(losses), torch.stack(terms), initial, final, final_batch, states)


def terms_of(banks: dict[Modality, HeadBank], batch: Batch) -> Tensor:
    """The terms ``(K, 4)`` of a batch that is yet to be learnt from."""
    with torch.no_grad():
        embeddings = {m: copy.deepcopy(bank).train()(batch.rows[m]) for m, bank in banks.items()}
        first = next(iter(embeddings.values()))
        objective = prepared(emo_clim([0.07] * len(first)), first.dtype)
        return torch.stack(losses_of(objective, embeddings, batch.labels), dim=1)


@pytest.fixture(scope="module")
def solo(golden: Arrays) -> Trajectory:
    return run(golden, torch.full((1, 4), 0.25), torch.float32)


def test_start(golden: Arrays, solo: Trajectory) -> None:
    for modality in MODALITIES:
        close(solo.initial[modality][0], golden[f"{modality}_init"], 1e-6)


def test_losses_of_200_steps(golden: Arrays, solo: Trajectory) -> None:
    close(solo.losses[:, 0], golden["losses_f32"], 5e-6)
    close(solo.losses[:, 0], golden["losses"], 2e-5)


def test_terms_at_the_marked_steps(golden: Arrays, solo: Trajectory) -> None:
    columns = [TERM_NAMES.index(str(name)) for name in golden["loss_order"]]
    close(solo.terms[:, 0, columns], golden["components_at_marks"], 2e-5)


def test_embeddings_after_200_steps(golden: Arrays, solo: Trajectory) -> None:
    for modality in MODALITIES:
        close(solo.final_batch[modality][0], golden[f"{modality}_final_batchstat"], 5e-5)
        close(solo.final[modality][0], golden[f"{modality}_final"], 1e-3)


def test_parameters_and_statistics_after_200_steps(golden: Arrays, solo: Trajectory) -> None:
    """All but the first bias, whose gradient is zero but for rounding."""
    for modality in MODALITIES:
        for name, tolerance in STATE_TOLERANCE.items():
            key = f"state/{modality}_projector.{PARAMETERS[name]}"
            close(solo.states[modality][name][0], golden[key], tolerance)
        for name, tolerance in CORNER_TOLERANCE.items():
            key = f"state/{modality}_projector.{PARAMETERS[name]}[:4,:8]"
            close(solo.states[modality][name][0, :4, :8], golden[key], tolerance)


def test_float64_follows_to_the_last_digits(golden: Arrays) -> None:
    found = run(golden, torch.full((1, 4), 0.25), torch.float64)
    close(found.losses[:, 0], golden["losses"], 1e-12)
    for modality in MODALITIES:
        close(found.final[modality][0], golden[f"{modality}_final"], 1e-10)


def test_the_first_of_eight_heads_takes_the_same_way(golden: Arrays, solo: Trajectory) -> None:
    """At the sizes of the papers, to the bit."""
    weights = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    weights[0] = 0.25
    bank = run(golden, weights, torch.float32)
    assert torch.equal(bank.losses[:, 0], solo.losses[:, 0])
    for modality in MODALITIES:
        for name, tensor in solo.states[modality].items():
            assert torch.equal(bank.states[modality][name][0], tensor[0]), name
    assert not torch.equal(bank.losses[:, 1], solo.losses[:, 0])
