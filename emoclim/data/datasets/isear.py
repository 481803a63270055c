"""Read ISEAR: situations in which people felt one of seven emotions, in their own words.

Conventions: a report is known by its ``MYKEY``, which tells the person and the emotion, without the zeros before it, as
some exports lose them; the reports of one person are a group. A lone ``á``, which stands in the texts where a line once
ended, is no word.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words
from emoclim.data.items.item import Item
from emoclim.data.listing import list_files
from emoclim.data.tables import Table, read_table
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
    labels=EMOTIONS,
    published={"ISEAR": dict(zip(EMOTIONS, (1094, 1095, 1096, 1096, 1096, 1096, 1093), strict=True))},
    default_split="70-15-15",
)


def prepare(folder: Path) -> Prepared:
    """Make an item of each report; those that there was no response are kept, as by those who published results."""
    table = _find_export(folder, list_files(folder))
    items, left_out, silent = [], [], set()
    for number, row in table.rows:
        key, person, emotion, situation = _cells(table, number, row)
        text = " ".join(word for word in situation.split() if word != LINE_END)
        if SILENT.fullmatch(text):
            silent.add(key)
        if not text:
            left_out.append(LeftOut(key, "unused", "no response"))
        else:
            label = _emotion(emotion, f"row {number} of {table.source}")
            items.append(Item(key, text=text, label=label, group=person))
    if lacking := [emotion for emotion in EMOTIONS if emotion not in {item.label for item in items}]:
        raise ManifestError(f"{table.source} has no report of {lacking[0]} among its {len(items)}; export all of it")
    notes = [f"{len(silent):,} reports say that there was no response"] if silent else []
    if (count := len(table.rows)) != REPORTS:
        notes.append(f"{table.source.name} has {count:,} reports, of {REPORTS:,} published")
    return Prepared("text", tuple(items), tuple(left_out), notes=tuple(notes), incomparable=frozenset(silent))


def _find_export(folder: Path, paths: Sequence[str]) -> Table:
    """Read the one table with the columns of the database; with | between cells, such tables quote nothing."""
    texts = (folder / path for path in paths if PurePosixPath(path).suffix.lower() in SUFFIXES)
    found, spoilt = [], ""
    for path in texts:
        try:
            table = read_table(path, plain="|", old=True)
        except ManifestError as error:  # of any text that lies there
            spoilt = spoilt or f"; {error}"
            continue
        if all(table.where(name) is not None for name in COLUMNS):
            found.append(table)
    if not found:
        raise ManifestError(
            f"{folder} has no table with columns {', '.join(COLUMNS)}, as ISEAR's database gives if it is exported as "
            f"text; found {in_words(paths)}{spoilt}"
        )
    if len(found) > 1:
        named = " and ".join(str(one.source.relative_to(folder)) for one in found[:2])
        raise ManifestError(f"{folder} has {len(found)} tables with the columns of ISEAR ({named}); keep one of them")
    return found[0]


def _cells(table: Table, number: int, row: Sequence[str]) -> tuple[str, ...]:
    """Return the cells of a row in :data:`COLUMNS`; join a text that holds what stands between cells."""
    cells, places = list(row), list(table.places(*COLUMNS).values())
    extra = len(cells) - len(table.columns)
    if extra > 0 and table.delimiter == "|":
        text = slice(places[-1], places[-1] + extra + 1)
        cells[text] = ["|".join(cells[text])]
    if len(cells) != len(table.columns) or not all(cells[place].strip() for place in places[:-1]):
        raise ManifestError(
            f"row {number} of {table.source} has {len(cells)} cells ({', '.join(map(repr, cells[:2]))} ...) below a "
            f"header of {len(table.columns)}, or no {', '.join(COLUMNS[:-1])}; export it again"
        )
    key, *others = (cells[place].strip() for place in places)
    return key.lstrip("0"), *others


def _emotion(cell: str, where: str) -> str:
    """Read an emotion by its number or by its name."""
    numbered = {str(number): emotion for number, emotion in enumerate(EMOTIONS, start=1)}
    if (emotion := numbered.get(cell, cell.lower())) in EMOTIONS:
        return emotion
    raise ManifestError(f"{where} has EMOT {cell!r}; ISEAR has 1 to {len(EMOTIONS)} ({', '.join(EMOTIONS)})")
