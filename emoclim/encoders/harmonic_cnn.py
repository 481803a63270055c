"""Harmonic CNN, a tagger of music: 5 s of mono audio at 16 kHz to its 256 last channels' maxima."""

from emoclim.encoders.families.won2020 import Tagger
from emoclim.modality import Modality

MODALITY: Modality = "audio"
LENGTH = 80_000  # samples

TAGGER = Tagger(
    "harmonic_cnn",
    dim=256,
    length=LENGTH,
    network="HarmonicCnn",
    folder="hcnn",
    blob="8b6c53c41ce3fd5c61cd0aa2f5444435972f8e53",
)
published, load, untrained = TAGGER.published, TAGGER.load, TAGGER.untrained
