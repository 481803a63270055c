"""Short-chunk CNN (residual), a tagger of music: 3.7 s of mono audio at 16 kHz to its 512 last channels' maxima."""

from emoclim.encoders.families.won2020 import Tagger
from emoclim.modality import Modality

MODALITY: Modality = "audio"
LENGTH = 59_049  # samples

TAGGER = Tagger(
    "short_chunk_cnn",
    dim=512,
    length=LENGTH,
    network="ShortChunkCnn",
    folder="short_res",
    blob="2566ed85f37150ac6f3dba4f5a39985b5acbf156",
)
published, load, untrained = TAGGER.published, TAGGER.load, TAGGER.untrained
