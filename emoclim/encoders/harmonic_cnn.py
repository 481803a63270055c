"""Harmonic CNN, a tagger of music: 5 s of mono audio at 16 kHz to its 256 last channels' maxima."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoclim.encoders.checkpoints.won2020 import Tagger
from emoclim.modality import Modality

if TYPE_CHECKING:
    from emoclim.encoders.nets.harmonic_cnn import HarmonicCnn

MODALITY: Modality = "audio"
LENGTH = 80_000  # samples


def untrained() -> HarmonicCnn:
    """Make the network, before its parameters are read."""
    import torch

    from emoclim.encoders.nets.harmonic_cnn import HarmonicCnn

    net = HarmonicCnn()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its convolutions are the faster for it
    return net


TAGGER = Tagger(
    "harmonic_cnn", "hcnn", "8b6c53c41ce3fd5c61cd0aa2f5444435972f8e53", dim=256, length=LENGTH, untrained=untrained
)
published, load = TAGGER.published, TAGGER.load
