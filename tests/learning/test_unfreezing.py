"""What of the encoders that there are can be trained, and which layers they have."""

import pytest
import torch
from small_texts import BERT
from torch import nn

from emoclim.encoders import harmonic_cnn, minilm, musicnn, short_chunk_cnn
from emoclim.errors import ConfigError
from emoclim.learning.end_to_end.trainable import chosen, decayed, layers, set_mode, trainable

AFTER_THE_FEATURE = {"dense1", "bn", "dense2"}


@pytest.mark.parametrize(
    ("encoder", "after", "n_layers", "last"),
    [
        (musicnn, {"dense2"}, 6, {"dense1", "bn"}),
        (short_chunk_cnn, AFTER_THE_FEATURE, 8, {"layer7"}),
        (harmonic_cnn, AFTER_THE_FEATURE, 8, {"layer7"}),
    ],
)
def test_a_tagger_trains_without_its_tagging_layers(encoder, after: set[str], n_layers: int, last: set[str]) -> None:
    net = encoder.untrained().eval()
    found = trainable(net, (encoder.LENGTH,))
    part = {name: name.partition(".")[0] for name, _ in net.named_parameters()}
    assert found.keys() == {name for name in part if part[name] not in after}
    assert len(layers(net, found)) == n_layers
    assert {part[name] for name in chosen(net, found, "last:1")} == last
    norms = chosen(net, found, "batchnorm")
    assert norms
    assert all("bn" in name for name in norms)
    heavy, light = decayed(net, found)
    assert heavy.keys() | light.keys() == found.keys()
    assert all(one.ndim > 1 for one in heavy.values())
    assert norms.keys() <= light.keys()


def test_a_layer_that_is_all_there_is_is_taken_apart() -> None:
    body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))
    net = nn.Sequential(nn.Sequential(body)).eval()
    assert layers(net, trainable(net, (4,))) == [
        ["0.0.0.weight", "0.0.0.bias", "0.0.1.weight", "0.0.1.bias"],
        ["0.0.3.weight", "0.0.3.bias"],
    ]
    with pytest.raises(ConfigError, match="no batch normalisation"):
        chosen(net, trainable(net, (4,)), "batchnorm")
    alone = nn.Linear(3, 2).eval()
    assert layers(alone, trainable(alone, (3,))) == [["weight", "bias"]]


def test_only_batch_normalisation_is_ever_in_training_mode() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    for mode in ("train", "frozen"):
        set_mode(net, mode)
        assert [part.training for part in net.modules()] == [False, False, mode == "train", False]


def test_finding_out_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trainable(net, (4,))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(one.grad is None for one in net.parameters())


def test_each_layer_of_a_transformer_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "BODY", BERT)
    net = minilm.untrained().eval()
    found = trainable(net, (16,), torch.int64)
    front = "body.encoder.layer"
    assert len(layers(net, found)) == 3  # and one of the words
    assert {name[: len(front) + 2] for name in chosen(net, found, "last:1")} == {f"{front}.1"}
    assert chosen(net, found, "last:3").keys() == found.keys()
