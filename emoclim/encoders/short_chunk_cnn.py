"""Short-chunk CNN (residual), a tagger of music: 3.7 s of mono audio at 16 kHz to its 512 last channels' maxima."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.checkpoints.published import Published
from emoclim.encoders.checkpoints.won2020 import load_tagger, published_msd
from emoclim.modality import Modality

if TYPE_CHECKING:
    from emoclim.encoders.nets.short_chunk_cnn import ShortChunkCnn

MODALITY: Modality = "audio"
DIM = 512
LENGTH = 59_049  # samples


def published() -> Published:
    """The training of Won et al. (SMC 2020) on the Million Song Dataset."""
    return published_msd("short_chunk_cnn", "short_res", "2566ed85f37150ac6f3dba4f5a39985b5acbf156")


def untrained() -> ShortChunkCnn:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.short_chunk_cnn import ShortChunkCnn

    return ShortChunkCnn()


def load(*, checkpoint: Path, overlap: float = 0.75) -> AudioEncoder:
    """Make the encoder; see :func:`~emoclim.encoders.checkpoints.won2020.load_tagger`."""
    return load_tagger("short_chunk_cnn", untrained, DIM, LENGTH, checkpoint=checkpoint, overlap=overlap)
