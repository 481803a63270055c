"""Vectors of words: losses and gradients, and what items are compared by."""

import pytest
import reference
import torch
from objective_cases import CPU

from emoclim.data.features import Split
from emoclim.learning import make_objective
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch

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
