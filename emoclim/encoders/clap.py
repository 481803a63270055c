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
from typing import TYPE_CHECKING

from emoclim.data import RESAMPLER, FeatureSpec
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.checkpoints.published import identity
from emoclim.encoders.families.laion_clap_files import VARIANTS, find_variant, published
from emoclim.errors import EncoderError, MissingLibrary
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import Tensor, nn

    from emoclim.encoders.nets.clap import ClapAudio

__all__ = ["VARIANTS", "load", "published", "untrained"]

MODALITY: Modality = "audio"
TEXT = "clap_text"
SAMPLE_RATE = 48_000  # Hz
LENGTH = 480_000  # samples
DIM = 512
SOURCE_RATES = range(4000, SAMPLE_RATE + 1)  # Hz
WIDTHS = {"tiny": 768, "base": 1024}
SOUND_CLASSES = 527  # of the unused classifier that the published files carry
OTHER_PARTS = ("text_branch.", "text_projection.", "text_transform.", "audio_transform.", "logit_scale_")
PRIVATE = "_emoclim_htsat"


def load(*, checkpoint: Path, model: str = "630k", overlap: float = 0.0, source_rate: int = 0) -> AudioEncoder:
    """Make the encoder; the network is built on first use."""
    size = find_variant(model).size
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

    size = find_variant(model).size
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
