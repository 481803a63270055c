"""The harmonic CNN: against numbers of the reference implementation, and on its own promises."""

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

A4 = 90  # band of 440 Hz: 45 semitones above C1


def noise(samples: int = harmonic_cnn.LENGTH) -> Tensor:
    return 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> HarmonicCnn:
    net = HarmonicCnn()
    net.load_state_dict(pseudo_random(net.state_dict()))
    return net.eval()


@pytest.fixture(scope="module")
def golden(shared: Path) -> GoldenTagger:
    return GoldenTagger(shared / "golden", "hcnn")


@pytest.fixture(scope="module")
def reference_net(golden: GoldenTagger, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = golden.write_checkpoint(HarmonicCnn(), tmp_path_factory.mktemp("golden") / "best_model.pth")
    return harmonic_cnn.load(checkpoint=path).module


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
