"""Read the valence and arousal of words from a file of the user's, and compute how similar classes are by them.

Conventions: valence and arousal run from 0 to 1; words are compared without regard to upper case.
"""

from __future__ import annotations  # lest reading a file load torch

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.data.listing import composed
from emoclim.data.tables import read_table
from emoclim.errors import ManifestError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

ValenceArousal = Mapping[str, tuple[float, float]]  # by word in lower case
WORD_COLUMNS = ("word", "term")  # versions 1 and 2 of the NRC lexicon differ in this


def read_valence_arousal(path: Path) -> ValenceArousal:
    """Read the valence and arousal of words.

    Notes
    -----
    S. Mohammad, "Obtaining Reliable Human Ratings of Valence, Arousal, and Dominance for 20,000 English Words", ACL
    2018: from 0 to 1; its second version (2025) from -1 to 1. The lexicon may not be redistributed.
    """
    places: dict[str, tuple[float, float]] = {}
    for number, (word, valence, arousal) in _rows(path):
        where = f"row {number} of {path}"
        place = _value(valence, f"valence {valence!r}", where), _value(arousal, f"arousal {arousal!r}", where)
        if not word:
            raise ManifestError(f"{where} has no word; add it or take the row out")
        if places.setdefault(word, place) != place:
            raise ManifestError(f"{where} gives {word!r} another place than a row before; keep one of them")
    if not places:
        raise ManifestError(f"{path} has no rows; give a table of words with valence and arousal")
    if any(value < 0 for place in places.values() for value in place):
        log.info("the values of %s run from -1 to 1 and are mapped to 0 to 1", path)
        return {word: ((1 + valence) / 2, (1 + arousal) / 2) for word, (valence, arousal) in places.items()}
    return places


def _rows(path: Path) -> list[tuple[int, tuple[str, str, str]]]:
    """Read the number, word, valence and arousal of each row that is not blank."""
    table = read_table(path, plain="\t")
    word = next((name for name in WORD_COLUMNS if table.where(name) is not None), WORD_COLUMNS[0])
    first, second, third = table.places(word, "valence", "arousal").values()
    filled = [(number, [*row, *[""] * len(table.columns)]) for number, row in table.rows if any(map(str.strip, row))]
    return [(number, (composed(row[first].strip().lower()), row[second], row[third])) for number, row in filled]


def _value(text: str, what: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise ManifestError(f"{where} has {what}; give a number from 0 to 1, or from -1 to 1 throughout")
    return value


def class_vectors(classes: Sequence[str], places: ValenceArousal) -> Tensor:
    """List valence and arousal of classes, ``(C, 2)`` float64."""
    if unknown := [name for name in classes if name.lower() not in places]:
        raise ManifestError(
            f"class {', '.join(map(repr, unknown))} has no valence and arousal in the file given; add a row for it"
        )
    import torch

    return torch.tensor([places[name.lower()] for name in classes], dtype=torch.float64)
