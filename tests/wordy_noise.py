"""A text encoder of seven values without parameters, whose features, of any modality, can be compared with words."""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emoclim.data import FeatureSpec
from emoclim.encoders import TextEncoder, passage_settings
from emoclim.modality import Modality

MODALITY: Modality = "text"
LENGTH, FILL, DIM = 16, 0, 7
VOCABULARY = ("calm sea", "cat", "storm", "party", "rock", "night", "sun")


class Hashes(nn.Module):
    """Passages of numbers of words to the sum of a random vector for each."""

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        table = torch.randn(4096, DIM, generator=torch.Generator().manual_seed(1))
        return (table[ids] * (ids != FILL)[..., None]).sum(dim=1)


def tokenize(passage: str) -> list[int]:
    """Number the words."""
    return [1 + zlib.crc32(word.encode()) % 4095 for word in passage.split()]


def load() -> TextEncoder:
    """Make the encoder."""
    spec = FeatureSpec("noise", MODALITY, DIM, "none", passage_settings(LENGTH))
    return TextEncoder(spec, LENGTH, tokenize, Hashes, FILL)


def vocabulary(*, output: str = "features") -> Sequence[str]:
    """List the words of the values, where they are the output."""
    return VOCABULARY if output == "words" else ()
