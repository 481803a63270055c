"""SampleCNN: its layers as the published table of sizes has them, at each of its lengths."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pseudo_weights import pseudo_random
from torch import Tensor
from torch.nn import functional

from emoclim.encoders import sample_cnn
from emoclim.encoders.loading import load_encoder, published_files, untrained_file
from emoclim.encoders.nets.sample_cnn import SampleCnn
from emoclim.errors import EncoderError

# channels, length and parameters of each block's output at 98,415 samples
TABLE = [
    (128, 19_683, 1_024),
    (128, 6_561, 49_536),
    (128, 2_187, 49_536),
    (256, 729, 99_072),
    (256, 243, 197_376),
    (256, 81, 197_376),
    (256, 27, 197_376),
    (256, 9, 197_376),
    (512, 3, 394_752),
    (512, 1, 787_968),
    (512, 1, 263_680),
]
LENGTHS = {
    (59_049, 3): (3, 9),
    (78_732, 3): (4, 9),
    (98_415, 3): (5, 9),
    (49_152, 4): (3, 7),
    (65_536, 4): (4, 7),
    (65_536, 2): (4, 14),
    (81_920, 4): (5, 7),
    (81_920, 2): (5, 14),
    (98_304, 2): (3, 15),
}


def noise(samples: int = 98_415, rows: int = 2) -> Tensor:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> SampleCnn:
    net = SampleCnn(5, 3, 9)
    net.load_state_dict(pseudo_random(net.state_dict()))
    return net.eval()


def test_each_block_is_of_the_published_size(net: SampleCnn) -> None:
    level, seen = noise()[:, None], []
    for block in net.all_blocks:
        level = block(level)
        seen.append((*level.shape[1:], sum(one.numel() for one in block.parameters())))
    assert seen == TABLE
    assert sum(one.numel() for one in net.parameters()) == 2_435_072


def test_features_are_those_of_the_layers_one_by_one(net: SampleCnn) -> None:
    """From the parameters by their published names."""
    state, level = net.state_dict(), noise()[:, None]
    for number in range(11):
        weight, bias = (state[f"all_blocks.{number}.0.{kind}"] for kind in ("weight", "bias"))
        mean, variance, scale, shift = (
            state[f"all_blocks.{number}.1.{kind}"][:, None]
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        size = weight.shape[-1]
        filtered = functional.conv1d(level, weight, bias, stride=5 if size == 5 else 1, padding=size % 5 // 2)
        level = ((filtered - mean) / (variance + 1e-5).sqrt() * scale + shift).relu()
        if 1 <= number <= 9:
            level = level.unflatten(2, (-1, 3)).amax(dim=3)
    torch.testing.assert_close(net(noise()), level[..., 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("length", "pool"), LENGTHS)
def test_at_each_length_one_value_per_channel_is_left(length: int, pool: int) -> None:
    net, (first, blocks) = sample_cnn.untrained(length=length, pool=pool), LENGTHS[length, pool]
    assert length == first * pool**blocks
    lengths, level = [length], noise(length, 1)[:, None]
    with torch.no_grad():
        for block in net.eval().get_submodule("all_blocks").children():
            level = block(level)
            lengths.append(level.shape[2])
    ratios = [before // after for before, after in pairwise(lengths)]
    assert ratios == [first, *[pool] * blocks, 1]
    assert level.shape == (1, 512, 1)


def test_a_length_of_two_shapes_has_the_larger_maxima_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "of_any.pt"
    path.touch()
    usual, other, told = (load_encoder("sample_cnn", checkpoint=path, length=65_536, pool=pool) for pool in (0, 2, 4))
    assert (usual.spec.settings["pool"], other.spec.settings["pool"]) == (4, 2)
    assert usual.spec == told.spec
    assert usual.hop_seconds == usual.segment_seconds / 2 == 2.048


@pytest.mark.parametrize(("length", "pool", "told"), [(80_000, 0, "49152, 59049"), (98_415, 2, "pool of 3 at")])
def test_other_lengths_are_refused(length: int, pool: int, told: str) -> None:
    with pytest.raises(EncoderError, match=told):
        sample_cnn.untrained(length=length, pool=pool)


def test_a_published_checkpoint_is_read_without_its_projector(tmp_path: Path, net: SampleCnn) -> None:
    """As Lightning keeps what the published pretraining leaves."""
    state = {f"encoder.{name}": tensor for name, tensor in net.state_dict().items()}
    state |= {"projector.0.weight": torch.zeros(512, 512), "projector.2.weight": torch.zeros(128, 512)}
    torch.save({"state_dict": state, "epoch": 49}, tmp_path / "music.ckpt")
    encoder = load_encoder("sample_cnn", checkpoint=tmp_path / "music.ckpt")
    assert torch.equal(encoder.module(noise()), net(noise()))


def test_nothing_is_published_so_it_begins_with_random_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path))
    assert published_files("sample_cnn") == {}
    first, short = (untrained_file("sample_cnn", settings, 0) for settings in ({}, {"length": 59_049}))
    assert first != short
    assert load_encoder("sample_cnn", checkpoint=short, length=59_049).module(noise(59_049)).shape == (2, 512)
