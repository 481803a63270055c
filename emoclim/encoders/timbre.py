"""Statistics of timbre, harmony, dynamics and rhythm: an encoder of audio without parameters.

Convention: segments are mono at 16 kHz; see :mod:`emoclim.encoders.nets.timbre`.
"""

from emoclim.data import RESAMPLER, FeatureSpec, Setting
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.nets.timbre import DIM, SAMPLE_RATE, timbre_statistics
from emoclim.errors import EncoderError
from emoclim.modality import Modality

MODALITY: Modality = "audio"
VERSION = 1


def load(*, length: int = 5 * SAMPLE_RATE, overlap: float = 0.5) -> AudioEncoder:
    """Make the encoder."""
    if length < 2 * SAMPLE_RATE:
        raise EncoderError(f"timbre takes a length of at least {2 * SAMPLE_RATE} samples, not {length}")
    settings: dict[str, Setting] = {
        "version": VERSION,
        "sample_rate": SAMPLE_RATE,
        "resampler": f"soxr {RESAMPLER}",
        "length": length,
        "overlap": float(overlap),
        "pad": "repeat",
    }
    spec = FeatureSpec("timbre", MODALITY, DIM, "none", settings)
    return AudioEncoder(spec, SAMPLE_RATE, length, overlap, timbre_statistics)
