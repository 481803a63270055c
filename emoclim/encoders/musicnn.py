"""Musicnn, a tagger of music: 3 s of mono audio at 16 kHz to the 200 values before its tagging layer."""

from pathlib import Path

from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.checkpoints import Published
from emoclim.encoders.nets.musicnn import DENSE, Musicnn
from emoclim.encoders.taggers import load_tagger, published_msd
from emoclim.modality import Modality

MODALITY: Modality = "audio"
LENGTH = 48_000  # samples


def published() -> Published:
    """The training of Won et al. (SMC 2020) on the Million Song Dataset."""
    return published_msd("musicnn", "musicnn", "f456be06bd7409125daae533a4d966292dbfa1bf")


def untrained() -> Musicnn:
    """Make the network, before its parameters are read."""
    return Musicnn()


def load(*, checkpoint: Path, overlap: float = 0.75) -> AudioEncoder:
    """Make the encoder; see :func:`~emoclim.encoders.taggers.load_tagger`."""
    return load_tagger("musicnn", untrained, DENSE, LENGTH, checkpoint=checkpoint, overlap=overlap)
