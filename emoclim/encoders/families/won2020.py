"""Define what networks of music share: repetition of what is short, and one file of parameters each.

Most are by one author, at 16 kHz, and taggers of the collection minzwon/sota-music-tagging-models (M. Won et al.,
"Evaluation of CNN-based automatic music tagging models", SMC 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.data import RESAMPLER, FeatureSpec, Setting
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.checkpoints.published import Published, identity

if TYPE_CHECKING:
    from torch import nn

COMMIT = "36aa13b7205ff156cf4dcab60fd69957da453151"
SAMPLE_RATE = 16_000  # Hz
FILTERS = "spec.mel_scale.fb"


@dataclass(frozen=True, slots=True)
class MusicNetwork:
    """One network, with the functions that an encoder's file states."""

    name: str  # of the encoder
    dim: int  # values of a feature
    length: int  # samples of a segment
    network: str  # name of its class in the module of :mod:`emoclim.encoders.nets` that is called like the encoder

    def untrained(self) -> nn.Module:
        """Make the network, before its parameters are read."""
        net: nn.Module = getattr(import_module(f"emoclim.encoders.nets.{self.name}"), self.network)()
        return net

    def load(self, *, checkpoint: Path, overlap: float = 0.75) -> AudioEncoder:
        """Make the encoder; the network is built on first use."""
        build = partial(build_music, self.untrained, checkpoint)
        return music_encoder(self.name, self.dim, self.length, overlap, checkpoint, build)


@dataclass(frozen=True, slots=True)
class Tagger(MusicNetwork):
    """One tagger of the collection."""

    folder: str  # in the collection
    blob: str  # git's hash of its file there

    def published(self) -> Published:
        """Return the file that was trained on the Million Song Dataset."""
        return Published(
            file=f"{self.name}_msd.pth",
            url=f"https://github.com/minzwon/sota-music-tagging-models/raw/{COMMIT}/models/msd/{self.folder}/best_model.pth",
            hash=f"git-blob:{self.blob}",
            licence="MIT",
            trained_on=("Million Song Dataset with Last.fm tags",),
        )


def music_encoder(
    name: str,
    dim: int,
    length: int,
    overlap: float,
    checkpoint: Path,
    build: Callable[[], nn.Module],
    sample_rate: int = SAMPLE_RATE,
    **settings: Setting,
) -> AudioEncoder:
    """Make an encoder of waveforms, with settings of its own beside those that all have."""
    spec = FeatureSpec(
        name=name,
        modality="audio",
        dim=dim,
        checkpoint=identity(checkpoint),
        settings=settings
        | {
            "sample_rate": sample_rate,
            "resampler": f"soxr {RESAMPLER}",
            "length": length,
            "overlap": float(overlap),
            "pad": "repeat",
            "precision": "fp32",
        },
    )
    return AudioEncoder(spec, sample_rate, length, overlap, build)


def build_music(untrained: Callable[[], nn.Module], checkpoint: Path) -> nn.Module:
    """Build the network with the parameters of a published file."""
    from emoclim.encoders.checkpoints.tensors import fit, read_tensors

    net = untrained()
    tensors = read_tensors(checkpoint)
    for name, tensor in tensors.items():
        if name.endswith(FILTERS) and not tensor.numel():  # early torchaudio made the mel filters on first use only
            tensors[name] = net.state_dict()[FILTERS]
    fit(net, tensors, checkpoint)
    return net
