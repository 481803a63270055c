"""Musicnn: against numbers of the reference implementation, and on its own promises."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from pseudo_weights import pseudo_random
from torch import Tensor
from torch.nn import functional

from emoclim.encoders import musicnn
from emoclim.encoders.nets.musicnn import Musicnn


def closed_form(samples: int) -> Tensor:
    """A tone, a chirp under slow tremolo and a gated high tone: ``(1, samples)`` at 16 kHz."""
    t = np.arange(samples) / 16_000
    tremolo = 0.5 + 0.5 * np.sin(2 * np.pi * 2 * t)
    chirp = np.sin(2 * np.pi * (100 * t + 0.5 * 120 * t**2))
    gated = np.sin(2 * np.pi * 3000 * t) * (np.floor(4 * t) % 2)
    wave = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * chirp * tremolo + 0.05 * gated
    return torch.from_numpy(wave.astype(np.float32))[None]


@pytest.fixture(scope="module")
def net() -> Musicnn:
    net = Musicnn()
    net.load_state_dict(pseudo_random(net.state_dict()))
    return net.eval()


def test_reference_numbers(shared: Path) -> None:
    keys = [line.split("\t")[0] for line in (shared / "weights/mtat_musicnn.keys.txt").read_text().splitlines()[1:]]
    encoder = musicnn.load(checkpoint=shared / "weights" / "mtat_musicnn.pth")
    net: Any = encoder.module
    assert list(net.state_dict()) == keys
    with np.load(shared / "weights" / "reference_outputs.npz") as file:
        expected = {name: torch.from_numpy(file[f"mtat_musicnn__{name}"]) for name in ("probs", "penultimate")}
        decibels = torch.from_numpy(file["mtat_musicnn__mel_db_first_64_frames"])
        wave = closed_form(int(file["mtat_musicnn__signal_len"]))
    with torch.inference_mode():
        feature = net(wave)
        check_spectrum(net.decibels(wave)[0, :, :64], decibels)
        # 83 % of what tones give is that floor, .8 dB apart on two machines: features are 2e-3 apart then, tags 4e-4.
        torch.testing.assert_close(feature[0], expected["penultimate"], rtol=0, atol=2e-2)
        torch.testing.assert_close(net.tags(feature)[0], expected["probs"], rtol=0, atol=2e-3)


def check_spectrum(decibels: Tensor, expected: Tensor) -> None:
    """Hold amplitudes ``(96, T)`` to others of another Fourier transform.

    Each rounds to some parts of float32 of the frame's loudest; what that is in dB grows without bound towards silence.
    """
    found, wanted = (10 ** (values / 20) for values in (decibels, expected))
    rounding = 8 * torch.finfo(torch.float32).eps * wanted.amax(dim=0)
    assert ((found - wanted).abs() <= rounding + 1e-4 * wanted).all()


def test_features_of_real_music(shared: Path) -> None:
    net = musicnn.load(checkpoint=shared / "weights" / "mtat_musicnn.pth").module
    with np.load(shared / "features" / "audio_mtat_musicnn.npz") as file:
        names, expected = file["ids"][::80], torch.from_numpy(file["penultimate"][::80])
    for name, feature in zip(names, expected, strict=True):
        samples, rate = soundfile.read(shared / "corpus" / str(name), always_2d=True)
        common = math.gcd(rate, 16_000)
        wave = scipy.signal.resample_poly(samples.mean(1), 16_000 // common, rate // common)[:160_000]
        windows = torch.from_numpy(np.pad(wave, (0, 160_000 - len(wave)))).float().unfold(0, 48_000, 28_000)
        with torch.inference_mode():
            torch.testing.assert_close(net(windows).mean(0), feature, rtol=1e-4, atol=1e-4)


def test_the_rhythm_filters_see_the_mean_over_bands_only(net: Musicnn) -> None:
    spectrogram = torch.randn(1, 1, 96, 200, generator=torch.Generator().manual_seed(0))
    rhythm, timbre = net.layers[2], net.layers[0]
    torch.testing.assert_close(rhythm(spectrogram.flip(2)), rhythm(spectrogram), atol=1e-5, rtol=0)
    assert not torch.allclose(timbre(spectrogram.flip(2)), timbre(spectrogram), atol=1e-2)


@pytest.mark.parametrize("layer", [0, 1])
def test_timbre_filters_are_the_same_a_few_pitches_at_a_time(net: Musicnn, layer: int) -> None:
    timbre = net.layers[layer]
    spectrogram = torch.randn(3, 1, 96, 40, generator=torch.Generator().manual_seed(0))
    spectrogram[0] = 0.0  # where only the bias counts, which is negative for some filters
    with torch.no_grad():
        expected = functional.relu(timbre.bn(timbre.conv(spectrogram))).amax(dim=2)  # type: ignore[operator,union-attr]
        # sums of up to 469 products in float32, each up to 5e-6 from the exact one
        torch.testing.assert_close(timbre(spectrogram), expected, rtol=0, atol=2e-5)
    assert expected.min() == 0.0 < expected.max()


@pytest.mark.parametrize("layer", [0, 1])
def test_timbre_filters_are_the_same_while_they_are_trained(net: Musicnn, layer: int) -> None:
    """On the way that is faster backwards, and on the plain one."""
    timbre = net.layers[layer]
    spectrogram = torch.randn(2, 1, 96, 50, generator=torch.Generator().manual_seed(0))
    learning = spectrogram.clone().requires_grad_()
    found = timbre(learning)
    torch.testing.assert_close(found, timbre(spectrogram), rtol=1e-4, atol=1e-4)
    plain = spectrogram.clone().requires_grad_()
    expected = functional.relu(timbre.bn(timbre.conv(plain))).amax(dim=2)
    parameters = list(timbre.parameters())
    downstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(found, [learning, *parameters], downstream)
    references = torch.autograd.grad(expected, [plain, *parameters], downstream)
    for gradient, reference in zip(gradients, references, strict=True):
        assert (gradient - reference).norm() < 1e-4 * reference.norm()
