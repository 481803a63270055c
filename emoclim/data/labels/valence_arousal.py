"""Read the valence and arousal of words from a file of the user's, and of items from the rows of manifests.

Conventions: those of words run from 0 to 1, and words are compared without regard to upper case; those of items stay in
the scale that they are given in.
"""

from __future__ import annotations  # lest reading a file load torch

import logging
from collections.abc import Collection, Mapping, MutableSequence, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from emoclim.data.listing import composed
from emoclim.data.media.text import LINE_END
from emoclim.data.tables import PARQUET, SAID, Table, finite_number, parse_table, read_table
from emoclim.errors import ManifestError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

T = TypeVar("T")
ValenceArousal = Mapping[str, tuple[float, float]]
HEADER_BYTES = 1 << 16
NUMBERS = ("valence", "arousal")
WORD_COLUMNS = ("word", "term")  # versions 1 and 2 of the NRC lexicon differ in this


def read_valence_arousal(path: Path) -> ValenceArousal:
    """Read the valence and arousal of words.

    Notes
    -----
    S. Mohammad, "Obtaining Reliable Human Ratings of Valence, Arousal, and Dominance for 20,000 English Words", ACL
    2018: from 0 to 1; its second version (2025) from -1 to 1. The lexicon may not be redistributed.
    """
    places: dict[str, tuple[float, float]] = {}
    table = read_table(path, plain="\t")
    name = word_column(table)
    for number, row in table.records(name, *NUMBERS):
        if not any(map(str.strip, row.values())):
            continue
        where, word = f"row {number} of {path}", composed(row[name].strip().lower())
        place = _value(row, "valence", where), _value(row, "arousal", where)
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


def has_valence_arousal(path: Path) -> bool:
    """Tell whether a file is a table with columns of valence and arousal, by its header alone."""
    if path.suffix.lower() in PARQUET:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = Table(path, tuple(map(str.strip, pq.read_schema(path).names)), ())
        except (pa.ArrowException, OSError, ValueError):
            return False
    else:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES).decode("utf-8-sig", "replace").lstrip("\r\n")
        lines = LINE_END.split(head)[: 2 if SAID.match(head) else 1]
        try:
            table = parse_table(path, "\n".join(lines), plain="\t")
        except ManifestError:  # words may hold quotation marks
            return False
    return all(table.where(name) is not None for name in NUMBERS)


def word_column(table: Table) -> str:
    """Return the name of the column of words."""
    return next((name for name in WORD_COLUMNS if table.where(name) is not None), WORD_COLUMNS[0])


def _value(row: Mapping[str, str], name: str, where: str) -> float:
    value = finite_number(row[name])
    if value is None or not -1 <= value <= 1:
        raise ManifestError(f"{where} has {name} {row[name]!r}; give a number from 0 to 1, or from -1 to 1 throughout")
    return value


def numbers_of_row(number: int, row: Mapping[str, str], problems: MutableSequence[str]) -> tuple[float, ...]:
    """Read valence and arousal of a manifest's row, both or none; add whatever is wrong to `problems`."""
    given = {name: cell for name in NUMBERS if (cell := row.get(name, "").strip())}
    values = {name: finite_number(cell) for name, cell in given.items()}
    wrong = [name for name, value in values.items() if value is None]
    problems += [f"row {number} has {name} {given[name]!r} (it is a finite number, below 1e18)" for name in wrong]
    if len(given) == 1:
        problems.append(f"row {number} has {next(iter(given))} alone (valence and arousal go together)")
    found = tuple(value for value in values.values() if value is not None)
    return found if len(found) == len(NUMBERS) else ()


def measures_of(
    rows: Sequence[Sequence[str]], columns: Sequence[str], others: Collection[str]
) -> list[dict[str, float]]:
    """Read columns, but for `others`, that hold finite numbers and gaps alone, row by row; nothing if none does."""
    found: list[dict[str, float]] = [{} for _ in rows]
    for column, name in enumerate(columns):
        if name in others:
            continue
        cells = {place: row[column] for place, row in enumerate(rows) if len(row) > column and row[column].strip()}
        values = {place: value for place, cell in cells.items() if (value := finite_number(cell)) is not None}
        if len(values) == len(cells):
            for place, value in values.items():
                found[place][name] = value
    return found if any(found) else []


def places_of(names: Sequence[str], places: Mapping[str, T], source: object = "the file given") -> dict[str, T]:
    """Return valence and arousal, or another place, of labels or classes, by name."""
    if unknown := [name for name in names if name.lower() not in places]:
        named = ", ".join(map(repr, unknown))
        raise ManifestError(f"{named} has no valence and arousal in {source}; add a row for it")
    return {name: places[name.lower()] for name in names}


def class_vectors(classes: Sequence[str], places: ValenceArousal, source: object = "the file given") -> Tensor:
    """List valence and arousal of classes, ``(C, 2)`` float64; an error names the `source` of `places`."""
    import torch

    return torch.tensor(list(places_of(classes, places, source).values()), dtype=torch.float64)
