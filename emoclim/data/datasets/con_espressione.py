"""Read Con Espressione: performances of nine piano pieces, and how listeners described their character.

Conventions: a performance is known by its ``performance_name``; the performances of one piece are a group. Recordings
and descriptions have the same ids, so that they can be paired. Terms of several words stand without ``_``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words, only_file, require_table
from emoclim.data.items.item import Item
from emoclim.data.listing import list_files, of_modality
from emoclim.data.tables import Table
from emoclim.errors import ManifestError
from emoclim.modality import Modality

PIECES = {
    "bach": 7,
    "beethoven": 6,
    "brahms": 5,
    "liszt": 4,
    "mozart": 5,
    "schumann_arabeske_excerpt1": 4,
    "schumann_arabeske_excerpt2": 4,
    "schumann_kreisleriana_excerpt1": 5,
    "schumann_kreisleriana_excerpt2": 5,
}
PERFORMANCES = sum(PIECES.values())
ANSWERS = "con_espressione_game_answers.csv"
COLUMNS = ("answer", "piece_name", "performer", "performance_name")
Kind = Literal["recordings", "descriptions"]

DESCRIPTION = Description(
    modality="audio",
    about="performances of nine piano pieces, and how listeners described their character",
    what=(
        "45 performances of 9 excerpts by known pianists, and 1,462 answers in which listeners described them in words "
        "of their own. The recordings are not published with it."
    ),
    licence="answers: as stated where they are published; recordings: of those who made them",
    citation=(
        "C. Cancino-Chacón, S. Peter, S. Chowdhury, A. Aljanaki, G. Widmer, On the characterization of expressive "
        "performance in classical music: first results of the Con Espressione game, ISMIR 2020"
    ),
    source="https://zenodo.org/record/3968828 (answers); the recordings are yours to obtain",
    layouts=(
        f"{ANSWERS}, anywhere",
        "<performance_name>.<wav, flac, mp3 ...> or <piece_name>_<performer>.<...>, anywhere; descriptions need none",
    ),
    options={"items": "recordings of the performances; or descriptions, a text of all answers for each"},
    splits={
        "all": "all to test, for what was trained elsewhere",
        **{f"fold-{piece}": f"{piece} to test, all others to learn (Chowdhury and Widmer 2023)" for piece in PIECES},
    },
    split_sizes={
        "all": {"test": PERFORMANCES},
        **{f"fold-{piece}": {"train": PERFORMANCES - count, "test": count} for piece, count in PIECES.items()},
    },
    default_split="all",
    max_missing=0.5,
)


@dataclass
class Performance:
    """What listeners said of a performance of a piece."""

    piece: str
    performer: str
    answers: list[str] = field(default_factory=list)


def prepare(folder: Path, *, items: Kind = "recordings") -> Prepared:
    """Make an item of each performance.

    Notes
    -----
    S. Chowdhury, G. Widmer, "Expressivity-aware Music Performance Retrieval using Mid-level Perceptual Features and
    Emotion Word Embeddings", 2023: all answers joined, and one piece left out at a time.
    """
    paths = list_files(folder)
    performances = _read_answers(require_table(folder, paths, ANSWERS))
    notes = _notes(performances.values())
    found: list[Item]
    left_out: list[LeftOut]
    if items == "recordings":
        found, left_out = _recordings(folder, paths, performances)
        if unused := len(of_modality(paths, "audio")) - len(found):
            notes += (f"left out {unused:,} audio files of no listed performance",)
    else:
        said = {name: ", ".join(one.answers) for name, one in performances.items()}
        found = [Item(name, text=text, group=performances[name].piece) for name, text in said.items() if text]
        left_out = [LeftOut(name, "unused", "nothing was said of it") for name, text in said.items() if not text]
    columns = {"performer": {item.id: performances[item.id].performer for item in found}}
    modality: Modality = "audio" if items == "recordings" else "text"
    return Prepared(modality, tuple(found), tuple(left_out), _splits(found), columns, notes)


def _read_answers(table: Table) -> dict[str, Performance]:
    """Read the table of answers, by the names of performances."""
    performances: dict[str, Performance] = {}
    for number, row in table.records(*COLUMNS):
        answer, piece, performer, name = map(str.strip, row.values())
        if piece not in PIECES or not name:
            raise ManifestError(
                f"row {number} of {table.source} has piece_name {piece!r} and performance_name {name!r}, where "
                f"{ANSWERS} has one of {', '.join(PIECES)}, and a performance of it; fetch it again"
            )
        one = performances.setdefault(name, Performance(piece, performer))
        if text := " ".join(answer.replace("_", " ").split()):
            one.answers.append(text)
    if not performances:
        raise ManifestError(f"{table.source} has no rows; fetch it again")
    return performances


def _recordings(
    folder: Path, paths: Sequence[str], performances: Mapping[str, Performance]
) -> tuple[list[Item], list[LeftOut]]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in of_modality(paths, "audio"):
        by_name[PurePosixPath(path).stem.lower()].append(path)
    items, left_out = [], []
    for name, one in performances.items():
        called = by_name[name.lower()] + by_name[f"{one.piece}_{one.performer}".lower()]
        if own := only_file(folder, called, "performance"):
            items.append(Item(name, folder / own, group=one.piece))
        else:
            left_out.append(LeftOut(name, "missing", "its recording not in the folder"))
    if not items:
        name, one = next(iter(performances.items()))
        raise ManifestError(
            f"{folder} has none of the {len(performances)} recordings, such as {name}.wav or "
            f"{one.piece}_{one.performer}.mp3; found {in_words(paths)}; add them, or take what listeners said: "
            "--option items=descriptions"
        )
    return items, left_out


def _splits(items: Iterable[Item]) -> dict[str, dict[str, str]]:
    pieces = {item.id: str(item.group) for item in items}
    folds = {
        f"fold-{left}": {id_: "test" if piece == left else "train" for id_, piece in pieces.items()} for left in PIECES
    }
    return {"all": dict.fromkeys(pieces, "test"), **folds}


def _notes(performances: Iterable[Performance]) -> tuple[str, ...]:
    counts = Counter(one.piece for one in performances)
    other = [f"{piece} {counts[piece]} of {count}" for piece, count in PIECES.items() if counts[piece] != count]
    return (f"not all performances are in {ANSWERS}: {', '.join(other)}",) if other else ()
