"""The harmonic CNN: against numbers of the reference implementation, and on its own promises."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_taggers import CASES, GoldenTagger
from pseudo_weights import pseudo_random
from torch import Tensor

from emoclim.encoders import harmonic_cnn
from emoclim.encoders.nets.harmonic_cnn import HarmonicCnn, HarmonicSpectrogram, centre_frequencies
from emoclim.errors import CheckpointError, EncoderError

SHORTEST = 73_472  # samples that survive the pooling
A4 = 90  # band of 440 Hz: 45 semitones above C1


def noise(samples: int = harmonic_cnn.LENGTH) -> Tensor:
    return 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> HarmonicCnn:
    net = HarmonicCnn()
    net.load_state_dict(pseudo_random(net.state_dict()))
    return net.eval()


@pytest.fixture(scope="module")
def checkpoint(net: HarmonicCnn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("harmonic_cnn") / "net.pth"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def golden(shared: Path) -> GoldenTagger:
    return GoldenTagger(shared / "golden", "hcnn")


@pytest.fixture(scope="module")
def reference_net(golden: GoldenTagger, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = golden.write_checkpoint(HarmonicCnn(), tmp_path_factory.mktemp("golden") / "best_model.pth")
    return harmonic_cnn.load(checkpoint=path).module


def test_parameters_are_named_and_shaped_as_in_the_published_files(net: HarmonicCnn) -> None:
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(net.state_dict().items())]
    assert len(lines) == 100
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == "e67a264113e99d63"


@pytest.mark.parametrize("case", CASES)
def test_reference_numbers(golden: GoldenTagger, reference_net: Any, case: str) -> None:
    golden.check(reference_net, case, band_step=4)


def test_bands_are_quarter_tones_from_c1_and_channels_their_harmonics() -> None:
    centres = centre_frequencies()
    assert centres.shape == (6, 128)
    assert centres[0, 0].item() == pytest.approx(32.7032)
    assert centres[:, A4].tolist() == [440.0, 880.0, 1320.0, 1760.0, 2200.0, 2640.0]
    torch.testing.assert_close(centres[:, 1:] / centres[:, :-1], torch.full((6, 127), 2 ** (1 / 24)))
    assert centres.max() < 8000


@pytest.mark.parametrize("quality", [0.7, 1.0, 2.0])
def test_filters_are_triangles_as_wide_as_their_band_is_for_the_ear(quality: float) -> None:
    front_end = HarmonicSpectrogram()
    torch.nn.init.constant_(front_end.bw_Q, quality)
    filters = front_end.filters().view(6, 128, 257)
    for harmonic, band in [(0, 0), (0, A4), (3, 40), (5, 127)]:
        centre = (harmonic + 1) * 440 * 2 ** ((band - A4) / 24)
        half = (0.1079 * centre + 24.7) / quality / 2
        expected = [max(0.0, 1 - math.fabs(bin_ * 31.25 - centre) / half) for bin_ in range(257)]
        torch.testing.assert_close(filters[harmonic, band], torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("harmonic", range(6))
def test_a_tone_is_heard_as_each_harmonic_of_a_lower_pitch(net: HarmonicCnn, harmonic: int) -> None:
    tone = torch.sin(2 * math.pi * 440 * (harmonic + 1) / 16_000 * torch.arange(16_000.0))[None]
    loudest = net.decibels(tone)[0, harmonic].mean(dim=-1).argmax().item()
    assert abs(loudest - A4) <= 1


def test_the_width_of_the_filters_can_be_trained(net: HarmonicCnn) -> None:
    (gradient,) = torch.autograd.grad(net(noise()).sum(), [net.hstft.bw_Q])
    assert gradient.isfinite().all()
    assert gradient.abs().item() > 0


def test_silence_and_any_length_that_survives_the_pooling_have_features(net: HarmonicCnn) -> None:
    assert (net.decibels(torch.zeros(1, 512)) == -100).all()
    for samples in (SHORTEST, 160_000):
        feature = net(torch.zeros(1, samples))
        assert feature.shape == (1, 256)
        assert feature.isfinite().all()
    with pytest.raises(RuntimeError, match="too small"):
        net(torch.zeros(1, SHORTEST - 1))


def test_features_are_not_negative_and_tags_are_probabilities(net: HarmonicCnn) -> None:
    feature = net(noise())
    tags = net.tags(feature)
    assert (feature >= 0).all()
    assert tags.shape == (1, 50)
    assert ((tags > 0) & (tags < 1)).all()


def test_a_setting_out_of_range_is_refused(checkpoint: Path) -> None:
    for overlap in (-0.1, 1.0):
        with pytest.raises(EncoderError, match=f"overlap .*not {overlap}"):
            harmonic_cnn.load(checkpoint=checkpoint, overlap=overlap)


def test_segments_are_five_seconds_with_a_quarter_of_a_step(checkpoint: Path) -> None:
    encoder = harmonic_cnn.load(checkpoint=checkpoint)
    assert encoder.input_shape == (80_000,)
    assert encoder.hop_seconds == 1.25
    assert harmonic_cnn.load(checkpoint=checkpoint, overlap=0.0).hop_seconds == 5.0


def test_a_file_of_another_network_is_refused_on_first_use(tmp_path: Path) -> None:
    torch.save({"dense2.weight": torch.ones(56, 256)}, tmp_path / "jamendo.pth")
    encoder = harmonic_cnn.load(checkpoint=tmp_path / "jamendo.pth")
    with pytest.raises(CheckpointError, match=r"jamendo.pth does not fit HarmonicCnn .*dense2.weight \(56, 256\)"):
        _ = encoder.module


def test_the_published_file_is_pinned() -> None:
    published = harmonic_cnn.published()
    assert published.url.endswith("/36aa13b7205ff156cf4dcab60fd69957da453151/models/msd/hcnn/best_model.pth")
    assert published.hash == "git-blob:8b6c53c41ce3fd5c61cd0aa2f5444435972f8e53"
