"""Read ISEAR: situations in which people felt one of seven emotions, in their own words.

Conventions: a report is known by its ``MYKEY``, which tells the person and the emotion, without the zeros before it, as
some exports lose them; the reports of one person are a group. A lone ``á``, which stands in the texts where a line once
ended, is no word.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words, list_files
from emoclim.data.manifest import Item
from emoclim.data.media.text import read_text
from emoclim.errors import ManifestError

EMOTIONS = ("joy", "fear", "anger", "sadness", "disgust", "shame", "guilt")  # 1 to 7 in EMOT
COLUMNS = ("MYKEY", "ID", "EMOT", "SIT")
SUFFIXES = frozenset({".csv", ".txt", ".tsv"})
REPORTS = 7_666
LINE_END = "á"
SILENT = re.compile(r"[\[\s]*(no response)?[\s.\]]*", re.IGNORECASE)

DESCRIPTION = Description(
    modality="text",
    about="situations in which people felt one of seven emotions, in their own words",
    what=(
        "7,666 reports by students of many countries, who were asked for a situation in which they felt each of seven "
        "emotions; 87 say only that there was no response. Won et al. (ISMIR 2021) take 70-15-15 of them, stratified: "
        "1,150 to choose and 1,150 to test; which ones, is not published."
    ),
    licence="for research",
    citation=(
        "K. R. Scherer, H. G. Wallbott, Evidence for universality and cultural variation of differential emotion "
        "response patterning, Journal of Personality and Social Psychology 66, 1994"
    ),
    source="https://www.unige.ch/cisa/research/materials-and-online-research/research-material/ (ISEAR databank)",
    layouts=(
        "a table anywhere, exported from the database (.mdb, .sav) with its 40 or so columns, MYKEY, ID, EMOT and SIT "
        "among them, and | or comma, semicolon, tab between its cells; such as the isear.csv that is passed round",
    ),
    options={"keep_silent": "keep the reports that there was no response, as those who published results did"},
    labels=EMOTIONS,
    published={"ISEAR": dict(zip(EMOTIONS, (1094, 1095, 1096, 1096, 1096, 1096, 1093), strict=True))},
    default_split="70-15-15",  # of Won et al.
)


class Export(NamedTuple):
    """A table of the database as text, what stands between its cells, and the names of its columns."""

    path: Path
    delimiter: str
    columns: tuple[str, ...]


def prepare(folder: Path, *, keep_silent: bool = True) -> Prepared:
    """Make an item of each report."""
    paths = list_files(folder)
    export = _find_export(folder, paths)
    items, left_out, silent = [], [], set()
    for number, (key, person, emotion, situation) in _reports(export):
        text = " ".join(word for word in situation.split() if word != LINE_END)
        if SILENT.fullmatch(text):
            silent.add(key)
        if not text or (key in silent and not keep_silent):
            left_out.append(LeftOut(key, "unused", "no response"))
        else:
            label = _emotion(emotion, f"row {number} of {export.path}")
            items.append(Item(key, text=text, label=label, group=person))
    if lacking := [emotion for emotion in EMOTIONS if emotion not in {item.label for item in items}]:
        raise ManifestError(f"{export.path} has no report of {lacking[0]} among its {len(items)}; export all of it")
    notes = [f"{len(silent):,} reports say that there was no response"] if silent and keep_silent else []
    if (count := len(items) + len(left_out)) != REPORTS:
        notes.append(f"{export.path.name} has {count:,} reports, of {REPORTS:,} published")
    return Prepared("text", tuple(items), tuple(left_out), notes=tuple(notes), incomparable=frozenset(silent))


def _find_export(folder: Path, paths: Iterable[str]) -> Export:
    found = []
    for path in paths:
        if PurePosixPath(path).suffix.lower() in SUFFIXES:
            with (folder / path).open(encoding="utf-8-sig", errors="replace") as file:
                header = file.readline().strip()
            delimiter = max("|,;\t", key=header.count)
            names = tuple(name.strip().strip('"').upper() for name in header.rstrip(delimiter).split(delimiter))
            if set(COLUMNS) <= set(names):
                found.append(Export(folder / path, delimiter, names))
    if not found:
        raise ManifestError(
            f"{folder} has no table with columns {', '.join(COLUMNS)}, as ISEAR's database gives if it is exported as "
            f"text; found {in_words(paths)}"
        )
    if len(found) > 1:
        named = " and ".join(str(one.path.relative_to(folder)) for one in found[:2])
        raise ManifestError(f"{folder} has {len(found)} tables with the columns of ISEAR ({named}); keep one of them")
    return found[0]


def _reports(export: Export) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row and its cells in :data:`COLUMNS`."""
    places = [export.columns.index(name) for name in COLUMNS]
    plain = export.delimiter == "|"  # such tables quote nothing: a quotation mark is part of a text
    for number, row in enumerate(_rows(export, quoted=not plain), start=2):
        if not any(row):
            continue
        cells = _cells(row, len(export.columns), places[-1] if plain else None)
        if len(cells) != len(export.columns) or not all(cells[place].strip() for place in places[:-1]):
            raise ManifestError(
                f"row {number} of {export.path} has {len(cells)} cells ({', '.join(map(repr, cells[:2]))} ...) below a "
                f"header of {len(export.columns)}, or no {', '.join(COLUMNS[:-1])}; export it again"
            )
        key, *others = (cells[place].strip() for place in places)
        yield number, [key.lstrip("0"), *others]


def _rows(export: Export, *, quoted: bool) -> list[list[str]]:
    """Read all rows below the header."""
    text = io.StringIO(read_text(export.path), newline="")
    try:
        if quoted:
            return list(csv.reader(text, delimiter=export.delimiter))[1:]
        return list(csv.reader(text, delimiter=export.delimiter, quoting=csv.QUOTE_NONE))[1:]
    except csv.Error as error:
        raise ManifestError(f"{export.path} cannot be read as a table ({error}); export it again") from error


def _cells(row: Sequence[str], count: int, text: int | None) -> list[str]:
    """Drop the empty cell that a delimiter at the end makes, and join a text that holds delimiters."""
    cells = list(row[:-1]) if len(row) > count and not row[-1] else list(row)
    extra = len(cells) - count
    if text is not None and extra > 0:
        cells[text : text + extra + 1] = ["|".join(cells[text : text + extra + 1])]
    return cells


def _emotion(cell: str, where: str) -> str:
    """Read an emotion by its number or by its name."""
    if cell.lower() in EMOTIONS:
        return cell.lower()
    if cell in {str(number) for number in range(1, len(EMOTIONS) + 1)}:
        return EMOTIONS[int(cell) - 1]
    raise ManifestError(f"{where} has EMOT {cell!r}; ISEAR has 1 to {len(EMOTIONS)} ({', '.join(EMOTIONS)})")
