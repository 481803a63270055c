"""Word vectors of a file (word2vec, GloVe): the mean or the sum of those of the words of a text.

Conventions: a word is looked up as it is written, else in lower case, else by the parts that corpora are cut into
("don't" as "do" and "n't", "mother-in-law" as three words); punctuation is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.data import FeatureSpec, Setting
from emoclim.encoders.checkpoints.published import Published, identity
from emoclim.encoders.text_encoder import TextEncoder, passage_settings
from emoclim.errors import DecodeError, EncoderError
from emoclim.modality import Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    Table = tuple[Mapping[str, int], NDArray[np.float32]]  # rows by word, vectors (N, D)

MODALITY: Modality = "text"
OF_WORDS = True  # what it makes of a word is the word's vector, in place of which others are substitutes
DIM = 300  # of the published file
FILL, UNKNOWN, FIRST = 0, 1, 2  # ids: of no word, of one that has no vector, of the first in the file
COMBINATIONS = ("mean", "sum")
WORD = re.compile(r"\w+(?:['-]\w+)*")
PART = re.compile(r"\w+(?=n't\b)|n't\b|'\w+|\w+")
WORDS = "as written, lower case, parts: 1"  # how words are looked up, and the version of that


def published() -> Published:
    """Return the vectors of GloVe that gensim offers; no hash is published that can be checked here."""
    return Published(
        file="glove-wiki-gigaword-300.gz",
        url="https://github.com/RaRe-Technologies/gensim-data/releases/download/"
        "glove-wiki-gigaword-300/glove-wiki-gigaword-300.gz",
        hash=None,
        licence="PDDL 1.0",
        trained_on=("Wikipedia 2014", "Gigaword 5"),
    )


def load(*, checkpoint: Path, combine: str = "mean", length: int = 512) -> TextEncoder:
    """Make the encoder; `combine` is mean or sum, of at most `length` words: those of one passage."""
    if combine not in COMBINATIONS:
        raise EncoderError(f"word_vectors takes a setting combine of {' or '.join(COMBINATIONS)}, not {combine!r}")
    settings: dict[str, Setting] = {**passage_settings(length), "combine": combine, "words": WORDS}
    file = identity(checkpoint)
    # Read here, so that worker processes share it, and what is wrong with it is told before anything is encoded
    dim = _table(checkpoint, file)[1].shape[1] if checkpoint.stat().st_size else DIM
    spec = FeatureSpec("word_vectors", MODALITY, dim, file, settings)
    number, build = partial(number_words, checkpoint, file), partial(_build, checkpoint, file, combine)
    return TextEncoder(spec, length, number, build, FILL, UNKNOWN)


def untrained(*, combine: str = "mean") -> nn.Module:
    """Make the network, of no words yet."""
    import torch

    from emoclim.encoders.nets.word_vectors import WordVectors

    return WordVectors(torch.zeros(0, DIM), combine)


def number_words(checkpoint: Path, file: str, passage: str) -> list[int]:
    """Number the words of a passage by the rows of a file; `file` is its identity."""
    if not checkpoint.stat().st_size:
        raise DecodeError(f"the file of word vectors {checkpoint} is empty; name or download another")
    rows = _table(checkpoint, file)[0]
    words = WORD.findall(passage.replace("’", "'"))
    return [FIRST + row if row is not None else UNKNOWN for word in words for row in _rows_of(word, rows)]


def _rows_of(word: str, rows: Mapping[str, int]) -> list[int | None]:
    for spelt in (word, word.lower()):
        if (row := rows.get(spelt)) is not None:
            return [row]
    parts = PART.findall(word.lower())
    return [None] if len(parts) < 2 else [rows.get(part) for part in parts]


@lru_cache(maxsize=1)
def _table(checkpoint: Path, _: str) -> Table:
    """Read a file once, as long as it is the same."""
    from emoclim.encoders.checkpoints.word_files import read_word_vectors

    words, vectors = read_word_vectors(checkpoint)
    return {word: row for row, word in enumerate(words)}, vectors


def _build(checkpoint: Path, file: str, combine: str) -> nn.Module:
    import torch

    from emoclim.encoders.nets.word_vectors import WordVectors

    return WordVectors(torch.from_numpy(_table(checkpoint, file)[1]), combine)
