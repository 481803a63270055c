"""Valence and arousal: targets in the manifest's own scale, losses and gradients, and what items are compared by."""

from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from objective_cases import CPU
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.errors import ConfigError, ManifestError
from emoclim.learning import make_objective
from emoclim.learning.heads_file import load_heads, save_heads
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch
from emoclim.learning.split_checks import check_pair
from emoclim.stages import train_heads

ONES, NINES = torch.tensor([[0.2, 0.4], [0.6, 0.8], [0.1, 0.9]]), torch.tensor([[1.0, 5.0], [9.0, 6.0], [5.0, 1.0]])
VECTORS = torch.tensor([[0.1, 0.7], [0.9, 0.2]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1])


def objective(n_heads: int = 1, **split: Any) -> Objective:
    made = make_objective("va_regression", ("text", "audio"), [{"output": split.pop("output", "linear")}] * n_heads)
    made.prepare(Split({}, {}, ("calm", "glad"), **split), CPU, torch.float64)
    return made


def z(numbers: Tensor) -> list[list[float]]:
    """Targets by hand, in float64."""
    columns = []
    for column in numbers.double().T.tolist():
        mean = sum(column) / len(column)
        spread = (sum((value - mean) ** 2 for value in column) / len(column)) ** 0.5
        columns.append([(value - mean) / spread for value in column])
    return [list(row) for row in zip(*columns, strict=True)]


def test_losses_and_gradients_are_those_of_the_plain_loops() -> None:
    made = objective(4, numbers={"text": ONES, "audio": NINES})
    generator = torch.Generator().manual_seed(0)
    outputs = {
        name: torch.randn(4, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
        for name in ("text", "audio")
    }
    losses = made.losses(outputs, Batch({}, {}, {"text": ONES, "audio": NINES}), None)
    for name, loss, numbers in zip(("text", "audio"), losses, (ONES, NINES), strict=True):
        expected = [reference.squared_error(outputs[name][k], z(numbers)) for k in range(4)]
        torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)
        (gradient,) = torch.autograd.grad(loss.sum(), outputs[name])
        by_hand = 2 * (outputs[name] - torch.tensor(z(numbers))) / 6
        torch.testing.assert_close(gradient, by_hand.detach(), rtol=1e-6, atol=1e-6)


def test_predictions_come_back_in_the_scale_of_each_manifest() -> None:
    made = objective(numbers={"text": ONES, "audio": NINES})
    for name, numbers in (("text", ONES), ("audio", NINES)):
        learnt = torch.tensor([z(numbers)])
        found = made.predictions(name, {name: learnt})
        assert found is not None
        torch.testing.assert_close(found[0], numbers)
        assert made.vectors(name, {name: learnt}) == (learnt, "l2")


def test_items_without_numbers_have_those_of_their_label() -> None:
    made = objective(numbers={"audio": NINES}, label_vectors=VECTORS)
    outputs = {name: torch.zeros(1, 3, 2, dtype=torch.float64) for name in ("text", "audio")}
    text, _ = made.losses(outputs, Batch({}, {"text": LABELS}, {"audio": NINES}), None)
    expected = reference.squared_error(outputs["text"][0], [z(VECTORS)[label] for label in LABELS])
    torch.testing.assert_close(text, torch.tensor([expected], dtype=torch.float64))


def test_where_labels_alone_teach_distances_are_those_of_their_own_space() -> None:
    made = objective(label_vectors=VECTORS)
    places, metric = made.vectors("text", {"text": torch.tensor([z(VECTORS)])})
    assert metric == "l2"
    torch.testing.assert_close(places[0, 0] - places[0, 1], (VECTORS[0] - VECTORS[1]).float())
    assert made.predictions("text", {"text": places}) is None


def test_a_sigmoid_spans_the_range_of_the_training_items() -> None:
    made = objective(output="sigmoid", numbers={"text": ONES, "audio": NINES})
    ends = made.predictions("audio", {"audio": torch.tensor([[[-99.0, 99.0]]])})
    torch.testing.assert_close(ends, torch.tensor([[[1.0, 6.0]]]))
    by_label = objective(output="sigmoid", label_vectors=VECTORS)
    torch.testing.assert_close(
        by_label.vectors("text", {"text": VECTORS.logit()[None]})[0], VECTORS[None], rtol=1e-6, atol=0
    )


def test_numbers_that_are_all_alike_are_learnt_as_they_are() -> None:
    flat = torch.tensor([[0.5, 0.1], [0.5, 0.9]])
    found = objective(numbers={"text": flat, "audio": NINES}).predictions(
        "text", {"text": torch.tensor([[[0.0, 0.0]]])}
    )
    assert found is not None
    torch.testing.assert_close(found[0, 0], torch.tensor([0.5, 0.5]))


def split_of(width: int, n: int = 24) -> Split:
    generator = torch.Generator().manual_seed(width)
    spec = FeatureSpec("noise", "audio", 9, "none", {})
    rows = torch.randn(n, 9, generator=generator)
    numbers = 5 + rows[:, :2] + torch.randn(n, 2, generator=generator) / 4
    return Split({"audio": Features(spec, tuple(map(str, range(n))), rows)}, {}, (), numbers={"audio": numbers})


def test_heads_come_back_from_their_file_with_their_scale(tmp_path: Path) -> None:
    split, config = split_of(7), TrainConfig(epochs=1, batches_per_epoch=2, val_batches=1, hidden_dim=5)
    heads = train_heads(
        split, split, make_objective("va_regression", ("audio",), [{}]), [(1,)], config, device=CPU
    ).heads
    save_heads(heads, tmp_path / "heads")
    before, after = (
        one.objective.predictions("audio", one.outputs(split.features["audio"]))
        for one in (heads, load_heads(tmp_path / "heads").select(0))
    )
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)
    assert 3 < float(before.mean()) < 7


def test_what_lacks_is_told() -> None:
    split = Split({"audio": split_of(2).features["audio"]}, {"audio": torch.zeros(24).long()}, ("calm",))
    with pytest.raises(ManifestError, match="need one vector each"):
        check_pair(split, split, ("audio",), ("targets",))
    with pytest.raises(ConfigError, match="two numbers each"):
        objective(label_vectors=torch.ones(2, 300))
