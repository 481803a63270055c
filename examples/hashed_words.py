"""Hashed words: the mean of a random vector per word of a text; an encoder of text without parameters.

Put this file into ``emoclim/encoders/``, and ``emoclim extract text --encoder hashed_words`` works.
"""

import re
import zlib

import torch
from torch import Tensor, nn

from emoclim.data import FeatureSpec
from emoclim.encoders import TextEncoder, passage_settings
from emoclim.modality import Modality

MODALITY: Modality = "text"
VERSION = 1  # to be raised whenever the code gives other numbers
WORD = re.compile(r"\w+")
N_VECTORS, DIM = 4096, 64  # the first vector is that of no word
FILL = 0


class HashedWords(nn.Module):
    """Passages ``(B, length)`` of numbers of words, filled up with 0, to ``(B, 64)``."""

    vectors: Tensor  # (N_VECTORS, DIM)

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.randn(N_VECTORS, DIM, generator=torch.Generator().manual_seed(0))
        self.register_buffer("vectors", drawn, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """See the class; a row that is nothing but filled up, as the last batch has, is zeros."""
        known = (ids != FILL)[..., None]
        return (self.vectors[ids] * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)


def tokenize(passage: str) -> list[int]:
    """Number the words of a passage; some share a number."""
    return [1 + zlib.crc32(word.encode()) % (N_VECTORS - 1) for word in WORD.findall(passage.lower())]


def load(*, length: int = 128) -> TextEncoder:
    """Make the encoder.

    Parameters
    ----------
    length
        Words of one passage, at most.

    Raises
    ------
    EncoderError
        The length is less than 8.

    Examples
    --------
    >>> from emoclim.data import Item
    >>> load().passages(Item("1", text="A sunny day"))
    ['A sunny day']
    """
    spec = FeatureSpec("hashed_words", MODALITY, DIM, "none", {**passage_settings(length), "version": VERSION})
    return TextEncoder(spec, length, tokenize, HashedWords, FILL)
