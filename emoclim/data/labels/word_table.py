"""Read the vectors of words from a table of the user's: a column of words, and one for each entry of their vectors.

Convention: words are compared without regard to upper case.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from emoclim.data.labels.valence_arousal import word_column
from emoclim.data.listing import composed
from emoclim.data.tables import LARGEST, finite_number, read_table
from emoclim.errors import ManifestError

SHORTEST = 1e-18  # vector whose square is a normal number in single precision


def read_word_table(path: Path, words: Sequence[str]) -> list[list[float]]:
    """Read the vectors of some words, in their order; of other words nothing is read."""
    table = read_table(path, plain="\t")
    name = word_column(table)
    entries = [column for column in table.columns if composed(column).lower() != name]
    wanted, found = {composed(word.lower()) for word in words}, dict[str, list[float]]()
    for number, row in table.records(name, *entries):
        if (word := composed(row[name].strip().lower())) not in wanted:
            continue
        vector = [_number(row, entry, f"row {number} of {path}") for entry in entries]
        if found.setdefault(word, vector) != vector:
            raise ManifestError(f"row {number} of {path} gives {word!r} another vector than a row before; keep one")
    return pick_vectors(words, found, str(path))


def list_words(path: Path) -> list[str]:
    """List the words of a table, each once and in small letters."""
    table = read_table(path, plain="\t")
    name = word_column(table)
    return list(dict.fromkeys(composed(row[name].strip().lower()) for _, row in table.records(name)))


def pick_vectors(words: Sequence[str], found: Mapping[str, list[float]], where: str) -> list[list[float]]:
    """Return the vectors of words that must all be there; one without a direction in single precision is refused."""
    vectors = {word: found.get(composed(word.lower())) for word in words}
    if lacking := [word for word, vector in vectors.items() if vector is None]:
        raise ManifestError(f"{where} has no vector of {', '.join(map(repr, lacking))}; add it, or map the label away")
    if empty := [word for word, vector in vectors.items() if not SHORTEST < math.hypot(*vector or ()) < LARGEST]:
        what = "too long or short to compute with" if any(vectors[empty[0]] or ()) else "all zero"
        raise ManifestError(f"the vector of {empty[0]!r} in {where} is {what}; give it another")
    return [vector for vector in vectors.values() if vector is not None]


def _number(row: Mapping[str, str], entry: str, where: str) -> float:
    if (value := finite_number(row[entry])) is None:
        raise ManifestError(f"{where} has {row[entry]!r} in column {entry!r}; give a finite number")
    return value
