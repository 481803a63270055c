"""A text encoder of seven values without parameters, whose features, of any modality, can be compared with words."""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emoclim.data import FeatureSpec
from emoclim.encoders import TextEncoder, passage_settings
from emoclim.modality import Modality

MODALITY: Modality = "text"
LENGTH, FILL, DIM, HIDDEN = 16, 0, 7, 5
VOCABULARY = ("calm sea", "cat", "storm", "party", "rock", "night", "sun")


class Hashes(nn.Module):
    """Passages of numbers of words to the sum of a random vector for each; and a layer from values to its words."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(HIDDEN, len(VOCABULARY))
        for seed, parameter in enumerate(self.last.parameters()):
            parameter.data.normal_(generator=torch.Generator().manual_seed(seed))

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
    """List the words of the values, where these are, or lead to, their probabilities."""
    return () if output == "features" else VOCABULARY


def readout(*, output: str = "features") -> tuple[str, str] | None:
    """Name the layer from values to probabilities, and its function, which is the output."""
    return ("last", output) if output in ("softmax", "sigmoid") else None
