"""The encoder `colour` under another name, whose values are taken for probabilities of words."""

from collections.abc import Sequence
from dataclasses import replace

from emoclim.encoders import ImageEncoder, colour
from emoclim.modality import Modality

MODALITY: Modality = "image"


def load() -> ImageEncoder:
    """Make the encoder."""
    made = colour.load()
    return replace(made, spec=replace(made.spec, name="wordy_colour"))


def vocabulary() -> Sequence[str]:
    """List a word for each value."""
    return [f"thing {number}" for number in range(colour.DIM)]
