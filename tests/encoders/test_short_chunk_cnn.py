"""The short-chunk CNN: against numbers of the reference implementation, and on its own promises."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_taggers import CASES, GoldenTagger
from pseudo_weights import pseudo_random
from torch import Tensor
from torch.nn import functional

from emoclim.encoders import short_chunk_cnn
from emoclim.encoders.nets.short_chunk_cnn import ShortChunkCnn, StridedResidual
from emoclim.errors import CheckpointError, EncoderError


def noise(samples: int = short_chunk_cnn.LENGTH) -> Tensor:
    return 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> ShortChunkCnn:
    net = ShortChunkCnn()
    net.load_state_dict(pseudo_random(net.state_dict()))
    return net.eval()


@pytest.fixture(scope="module")
def checkpoint(net: ShortChunkCnn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("short_chunk_cnn") / "net.pth"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def golden(shared: Path) -> GoldenTagger:
    return GoldenTagger(shared / "golden", "short_res")


@pytest.fixture(scope="module")
def reference_net(golden: GoldenTagger, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = golden.write_checkpoint(ShortChunkCnn(), tmp_path_factory.mktemp("golden") / "best_model.pth")
    return short_chunk_cnn.load(checkpoint=path).module


def test_parameters_are_named_and_shaped_as_in_the_published_files(net: ShortChunkCnn) -> None:
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(net.state_dict().items())]
    assert len(lines) == 163
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == "b113074b603eab8f"


@pytest.mark.parametrize("case", CASES)
def test_reference_numbers(golden: GoldenTagger, reference_net: Any, case: str) -> None:
    golden.check(reference_net, case, band_step=1)


def test_silence_and_any_length_beyond_one_frame_have_features(net: ShortChunkCnn) -> None:
    assert (net.decibels(torch.zeros(1, 512)) == -100).all()
    for samples in (257, 16_000, 160_000):
        feature = net(torch.zeros(1, samples))
        assert feature.shape == (1, 512)
        assert feature.isfinite().all()


def test_features_are_not_negative_and_tags_are_probabilities(net: ShortChunkCnn) -> None:
    feature = net(noise())
    tags = net.tags(feature)
    assert (feature >= 0).all()
    assert tags.shape == (1, 50)
    assert ((tags > 0) & (tags < 1)).all()


def test_a_block_whose_residual_is_nothing_is_its_shortcut() -> None:
    block = StridedResidual(2, 3).eval()
    torch.nn.init.zeros_(block.bn_2.weight)
    level = torch.randn(1, 2, 7, 8, generator=torch.Generator().manual_seed(0))
    expected = functional.relu(block.bn_3(functional.conv2d(level, block.conv_3.weight, block.conv_3.bias, 2, 1)))
    assert block(level).shape == (1, 3, 4, 4)
    torch.testing.assert_close(block(level), expected)


def test_the_stored_front_end_is_used_and_an_empty_filter_bank_is_made_anew(net: ShortChunkCnn, tmp_path: Path) -> None:
    path, state = tmp_path / "net.pth", net.state_dict()
    for filters, same in [(state["spec.mel_scale.fb"] * 2, False), (torch.empty(0), True)]:
        torch.save(state | {"spec.mel_scale.fb": filters}, path)
        assert torch.equal(short_chunk_cnn.load(checkpoint=path).module(noise()), net(noise())) is same


def test_a_setting_out_of_range_is_refused(checkpoint: Path) -> None:
    for overlap in (-0.1, 1.0):
        with pytest.raises(EncoderError, match=f"overlap .*not {overlap}"):
            short_chunk_cnn.load(checkpoint=checkpoint, overlap=overlap)


def test_segments_overlap_by_three_quarters(checkpoint: Path) -> None:
    encoder = short_chunk_cnn.load(checkpoint=checkpoint)
    assert encoder.input_shape == (59_049,)
    assert encoder.hop_seconds == 14_762 / 16_000
    assert short_chunk_cnn.load(checkpoint=checkpoint, overlap=0.0).hop_seconds == 59_049 / 16_000


def test_a_file_of_another_network_is_refused_on_first_use(tmp_path: Path) -> None:
    torch.save({"dense2.weight": torch.ones(56, 512)}, tmp_path / "jamendo.pth")
    encoder = short_chunk_cnn.load(checkpoint=tmp_path / "jamendo.pth")
    with pytest.raises(CheckpointError, match=r"jamendo.pth does not fit ShortChunkCnn .*dense2.weight \(56, 512\)"):
        _ = encoder.module


def test_the_published_file_is_pinned() -> None:
    published = short_chunk_cnn.published()
    assert published.url.endswith("/36aa13b7205ff156cf4dcab60fd69957da453151/models/msd/short_res/best_model.pth")
    assert published.hash == "git-blob:2566ed85f37150ac6f3dba4f5a39985b5acbf156"
