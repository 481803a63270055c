"""Harmonic CNN, a tagger of music: 5 s of mono audio at 16 kHz to its 256 last channels' maxima."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.checkpoints.published import Published
from emoclim.encoders.checkpoints.won2020 import load_tagger, published_msd
from emoclim.modality import Modality

if TYPE_CHECKING:
    from emoclim.encoders.nets.harmonic_cnn import HarmonicCnn

MODALITY: Modality = "audio"
DIM = 256
LENGTH = 80_000  # samples


def published() -> Published:
    """The training of Won et al. (SMC 2020) on the Million Song Dataset."""
    return published_msd("harmonic_cnn", "hcnn", "8b6c53c41ce3fd5c61cd0aa2f5444435972f8e53")


def untrained() -> HarmonicCnn:
    """Make the network, before its parameters are read."""
    import torch

    from emoclim.encoders.nets.harmonic_cnn import HarmonicCnn

    net = HarmonicCnn()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its convolutions are the faster for it
    return net


def load(*, checkpoint: Path, overlap: float = 0.75) -> AudioEncoder:
    """Make the encoder; see :func:`~emoclim.encoders.checkpoints.won2020.load_tagger`."""
    return load_tagger("harmonic_cnn", untrained, DIM, LENGTH, checkpoint=checkpoint, overlap=overlap)
