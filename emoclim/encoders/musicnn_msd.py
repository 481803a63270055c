"""Musicnn of the package `musicnn`, a tagger trained on the Million Song Dataset: 3 s of music to 200 values.

With the setting ``output=tags``, the probabilities of the 50 tags instead of what comes before them.
"""

from emoclim.encoders.families.musicnn_package import PackageTagger
from emoclim.modality import Modality

MODALITY: Modality = "audio"

TAGGER = PackageTagger(
    "musicnn_msd",
    folder="MSD_musicnn",
    index="87f3e0f3550c8d3bafc840374003e5c8af5eeb5ecf6add61af09a7822d3282c8",
    data="8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6",
    trained_on="Million Song Dataset with Last.fm tags",
    tags="rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock, jazz, "
    "beautiful, metal, chillout, male vocalists, classic rock, soul, indie rock, Mellow, electronica, "
    "80s, folk, 90s, chill, instrumental, punk, oldies, blues, hard rock, ambient, acoustic, "
    "experimental, female vocalist, guitar, Hip-Hop, 70s, party, country, easy listening, sexy, catchy, "
    "funk, electro, heavy metal, Progressive rock, 60s, rnb, indie pop, sad, House, happy",
)
published, load, untrained = TAGGER.published, TAGGER.load, TAGGER.untrained
vocabulary, readout = TAGGER.vocabulary, TAGGER.readout
