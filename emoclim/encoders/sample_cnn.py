"""SampleCNN, a network to train: 6.15 s (by default) of raw waveform, mono at 16 kHz, to its 512 last channels.

It is the music network of K. Avramidis et al., "On the role of visual context in enriching music representations"
(ICASSP 2023), sections 3.2 and 4.3. Its parameters were never published, so nothing is: `train-end-to-end` begins with
random ones.

Its layers follow from its length in samples, the stride of its first filter (as long as that) times `pool` to the power
of its blocks: 98,415 are 5 x 3^9, 78,732 (4.92 s) 4 x 3^9, 59,049 (3.69 s) 3 x 3^9, 49,152 (3.07 s) 3 x 4^7, 98,304
(6.14 s) 3 x 2^15; 65,536 (4.10 s) are 4 x 4^7 or, with ``pool=2``, 4 x 2^14, and 81,920 (5.12 s) 5 x 4^7 or 5 x 2^14.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.families.won2020 import build_music, music_encoder
from emoclim.errors import EncoderError
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import nn

MODALITY: Modality = "audio"
DIM = 512
# Samples of the first filter, samples of a maximum, and how many blocks have one: 98,415 samples are the paper's, the
# others those of the inputs that its code was tried with. Where two are of one length, the first is the usual one.
SHAPES = ((5, 3, 9), (4, 3, 9), (3, 3, 9), (5, 4, 7), (4, 4, 7), (3, 4, 7), (5, 2, 14), (4, 2, 14), (3, 2, 15))


def load(*, checkpoint: Path, length: int = 98_415, pool: int = 0, overlap: float = 0.5) -> AudioEncoder:
    """Make the encoder; the network is built on first use."""
    pool = _shape(length, pool)[1]
    build = partial(build_music, partial(untrained, length=length, pool=pool), checkpoint)
    return music_encoder("sample_cnn", DIM, length, overlap, checkpoint, build, pool=pool)


def untrained(*, length: int = 98_415, pool: int = 0) -> nn.Module:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.sample_cnn import SampleCnn

    return SampleCnn(*_shape(length, pool))


def _shape(length: int, pool: int) -> tuple[int, int, int]:
    """Return the shape of that length; of several the first with that `pool`, or the first of all where it is 0."""
    of_length = [shape for shape in SHAPES if shape[0] * shape[1] ** shape[2] == length]
    if not of_length:
        lengths = ", ".join(map(str, sorted({first * pool**blocks for first, pool, blocks in SHAPES})))
        raise EncoderError(f"sample_cnn takes a length of {lengths} samples, not {length}")
    for shape in of_length:
        if pool in (0, shape[1]):
            return shape
    pools = " or ".join(str(shape[1]) for shape in of_length)
    raise EncoderError(f"sample_cnn takes a pool of {pools} at a length of {length} samples, not {pool}")
