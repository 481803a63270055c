"""Statistics of timbre, harmony, dynamics and rhythm: an encoder of audio without parameters.

Convention: segments are mono at 16 kHz; see :mod:`emoclim.encoders.nets.timbre`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoclim.data import RESAMPLER, FeatureSpec, Setting
from emoclim.encoders.base import AudioEncoder
from emoclim.errors import EncoderError
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import nn

MODALITY: Modality = "audio"
SAMPLE_RATE = 16_000  # Hz
MAX_LENGTH = 600 * SAMPLE_RATE
DIM = 151  # of its statistics
VERSION = 1


def load(*, length: int = 5 * SAMPLE_RATE, overlap: float = 0.5) -> AudioEncoder:
    """Make the encoder."""
    if not 2 * SAMPLE_RATE <= length <= MAX_LENGTH:
        raise EncoderError(f"timbre takes a length from {2 * SAMPLE_RATE} to {MAX_LENGTH} samples, not {length}")
    settings: dict[str, Setting] = {
        "version": VERSION,
        "sample_rate": SAMPLE_RATE,
        "resampler": f"soxr {RESAMPLER}",
        "length": length,
        "overlap": float(overlap),
        "pad": "repeat",
    }
    spec = FeatureSpec("timbre", MODALITY, DIM, "none", settings)
    return AudioEncoder(spec, SAMPLE_RATE, length, overlap, build)


def build() -> nn.Module:
    """Make the network."""
    from emoclim.encoders.nets.timbre import timbre_statistics

    return timbre_statistics()
