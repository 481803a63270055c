"""Mid-level perceptual features of music, a network to train: 15 s of mono audio at 22,050 Hz to seven ratings.

It is the audio encoder of S. Chowdhury and G. Widmer, "Expressivity-aware music performance retrieval using mid-level
perceptual features and emotion word embeddings" (FIRE 2023), section 4.1; with ``onsets=true`` its eighth value, the
onsets per second, beside the seven. Its parameters were never published, so nothing is: `train-end-to-end` begins with
random ones, as with the objective `regression` on the ratings of the data set `midlevel`.

Convention: zeros at both ends of each segment are left out and its peak is brought to 1, as of each file in that work,
whose files of training are single segments.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.families.won2020 import build_music, music_encoder
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import nn

MODALITY: Modality = "audio"
SAMPLE_RATE = 22_050  # Hz
LENGTH = 15 * SAMPLE_RATE
OVERLAP = 2 / 3  # of segments that begin every 5 s
CHANNELS = 128
RATINGS = (
    *("melodiousness", "articulation", "rhythm complexity", "rhythm stability", "dissonance", "tonal stability"),
    "minorness",
)
DENSITY = "onset density"


def load(*, checkpoint: Path, overlap: float = OVERLAP, onsets: bool = False) -> AudioEncoder:
    """Make the encoder; the network is built on first use."""
    build = partial(build_music, partial(untrained, onsets=onsets), checkpoint)
    dim = len(names(onsets=onsets))
    return music_encoder("midlevel", dim, LENGTH, overlap, checkpoint, build, sample_rate=SAMPLE_RATE, onsets=onsets)


def untrained(*, onsets: bool = False) -> nn.Module:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.cp_resnet import CpResnet, CpResnetWithOnsets

    return (CpResnetWithOnsets if onsets else CpResnet)(len(RATINGS), CHANNELS)


def names(*, onsets: bool = False) -> tuple[str, ...]:
    """Name the values of a feature."""
    return (*RATINGS, DENSITY) if onsets else RATINGS
