"""Statistics of timbre, harmony, dynamics and rhythm: an encoder of audio without parameters.

Convention: segments are mono at 16 kHz; see :mod:`emoclim.encoders.nets.timbre`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
BANDS = tuple(f"at {hertz} Hz" for hertz in (180, 490, 910, 1500, 2300, 3300, 4700, 6600))  # their middles
MFCC = tuple(f"MFCC {number}" for number in range(1, 21))
SPECTRUM = tuple(f"spectral {name}" for name in ("centroid", "bandwidth", "rolloff", "flatness"))
PEAKS = tuple(f"peaks in {hertz} Hz" for hertz in ("0-200", "200-400", "400-800", "800-1600", "1600-3200", "3200-8000"))
PITCHES = ("C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B")
NAMES: Mapping[str, Sequence[str]] = {  # by group of :mod:`emoclim.encoders.nets.timbre`
    "level": ("level", "level variation", "level trend", "share of low level", "crest"),
    "bands": [f"level{what} {band}" for what in ("", " variation", " motion") for band in BANDS],
    "mfcc": MFCC,
    "mfcc_motion": [f"{name} {what}" for what in ("variation", "motion") for name in MFCC],
    "shape": [f"{name}{what}" for what in ("", " variation") for name in SPECTRUM],
    "change": [f"{name}{what}" for name in ("spectral flux", "zero crossings") for what in ("", " variation")],
    "contrast": [f"{name}{what}" for what in ("", ", variation") for name in PEAKS],
    "pitch_classes": [f"pitch class {pitch}" for pitch in PITCHES],
    "key": ("fit to a major key", "fit to a minor key", "major over minor", "key clarity"),
    "intervals": (
        *("minor seconds", "major seconds", "minor thirds", "major thirds", "fourths", "tritones"),
        *("chroma entropy", "harmonic change"),
    ),
    "onset_strength": ("onset strength", "onset strength variation", "onset peakedness", "onsets per second"),
    "tempo": [
        *(f"pulse at {beats} BPM" for beats in (45, 56, 71, 89, 111, 140, 175, 220)),
        *("pulse clarity", "tempo"),
    ],
}


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


def names() -> Sequence[str]:
    """Name the statistics, in order."""
    return [name for group in NAMES.values() for name in group]


def build() -> nn.Module:
    """Make the network."""
    from emoclim.encoders.nets.timbre import timbre_statistics

    return timbre_statistics()
