"""Music ResNet, a network to train: 5 s of mono audio at 16 kHz to its 256 last channels' maxima over time.

It is the music model of M. Won et al., "Emotion embedding spaces for matching music to stories" (ISMIR 2021), section
3.1. Its parameters were never published, so nothing is: `train-end-to-end` begins with random ones.
"""

from emoclim.encoders.families.won2020 import MusicNetwork
from emoclim.modality import Modality

MODALITY: Modality = "audio"
LENGTH = 80_000  # samples

NETWORK = MusicNetwork("music_resnet", dim=256, length=LENGTH, network="MusicResnet")
load, untrained = NETWORK.load, NETWORK.untrained
