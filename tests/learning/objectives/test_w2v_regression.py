"""Vectors of words: losses and gradients, and what items are compared by."""

import pytest
import reference
import torch
from objective_cases import CPU
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.learning import make_objective
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch
from emoclim.stages import train_heads

WORDS = torch.tensor([[0.5, -1.0, 0.2], [-0.3, 0.4, 0.1]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1, 0])


def objective(output: str = "linear", n_heads: int = 1) -> Objective:
    made = make_objective("w2v_regression", ("text", "audio"), [{"output": output}] * n_heads)
    made.prepare(Split({}, {}, ("calm", "glad"), WORDS), CPU, torch.float64)
    return made


@pytest.mark.parametrize("output", ["linear", "paper-code"])
def test_losses_and_gradients_are_those_of_the_plain_loops(output: str) -> None:
    made, generator = objective(output, 3), torch.Generator().manual_seed(1)
    given = torch.randn(3, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    loss, _ = made.losses({"text": given, "audio": given}, Batch({}, {"text": LABELS, "audio": LABELS}), None)
    ended = given.sigmoid() if output == "paper-code" else given
    targets = [WORDS[label].tolist() for label in LABELS]
    expected = [reference.squared_error(ended[k], targets) for k in range(3)]
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), given)
    slope = ended * (1 - ended) if output == "paper-code" else 1
    by_hand = (2 * (ended - WORDS[LABELS]) / 12 * slope).detach()
    torch.testing.assert_close(gradient, by_hand, rtol=1e-6, atol=1e-6)


def test_a_linear_head_reaches_negative_components_and_the_published_sigmoid_does_not() -> None:
    far = {"text": torch.tensor([[[3.0, -4.0, 0.0]]])}
    vectors, metric = objective().vectors("text", far)
    assert metric == "ip"
    torch.testing.assert_close(vectors, torch.tensor([[[0.6, -0.8, 0.0]]]))
    assert (objective("paper-code").vectors("text", far)[0] > 0).all()


def split_of(width: int, n: int = 24) -> Split:
    generator = torch.Generator().manual_seed(width)
    labels = torch.arange(n) % 3
    rows = 2 * torch.eye(3, 9)[labels] + torch.randn(n, 9, generator=generator)
    features = Features(FeatureSpec("noise", "text", 9, "none", {}), tuple(map(str, range(n))), rows)
    words = torch.randn(3, width, generator=generator, dtype=torch.float64)
    return Split({"text": features}, {"text": labels}, ("calm", "glad", "sad"), words)


@pytest.mark.parametrize("width", [2, 7, 64, 300])
def test_eight_heads_of_one_modality_are_their_solo_runs_to_the_bit(width: int) -> None:
    config = TrainConfig(epochs=2, batches_per_epoch=4, val_batches=2, batch_size=10, hidden_dim=width)
    table = [(1.0 + k,) for k in range(8)]

    def train(rows: list[tuple[float]]) -> dict[str, Tensor]:
        made = make_objective("w2v_regression", ("text",), [{}] * len(rows))
        training = train_heads(split_of(width), split_of(width), made, rows, config, device=CPU)
        return dict(training.heads.banks.state_dict()) | {"loss": training.best_loss}

    together = train(table)
    for k in range(8):
        for name, tensor in train([table[k]]).items():
            assert torch.equal(tensor[0], together[name][k]), name
