"""Musicnn, a tagger of music: 3 s of mono audio at 16 kHz to the 200 values before its tagging layer."""

from emoclim.encoders.families.won2020 import Tagger
from emoclim.modality import Modality

MODALITY: Modality = "audio"
LENGTH = 48_000  # samples

TAGGER = Tagger(
    "musicnn",
    dim=200,
    length=LENGTH,
    network="Musicnn",
    folder="musicnn",
    blob="f456be06bd7409125daae533a4d966292dbfa1bf",
)
published, load, untrained = TAGGER.published, TAGGER.load, TAGGER.untrained
