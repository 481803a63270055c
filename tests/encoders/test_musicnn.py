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
from emoclim.errors import CheckpointError, EncoderError

# published names and shapes of the parameters; a normalisation stands for its five entries
FRONT_END = {"spec.spectrogram.window": (512,), "spec.mel_scale.fb": (257, 96)}
CONVOLUTIONS = {
    "layers.0": (204, 1, 67, 7),
    "layers.1": (204, 1, 38, 7),
    "layers.2": (51, 1, 129),
    "layers.3": (51, 1, 65),
    "layers.4": (51, 1, 33),
    "layer1": (64, 561, 7),
    "layer2": (64, 64, 7),
    "layer3": (64, 64, 7),
}
DENSE = {"dense1": (200, 1506), "dense2": (50, 200)}
NORMS = {"spec_bn": 1, "bn": 200} | {f"{name}.bn": shape[0] for name, shape in CONVOLUTIONS.items()}


def expected_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = dict(FRONT_END)
    for name, shape in ({f"{name}.conv": shape for name, shape in CONVOLUTIONS.items()} | DENSE).items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, channels in NORMS.items():
        shapes |= {f"{name}.{entry}": (channels,) for entry in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


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


@pytest.fixture
def checkpoint(net: Musicnn, tmp_path: Path) -> Path:
    torch.save(net.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_parameters_are_named_and_shaped_as_in_the_published_files(net: Musicnn) -> None:
    assert {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} == expected_shapes()


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


def test_silence_and_any_length_beyond_one_frame_have_features(net: Musicnn) -> None:
    assert (net.decibels(torch.zeros(1, 512)) == -100).all()
    for samples in (257, 16_000, 160_000):
        feature = net(torch.zeros(1, samples))
        assert feature.shape == (1, 200)
        assert feature.isfinite().all()


def test_features_are_not_negative_and_tags_are_probabilities(net: Musicnn) -> None:
    feature = net(closed_form(48_000))
    tags = net.tags(feature)
    assert (feature >= 0).all()
    assert tags.shape == (1, 50)
    assert ((tags > 0) & (tags < 1)).all()


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


def test_the_stored_front_end_is_used_and_an_empty_filter_bank_is_made_anew(net: Musicnn, tmp_path: Path) -> None:
    path, wave = tmp_path / "net.pth", closed_form(48_000)
    state = net.state_dict()
    for filters, same in [(state["spec.mel_scale.fb"] * 2, False), (torch.empty(0), True)]:
        torch.save(state | {"spec.mel_scale.fb": filters}, path)
        assert torch.equal(musicnn.load(checkpoint=path).module(wave), net(wave)) is same


def test_a_setting_out_of_range_is_refused(checkpoint: Path) -> None:
    for overlap in (-0.1, 1.0):
        with pytest.raises(EncoderError, match=f"overlap .*not {overlap}"):
            musicnn.load(checkpoint=checkpoint, overlap=overlap)


def test_segments_are_three_seconds_with_a_quarter_of_a_step(checkpoint: Path) -> None:
    encoder = musicnn.load(checkpoint=checkpoint)
    assert encoder.input_shape == (48_000,)
    assert encoder.hop_seconds == 0.75
    assert musicnn.load(checkpoint=checkpoint, overlap=0.0).hop_seconds == 3.0


def test_a_file_of_another_network_is_refused_on_first_use(tmp_path: Path) -> None:
    torch.save({"dense2.weight": torch.ones(56, 200)}, tmp_path / "jamendo.pth")
    encoder = musicnn.load(checkpoint=tmp_path / "jamendo.pth")
    with pytest.raises(CheckpointError, match=r"jamendo.pth does not fit Musicnn .*dense2.weight \(56, 200\)"):
        _ = encoder.module


def test_the_published_file_is_pinned() -> None:
    published = musicnn.published()
    assert published.url.endswith("/36aa13b7205ff156cf4dcab60fd69957da453151/models/msd/musicnn/best_model.pth")
    assert published.hash == "git-blob:f456be06bd7409125daae533a4d966292dbfa1bf"
