"""Musicnn of the package `musicnn`, a tagger trained on MagnaTagATune: 3 s of music to 200 values.

With the setting ``output=tags``, the probabilities of the 50 tags instead of what comes before them.
"""

from emoclim.encoders.families.musicnn_package import PackageTagger
from emoclim.modality import Modality

MODALITY: Modality = "audio"

TAGGER = PackageTagger(
    "musicnn_mtt",
    folder="MTT_musicnn",
    index="da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57",
    data="041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab",
    trained_on="MagnaTagATune",
    tags="guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient, beat, "
    "violin, vocal, synth, female, indian, opera, male, singing, vocals, no vocals, harpsichord, loud, "
    "quiet, flute, woman, male vocal, no vocal, pop, soft, sitar, solo, man, classic, choir, voice, new "
    "age, dance, male voice, female vocal, beats, harp, cello, no voice, weird, country, metal, female "
    "voice, choral",
)
published, load, untrained = TAGGER.published, TAGGER.load, TAGGER.untrained
vocabulary, readout = TAGGER.vocabulary, TAGGER.readout
