"""CLAP's audio tower: against numbers of the reference implementation, and on its own promises."""

import hashlib
import importlib.util
import json
import math
import runpy
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from emoclim.data.manifest import Item
from emoclim.encoders import clap
from emoclim.encoders.nets.clap import ClapAudio, quantise
from emoclim.errors import CheckpointError, EncoderError, MissingLibrary

PARAMETERS = [
    ("630k", 204, "df995abfa02c3497"),
    ("music_speech", 291, "69f26854f70dd1c9"),
]  # count; hash of names, shapes
MODELS = {"tiny": "630k", "base": "music_speech"}  # one of each size
GOLDEN_CASES = [
    *(("tiny", case) for case in ("full", "short", "mid", "quiet_q", "loud_q", "silence", "resampled_q")),
    *(("base", case) for case in ("mid", "loud_q")),
]
MEL_TOLERANCE = {"full": 5e-4, "quiet_q": 5e-4, "silence": 5e-4, "resampled_q": 2e-2}  # dB; else 5e-3
IMPORT_OFFLINE = """
import socket, sys

def refuse(*arguments, **named):
    raise AssertionError("the network was asked for")

socket.socket.__init__ = socket.getaddrinfo = refuse
path = list(sys.path)
from emoclim.encoders import clap
clap.untrained()
unwanted = {"laion_clap", "clap_module", "transformers", "wandb", "numba", clap.PRIVATE}
assert not {name.partition(".")[0] for name in sys.modules} & unwanted
assert sys.path == path
"""


def stored_front_end() -> dict[str, Tensor]:
    """The constants that published files carry: windowed cosines and sines, and the Slaney mel filters."""
    angle = 2 * math.pi / 1024 * torch.outer(torch.arange(513), torch.arange(1024)).double()
    window = torch.hann_window(1024, dtype=torch.float64)
    filters = torchaudio.functional.melscale_fbanks(513, 50.0, 14_000.0, 64, 48_000, norm="slaney", mel_scale="slaney")
    return {
        "audio_branch.spectrogram_extractor.stft.conv_real.weight": (angle.cos() * window).float()[:, None],
        "audio_branch.spectrogram_extractor.stft.conv_imag.weight": (-angle.sin() * window).float()[:, None],
        "audio_branch.logmel_extractor.melW": filters,
    }


def write_checkpoint(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write a file in the form of the published ones: wrapped, prefixed, with text parts and a numpy scalar."""
    text = {"text_branch.pooler.dense.weight": torch.ones(2, 2), "logit_scale_a": torch.tensor(1.0)}
    state = {f"module.{name}": tensor for name, tensor in (tensors | text).items()}
    torch.save({"epoch": 1, "best": np.float64(0.5), "state_dict": state}, path, pickle_protocol=4)
    return path


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tensors = clap.untrained().state_dict() | stored_front_end()
    return write_checkpoint(tmp_path_factory.mktemp("clap") / "tiny.pt", tensors)


@pytest.fixture(scope="module")
def tower(checkpoint: Path) -> ClapAudio:
    return clap.load(checkpoint=checkpoint).module


@pytest.mark.parametrize(("model", "count", "digest"), PARAMETERS)
def test_parameters_are_named_and_shaped_as_in_the_published_files(model: str, count: int, digest: str) -> None:
    lines = [
        f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(clap.untrained(model=model).state_dict().items())
    ]
    assert len(lines) == count
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


def test_the_network_is_built_offline_and_without_the_package_itself() -> None:
    finished = subprocess.run([sys.executable, "-c", IMPORT_OFFLINE], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingLibrary, match="needs laion_clap: pip install"):
        clap.untrained()


def test_a_published_file_gives_unit_vectors(tower: ClapAudio) -> None:
    with torch.inference_mode():
        both = tower(noise(2, clap.LENGTH))
        alone = tower(noise(2, clap.LENGTH)[1:])
    assert not tower.training
    assert both.dtype == torch.float32
    assert both.shape == (2, 512)
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(both[1:], alone, atol=1e-6, rtol=0)


def test_the_network_hears_16_bits(tower: ClapAudio) -> None:
    heard = quantise(noise(1, clap.LENGTH))
    step = heard.sign() / 32767
    loud, too_loud = heard.clone(), heard.clone()
    loud[0, :1000], too_loud[0, :1000] = 1.0, 7.0
    with torch.inference_mode():
        assert torch.equal(tower(heard + 0.2 * step), tower(heard + 0.8 * step))
        assert not torch.equal(tower(heard + 0.2 * step), tower(heard + 1.2 * step))
        assert torch.equal(tower(loud), tower(too_loud))


def test_the_fft_gives_what_the_stored_cosines_and_sines_give(tower: ClapAudio) -> None:
    cosines, sines, filters = stored_front_end().values()
    framed = functional.pad(noise(1, 4800), (512, 512), mode="reflect")[:, None]
    power = (
        functional.conv1d(framed, cosines, stride=480).square() + functional.conv1d(framed, sines, stride=480).square()
    )
    expected = 10 * (power.mT @ filters).clamp(min=1e-10).log10()
    torch.testing.assert_close(tower.log_mel(noise(1, 4800)), expected, atol=1e-3, rtol=0)
    assert (tower.log_mel(torch.zeros(1, 4800)) == -100.0).all()


def test_features_can_be_trained_through_but_the_front_end_cannot(tower: ClapAudio) -> None:
    tower(noise(1, clap.LENGTH)).sum().backward()
    gradients = {name for name, parameter in tower.named_parameters() if parameter.grad is not None}
    tower.zero_grad()
    assert {"audio_branch.patch_embed.proj.weight", "audio_projection.0.weight"} <= gradients
    assert not {name for name in gradients if "extractor" in name}


def test_quantise_clips_and_rounds_towards_zero() -> None:
    steps = torch.tensor([-7.0, -1.0, -0.9 / 32767, 0.0, 0.9 / 32767, 1.9 / 32767, 0.5, 7.0])
    expected = torch.tensor([-32767.0, -32767, 0, 0, 0, 1, 16383, 32767])
    torch.testing.assert_close(quantise(steps) * 32767, expected)


@pytest.mark.parametrize(("samples", "repeats"), [(1, 10), (3, 3), (4, 2), (6, 1), (10, 1)])
def test_short_waveforms_are_repeated_whole_then_filled_with_zeros(samples: int, repeats: int) -> None:
    waveform = torch.arange(1.0, samples + 1)
    padded = clap.repeat_then_zeros(waveform, 10)
    assert padded.tolist() == waveform.tolist() * repeats + [0.0] * (10 - repeats * samples)


@pytest.mark.parametrize(("seconds", "segments"), [(4, 1), (25, 2)])
def test_recordings_become_ten_second_segments(checkpoint: Path, tmp_path: Path, seconds: int, segments: int) -> None:
    waveform, path = noise(48_000 * seconds), tmp_path / "recording.wav"
    soundfile.write(path, waveform.numpy(), 48_000, subtype="FLOAT")
    cut = torch.cat(list(clap.load(checkpoint=checkpoint).prepare(Item("recording", path))))
    expected = torch.cat([waveform, waveform, torch.zeros(96_000)]) if segments == 1 else waveform[:960_000]
    assert torch.equal(cut, expected.view(segments, 480_000))


def test_recordings_are_first_brought_to_the_rate_of_the_papers_files(checkpoint: Path, tmp_path: Path) -> None:
    waveform, path = noise(44_100 * 11).numpy(), tmp_path / "recording.wav"
    soundfile.write(path, waveform, 44_100, subtype="FLOAT")
    encoder = clap.load(checkpoint=checkpoint, source_rate=16_000)
    (segment,) = torch.cat(list(encoder.prepare(Item("recording", path))))
    stored = soxr.resample(waveform, 44_100, 16_000, quality="HQ")
    assert torch.equal(segment, torch.from_numpy(soxr.resample(stored, 16_000, 48_000, quality="HQ"))[: clap.LENGTH])
    assert encoder.spec.differences(clap.load(checkpoint=checkpoint).spec) == [
        "source_rate: 16000 here, the file's there"
    ]
    crop = encoder.crop(Item("recording", path), torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(crop).abs().square()
    assert spectrum[len(spectrum) * 8100 // 24_000 :].sum() < 1e-6 * spectrum.sum()


def test_the_spec_tells_models_and_overlaps_apart(checkpoint: Path) -> None:
    encoder = clap.load(checkpoint=checkpoint)
    assert encoder.spec.dim == 512
    assert encoder.spec.checkpoint.startswith("tiny.pt@")
    assert encoder.input_shape == (480_000,)
    assert encoder.hop_seconds == 10.0
    assert clap.load(checkpoint=checkpoint, overlap=0.5).spec.digest() != encoder.spec.digest()
    assert clap.load(checkpoint=checkpoint, model="music_speech").spec.settings["htsat"] == "base"


def test_every_model_is_published_with_hash_and_training_data() -> None:
    for model in clap.VARIANTS:
        file = clap.published(model=model)
        assert file.url == f"https://huggingface.co/lukewys/laion_clap/resolve/main/{file.file}"
        assert file.hash is not None
        assert len(file.hash) == len("sha256:") + 64
        assert ("AudioSet" in file.trained_on) == ("audioset" in file.file)
    assert clap.published().file == "630k-best.pt"


def test_unusable_settings_are_refused(checkpoint: Path) -> None:
    with pytest.raises(EncoderError, match="'fusion'.* 630k, 630k_audioset, music_speech"):
        clap.published(model="fusion")
    with pytest.raises(EncoderError, match="no model 'fusion'"):
        clap.load(checkpoint=checkpoint, model="fusion")
    with pytest.raises(EncoderError, match="no model 'fusion'"):
        clap.untrained(model="fusion")
    with pytest.raises(EncoderError, match=r"overlap from 0 up to 0\.95, not 1\.0"):
        clap.load(checkpoint=checkpoint, overlap=1.0)
    with pytest.raises(EncoderError, match="from 4000 to 48000 Hz, .*not 16"):
        clap.load(checkpoint=checkpoint, source_rate=16)


def test_a_file_of_another_size_or_with_unknown_parts_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not fit ClapAudio"):
        _ = clap.load(checkpoint=checkpoint, model="music_speech").module
    odd = clap.untrained().state_dict() | {"audio_branch.mel_conv2d.bias": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"1 unexpected: audio_branch\.mel_conv2d\.bias"):
        clap.build_tower("630k", write_checkpoint(tmp_path / "fusion.pt", odd))


@pytest.fixture(scope="module")
def reference_tower(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ClapAudio]:
    """Make the tower of one size with the reference's pseudo-random parameters, read from a published kind of file."""
    folder = shared / "golden"
    fill = runpy.run_path(str(folder / "fill.py"))
    offset = json.loads((folder / "MANIFEST.json").read_text())["fill_offset"]

    @cache
    def make(size: str) -> ClapAudio:
        constants = clap.untrained(model=MODELS[size]).state_dict() | stored_front_end()
        template = {name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in constants.items()}
        arrays, _ = fill["fill"](template, offset)
        checksum = json.loads((folder / "keys.json").read_text())[f"clap_{size}"]["checksum"]["crc32"]
        assert fill["checksum"](arrays)["crc32"] == checksum
        filled = {name: torch.from_numpy(array) for name, array in arrays.items()}
        path = write_checkpoint(tmp_path_factory.mktemp("golden") / f"{size}.pt", constants | filled)
        tower = clap.load(checkpoint=path, model=MODELS[size]).module
        path.unlink()
        return tower

    return make


@pytest.mark.parametrize(("size", "case"), GOLDEN_CASES)
def test_reference_numbers(shared: Path, reference_tower: Callable[[str], ClapAudio], size: str, case: str) -> None:
    tower, expected = reference_tower(size), np.load(shared / "golden" / f"clap_{size}.npz")
    row = expected["order"].tolist().index(case)
    given = json.loads((shared / "golden" / "MANIFEST.json").read_text())["clap"]["cases"][case]
    waveform = torch.from_numpy(runpy.run_path(str(shared / "golden" / "inputs.py"))["waveform"](given["waveform"]))
    if given["sr"] == 16_000:
        waveform = torchaudio.functional.resample(waveform, 16_000, 48_000)
        np.testing.assert_allclose(waveform[:3000], expected["resampled/head_48k"], rtol=0, atol=1e-6)
    segment = clap.repeat_then_zeros(waveform, clap.LENGTH)[None]
    heard = quantise(segment) if given["quantise"] else segment
    if given["sr"] == 48_000:
        assert zlib.crc32(heard.numpy().tobytes()) == expected["model_input_crc32"][row]
    with torch.inference_mode():
        mel = tower.log_mel(heard)
        pooled = tower.pool(mel)
        embedding = functional.normalize(tower.audio_projection(pooled), dim=-1)
        assert not given["quantise"] or torch.equal(tower(segment), embedding)
    frames, tolerance = expected[f"mel/{case}/frames"], MEL_TOLERANCE.get(case, 5e-3)
    np.testing.assert_allclose(mel[0, frames.astype(int)], expected[f"mel/{case}/slice"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(pooled[0], expected["pre_projection_f64"][row], rtol=0, atol=2e-5)
    np.testing.assert_allclose(embedding[0], expected["embedding_f64"][row], rtol=0, atol=1e-6)
