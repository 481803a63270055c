"""LAION CLAP, audio tower only: 10 s of mono audio at 48 kHz to one unit vector.

The HTS-AT body comes from the package `laion_clap`, of which only that source file is loaded: importing the package
itself contacts the network and brings in text models that no audio feature needs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

from emoclim.data import RESAMPLER, FeatureSpec
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.checkpoints.published import Published, identity
from emoclim.errors import EncoderError, MissingLibrary
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import Tensor, nn

    from emoclim.encoders.nets.clap import ClapAudio

MODALITY: Modality = "audio"
SAMPLE_RATE = 48_000  # Hz
LENGTH = 480_000  # samples
DIM = 512
SOURCE_RATES = range(4000, SAMPLE_RATE + 1)  # Hz
WIDTHS = {"tiny": 768, "base": 1024}
SOUND_CLASSES = 527  # of the unused classifier that the published files carry
OTHER_PARTS = ("text_branch.", "text_projection.", "text_transform.", "audio_transform.", "logit_scale_")
PRIVATE = "_emoclim_htsat"

LOCATION = "https://huggingface.co/lukewys/laion_clap/resolve/main"
TINY_DATA = (
    "LAION-Audio-630K",
    "Clotho",
    "AudioCaps (recordings of AudioSet)",
    "AudioSet (initial values of the audio tower)",
)
BASE_DATA = (
    "LAION-Audio-630K",
    "music collections that the authors do not name",
    "AudioSet (initial values of the audio tower, as far as is known)",
)
SPEECH = "speech collections that the authors do not name"


class Variant(NamedTuple):
    """One published training."""

    size: str  # of its tower, a key of `WIDTHS`
    file: str
    sha256: str  # under which the official page keeps its large files (git LFS)
    trained_on: tuple[str, ...]


VARIANTS = {
    "630k": Variant(
        "tiny", "630k-best.pt", "e02951eae3c9955db546c50086059e6457188ec39446858f2bddbcb4b56b1cb3", TINY_DATA
    ),
    "630k_audioset": Variant(
        "tiny",
        "630k-audioset-best.pt",
        "8053c9775516af2f4902e1e8281e356cc1bf7a85e8b761908170767b77c3f037",
        (*TINY_DATA, "AudioSet"),
    ),
    "music_speech": Variant(
        "base",
        "music_speech_epoch_15_esc_89.25.pt",
        "a27dfbd00d96781020d83044136f084343edab799d2657ef3cfe5c4f2222bb28",
        (*BASE_DATA, SPEECH),
    ),
    "music_audioset": Variant(
        "base",
        "music_audioset_epoch_15_esc_90.14.pt",
        "fae3e9c087f2909c28a09dc31c8dfcdacbc42ba44c70e972b58c1bd1caf6dedd",
        (*BASE_DATA, "AudioSet"),
    ),
    "music_speech_audioset": Variant(
        "base",
        "music_speech_audioset_epoch_15_esc_89.98.pt",
        "51c68f12f9d7ea25fdaaccf741ec7f81e93ee594455410f3bca4f47f88d8e006",
        (*BASE_DATA, SPEECH, "AudioSet"),
    ),
}


def published(*, model: str = "630k") -> Published:
    """Return the file of one of the `VARIANTS`.

    Emo-CLIM's is ``"music_speech"``, which like ``"630k"`` was not trained on AudioSet as such.
    """
    variant = _find(model)
    return Published(
        file=variant.file,
        url=f"{LOCATION}/{variant.file}",
        hash=f"sha256:{variant.sha256}",
        licence="CC0-1.0",
        trained_on=variant.trained_on,
    )


def load(*, checkpoint: Path, model: str = "630k", overlap: float = 0.0, source_rate: int = 0) -> AudioEncoder:
    """Make the encoder; the network is built on first use."""
    size = _find(model).size
    if source_rate and source_rate not in SOURCE_RATES:
        raise EncoderError(
            f"clap takes a source rate from {SOURCE_RATES.start} to {SOURCE_RATES[-1]} Hz, or 0, not {source_rate}"
        )
    spec = FeatureSpec(
        name="clap",
        modality=MODALITY,
        dim=DIM,
        checkpoint=identity(checkpoint),
        settings={
            "htsat": size,
            "sample_rate": SAMPLE_RATE,
            "source_rate": source_rate or "the file's",
            "resampler": f"soxr {RESAMPLER}",
            "length": LENGTH,
            "overlap": float(overlap),
            "pad": "whole repeats, then zeros",
            "quantise": "clip to 1, truncate to int16",
            "precision": "fp32",
        },
    )
    build = partial(build_tower, model, checkpoint)
    return AudioEncoder(
        spec, SAMPLE_RATE, LENGTH, overlap, build, pad=repeat_then_zeros, source_rate=source_rate or None
    )


def repeat_then_zeros(waveform: Tensor, length: int) -> Tensor:
    """Repeat a waveform ``(n,)`` as often as it fits whole into `length`, and fill up with zeros: ``(length,)``."""
    from torch.nn import functional

    repeated = waveform.repeat(length // len(waveform))
    return functional.pad(repeated, (0, length - len(repeated)))


def build_tower(model: str, checkpoint: Path) -> ClapAudio:
    """Build the audio tower with the parameters of a published file; leave its text tower aside."""
    from emoclim.encoders.checkpoints.tensors import fit, read_tensors

    tower = untrained(model=model)
    fit(tower, read_tensors(checkpoint), checkpoint, aside=OTHER_PARTS)
    return tower


def untrained(*, model: str = "630k") -> ClapAudio:
    """Make the audio tower of one of the `VARIANTS`, before its parameters are read."""
    from emoclim.encoders.nets.clap import HOP_LENGTH, N_FFT, N_MELS, ClapAudio

    size = _find(model).size
    htsat = _import_htsat()
    # ClapAudio brings its own front end; theirs would import librosa only to compute what every checkpoint holds.
    vars(htsat).update(Spectrogram=_no_front_end, LogmelFilterBank=_no_front_end)
    settings = SimpleNamespace(
        model_name=size,
        class_num=SOUND_CLASSES,
        sample_rate=SAMPLE_RATE,
        window_size=N_FFT,
        hop_size=HOP_LENGTH,
        mel_bins=N_MELS,
        fmin=50,
        fmax=14_000,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
        body = htsat.create_htsat_model(settings)
    return ClapAudio(body, WIDTHS[size])


def _find(model: str) -> Variant:
    if model not in VARIANTS:
        raise EncoderError(f"clap has no model {model!r}; choose one of: {', '.join(VARIANTS)}")
    return VARIANTS[model]


def _no_front_end(**_settings: object) -> nn.Module:
    from torch import nn

    return nn.Identity()


def _import_htsat() -> ModuleType:
    """Run the one source file of `laion_clap` under a private name, and leave `sys.modules` as it was."""
    found = importlib.util.find_spec("laion_clap")
    if found is None or not found.submodule_search_locations:
        raise MissingLibrary("the encoder clap needs laion_clap: pip install laion_clap==1.1.7")
    package, functions = ModuleType(PRIVATE), ModuleType(f"{PRIVATE}.utils")
    package.__path__ = [str(Path(folder, "clap_module")) for folder in found.submodule_search_locations]
    vars(functions).update(do_mixup=None, interpolate=None)  # of the training and the classifier; unused here
    sys.modules |= {PRIVATE: package, functions.__name__: functions}
    try:
        return importlib.import_module(f"{PRIVATE}.htsat")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == PRIVATE]:
            del sys.modules[name]
