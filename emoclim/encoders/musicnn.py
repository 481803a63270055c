"""Musicnn, a tagger of music: 3 s of mono audio at 16 kHz to the 200 values before its tagging layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoclim.encoders.checkpoints.won2020 import Tagger
from emoclim.modality import Modality

if TYPE_CHECKING:
    from emoclim.encoders.nets.musicnn import Musicnn

MODALITY: Modality = "audio"
LENGTH = 48_000  # samples


def untrained() -> Musicnn:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.musicnn import Musicnn

    return Musicnn()


TAGGER = Tagger(
    "musicnn", "musicnn", "f456be06bd7409125daae533a4d966292dbfa1bf", dim=200, length=LENGTH, untrained=untrained
)
published, load = TAGGER.published, TAGGER.load
