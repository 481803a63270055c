"""The encoder `timbre` under another name, whose values are taken for probabilities of words."""

from collections.abc import Sequence
from dataclasses import replace

from emoclim.encoders import AudioEncoder, timbre
from emoclim.modality import Modality

MODALITY: Modality = "audio"


def load() -> AudioEncoder:
    """Make the encoder."""
    made = timbre.load()
    return replace(made, spec=replace(made.spec, name="wordy_timbre"))


def vocabulary() -> Sequence[str]:
    """List a word for each value."""
    return [f"sound {number}" for number in range(timbre.DIM)]
