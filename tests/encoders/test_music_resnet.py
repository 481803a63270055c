"""Music ResNet: its layers as the paper's table of sizes has them, and random parameters where nobody published any."""

from pathlib import Path

import pytest
import torch
from pseudo_weights import pseudo_random
from torch import Tensor
from torch.nn import functional

from emoclim.encoders import music_resnet
from emoclim.encoders.loading import load_encoder, published_files, untrained_file
from emoclim.encoders.nets.music_resnet import MusicResnet
from emoclim.encoders.nets.short_chunk_cnn import ShortChunkCnn
from emoclim.errors import EncoderError
from emoclim.pipeline.encoders import describe_encoders, encoder_rows

# layer, and the level that comes out of it: (channels, bands, frames) of 5 s
LEVELS = {
    "spec_bn": (1, 128, 313),
    "layer1": (64, 64, 156),
    "layer2": (64, 32, 78),
    "layer3": (128, 16, 39),
    "layer4": (128, 8, 19),
    "layer5": (128, 4, 9),
    "layer6": (128, 2, 3),
    "layer7": (256, 1, 1),
    "layer8": (256, 1, 1),
}


@pytest.fixture(scope="module")
def net() -> MusicResnet:
    net = MusicResnet()
    net.load_state_dict(pseudo_random(net.state_dict()))
    return net.eval()


def noise(samples: int = music_resnet.LENGTH, rows: int = 2) -> Tensor:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(0))


def test_five_seconds_become_one_value_per_channel(net: MusicResnet) -> None:
    seen: dict[str, tuple[int, ...]] = {}
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.shape[1:]}))
        for name in LEVELS
    ]
    assert net(noise()).shape == (2, 256)
    assert seen == LEVELS
    for hook in hooks:
        hook.remove()


def test_the_number_of_parameters_is_that_of_its_layers() -> None:
    def convolution(inputs: int, outputs: int, size: int = 9) -> int:
        return inputs * outputs * size + outputs + 2 * outputs  # filters, their bias, scale and shift of the norm

    layers = [
        2,  # scale and shift of the spectrogram
        convolution(1, 64),
        2 * convolution(64, 64),
        convolution(64, 128),
        3 * 2 * convolution(128, 128),
        convolution(128, 256),
        convolution(256, 256, 1),
    ]
    assert sum(layers) == 1_398_018
    assert sum(one.numel() for one in MusicResnet().parameters()) == sum(layers)


def plain(net: MusicResnet, decibels: Tensor) -> Tensor:
    """The network layer by layer, from its parameters by name."""
    state = net.state_dict()

    def norm(level: Tensor, name: str) -> Tensor:
        mean, variance, scale, shift = (
            state[f"{name}.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (level - mean) / (variance + 1e-5).sqrt() * scale + shift

    def filtered(level: Tensor, layer: str, end: str = "") -> Tensor:
        weight, bias = state[f"{layer}.conv{end}.weight"], state[f"{layer}.conv{end}.bias"]
        return norm(functional.conv2d(level, weight, bias, padding=weight.shape[-1] // 2), f"{layer}.bn{end}")

    level = norm(decibels[:, None], "spec_bn")
    for number, pool in enumerate([2, 2, 2, 2, 2, (2, 3), (2, 3), 1], start=1):
        layer = f"layer{number}"
        if number in (2, 4, 5, 6):
            level = level + filtered(filtered(level, layer, "_1").relu(), layer, "_2")
        else:
            level = filtered(level, layer)
        level = functional.max_pool2d(level.relu(), pool)
    return level.flatten(2).max(dim=2).values


def test_features_are_those_of_the_layers_one_by_one(net: MusicResnet) -> None:
    decibels = net.decibels(noise())
    torch.testing.assert_close(net(noise()), plain(net, decibels), rtol=1e-4, atol=1e-4)
    assert net(noise(160_000, 1)).shape == (1, 256)  # of a longer one, the maximum over time


def test_its_spectrogram_is_that_of_the_same_authors_tagger(net: MusicResnet) -> None:
    assert torch.equal(net.decibels(noise()), ShortChunkCnn().decibels(noise()))


def test_parameters_are_drawn_from_a_seed_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path))
    before = torch.get_rng_state()
    first, other = (untrained_file("music_resnet", {"overlap": 0.5}, seed) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.parent == tmp_path / "checkpoints"
    states = [load_encoder("music_resnet", checkpoint=path).module.state_dict() for path in (first, other)]
    assert not torch.equal(states[0]["layer5.conv_1.weight"], states[1]["layer5.conv_1.weight"])
    content = first.read_bytes()
    first.unlink()
    assert untrained_file("music_resnet", {}, 0) == first
    assert first.read_bytes() == content


def test_nothing_is_published_and_that_is_told() -> None:
    assert published_files("music_resnet") == {}
    with pytest.raises(EncoderError, match="nobody published parameters of encoder 'music_resnet'; train it with"):
        load_encoder("music_resnet")
    (row,) = (row for row in encoder_rows(describe_encoders()) if row[0] == "music_resnet")
    assert row[2:7] == ("5 s, 75% overlap", "", "256", "", "to be trained")
