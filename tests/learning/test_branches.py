"""Branches of different inputs that share further layers and output layers, against plain PyTorch layers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec
from emoclim.errors import ConfigError, RunError
from emoclim.learning.banks.base import HiddenBank
from emoclim.learning.branches import Banks, Branch, new_banks, stack_banks
from emoclim.learning.heads import Heads
from emoclim.learning.heads_file import load_heads, save_heads

DIMS = {"text": 7, "audio": 13}
WAYS = {
    "text": Branch("text", 3, unit=False, through=("one", "two")),
    "audio": Branch("audio", 5, unit=False, through=("one", "two")),
    "text as audio": Branch("text", 5, shares="text", unit=False, through=("one", "two"), output_of="audio"),
}


def banks(n_heads: int = 3, hidden: int = 21, ways: dict[str, Branch] = WAYS, **settings: float) -> Banks:
    config = TrainConfig(hidden_dim=hidden, **{"dropout": 0.0} | settings)
    return new_banks(ways, DIMS, n_heads, config, torch.Generator().manual_seed(0))


def rows(n: int = 10) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(n, dim, generator=generator) for name, dim in DIMS.items()}


def layer_of(bank: nn.Module, k: int, n_in: int, n_out: int) -> nn.Sequential:
    """Head k of a hidden layer as PyTorch layers, without what fills cache lines."""
    made, state = nn.Sequential(nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU()), bank.state_dict()
    with torch.no_grad():
        made[0].weight.copy_(state["hidden_weight"][k, :n_out, :n_in])
        made[0].bias.copy_(state["hidden_bias"][k, :n_out])
    return made


def output_of(bank: nn.Module, k: int, n_in: int, n_out: int) -> nn.Linear:
    made, state = nn.Linear(n_in, n_out), bank.state_dict()
    with torch.no_grad():
        made.weight.copy_(state["out_weight"][k, :n_out, :n_in])
        made.bias.copy_(state["out_bias"][k, :n_out])
    return made


def test_shared_layers_equal_plain_ones_with_their_gradients_and_statistics() -> None:
    ours, given, hidden = banks().train(), rows(), 21
    found = ours(given)
    torch.autograd.backward(sum(output.square().sum() for output in found.values()))
    for k in range(3):
        first = {name: layer_of(ours[name], k, dim, hidden) for name, dim in DIMS.items()}
        trunk = nn.Sequential(*(layer_of(ours[name], k, hidden, hidden) for name in ("one", "two")))
        outputs = {name: output_of(ours[name], k, hidden, width) for name, width in (("text", 3), ("audio", 5))}
        deep = {name: trunk(first[name](normalize(given[name], dim=1))) for name in DIMS}
        expected = {name: outputs[name](deep[name]) for name in DIMS} | {
            "text as audio": outputs["audio"](deep["text"])
        }
        for name, output in expected.items():
            torch.testing.assert_close(found[name][k], output)
        torch.autograd.backward(sum(output.square().sum() for output in expected.values()))
        grad = ours["one"].hidden_weight.grad
        torch.testing.assert_close(grad[k, :hidden, :hidden], trunk[0][0].weight.grad)
        torch.testing.assert_close(ours["audio"].out_weight.grad[k, :5, :hidden], outputs["audio"].weight.grad)
        torch.testing.assert_close(ours["two"].running_mean[k, :hidden], trunk[1][1].running_mean)


@pytest.mark.parametrize("hidden", [2, 7, 64, 300])
def test_head_k_of_eight_is_alone_to_the_bit(hidden: int) -> None:
    together = _trained(8, hidden)
    for name, tensor in _trained(1, hidden).items():
        assert all(torch.equal(one, tensor[0]) for one in together[name]), name


def _trained(n_heads: int, hidden: int) -> dict[str, Tensor]:
    ours, draw = banks(n_heads, hidden, dropout=0.3).train(), torch.Generator().manual_seed(2)
    optimiser = torch.optim.AdamW(ours.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        found = ours(rows(), draw)
        torch.autograd.backward(sum(output.square().mean(dim=2).mean(dim=1).sum() for output in found.values()))
        optimiser.step()
    return dict(ours.state_dict()) | dict(ours.eval()(rows()))


def test_selected_and_stacked_layers_stay_as_they_are() -> None:
    given, parts = rows(), [banks(2).eval(), banks(1, 40).eval()]
    together = stack_banks(parts).eval()(given)
    for name, output in together.items():
        torch.testing.assert_close(output[:2], parts[0](given)[name])
        torch.testing.assert_close(output[2:], parts[1](given)[name])
        assert torch.equal(parts[0].select([1]).eval()(given)[name][0], parts[0](given)[name][1])


def test_they_come_back_from_their_file(tmp_path: Path) -> None:
    specs = {name: FeatureSpec("noise", name, dim, "none", {}) for name, dim in DIMS.items()}
    heads = Heads(banks().eval(), specs)
    save_heads(heads, tmp_path / "heads")
    found = load_heads(tmp_path / "heads")
    assert found.banks.branches == WAYS
    assert isinstance(found.banks["one"], HiddenBank)
    texts = Features(specs["text"], tuple(map(str, range(10))), rows()["text"])
    outputs = found.outputs(texts)
    assert outputs.keys() == {"text", "text as audio"}
    assert all(torch.equal(output, heads.outputs(texts)[name]) for name, output in outputs.items())


def test_layers_that_do_not_fit_are_told() -> None:
    with pytest.raises(ConfigError, match="cannot use the output layer of text; name an earlier branch 5 wide"):
        banks(ways=WAYS | {"text as audio": Branch("text", 5, shares="text", output_of="text")})
    mixed = Banks({**banks(), "two": banks(hidden=40)["two"]}, WAYS)
    with pytest.raises(RunError, match="the two heads take 48 values, not 32"):
        Heads(mixed, {name: FeatureSpec("noise", name, dim, "none", {}) for name, dim in DIMS.items()})
