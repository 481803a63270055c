"""Musicnn, a tagger of music: 3 s of mono audio at 16 kHz to the 200 values before its tagging layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.checkpoints.published import Published
from emoclim.encoders.checkpoints.won2020 import load_tagger, published_msd
from emoclim.modality import Modality

if TYPE_CHECKING:
    from emoclim.encoders.nets.musicnn import Musicnn

MODALITY: Modality = "audio"
DIM = 200
LENGTH = 48_000  # samples


def published() -> Published:
    """The training of Won et al. (SMC 2020) on the Million Song Dataset."""
    return published_msd("musicnn", "musicnn", "f456be06bd7409125daae533a4d966292dbfa1bf")


def untrained() -> Musicnn:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.musicnn import Musicnn

    return Musicnn()


def load(*, checkpoint: Path, overlap: float = 0.75) -> AudioEncoder:
    """Make the encoder; see :func:`~emoclim.encoders.checkpoints.won2020.load_tagger`."""
    return load_tagger("musicnn", untrained, DIM, LENGTH, checkpoint=checkpoint, overlap=overlap)
