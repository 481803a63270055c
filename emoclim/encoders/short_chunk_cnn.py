"""Short-chunk CNN (residual), a tagger of music: 3.7 s of mono audio at 16 kHz to its 512 last channels' maxima."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoclim.encoders.checkpoints.won2020 import Tagger
from emoclim.modality import Modality

if TYPE_CHECKING:
    from emoclim.encoders.nets.short_chunk_cnn import ShortChunkCnn

MODALITY: Modality = "audio"
LENGTH = 59_049  # samples


def untrained() -> ShortChunkCnn:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.short_chunk_cnn import ShortChunkCnn

    return ShortChunkCnn()


TAGGER = Tagger(
    "short_chunk_cnn",
    "short_res",
    "2566ed85f37150ac6f3dba4f5a39985b5acbf156",
    dim=512,
    length=LENGTH,
    untrained=untrained,
)
published, load = TAGGER.published, TAGGER.load
