"""Read Con Espressione: performances of nine piano pieces, and how listeners described their character.

Conventions: a performance is known by its ``performance_name``; the performances of one piece are a group. Recordings
and descriptions have the same ids, so that they can be paired. Terms of several words stand without ``_``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words, require_table
from emoclim.data.listing import list_files, of_modality
from emoclim.data.manifest import Item
from emoclim.data.tables import Table
from emoclim.errors import ConfigError, ManifestError
from emoclim.modality import Modality

PIECES = {  # how many performances each has
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
COLUMNS = ("answer_id", "answer", "piece_name", "performer", "performance_name")
KINDS = ("recordings", "descriptions", "answers")

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
    options={
        "items": "recordings of the performances; descriptions, a text of all answers for each; or answers, a text each"
    },
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


class Answer(NamedTuple):
    """What one listener said of one performance."""

    id: str
    text: str
    piece: str
    performer: str
    performance: str


def prepare(folder: Path, *, items: str = "recordings") -> Prepared:
    """Make an item of each performance, or of each answer.

    Notes
    -----
    S. Chowdhury, G. Widmer, "Expressivity-aware Music Performance Retrieval using Mid-level Perceptual Features and
    Emotion Word Embeddings", 2023: all answers joined, and one piece left out at a time.
    """
    if items not in KINDS:
        raise ConfigError(f"items are {', '.join(KINDS)}, not {items!r}")
    paths = list_files(folder)
    answers = _read_answers(require_table(folder, paths, ANSWERS))
    performances = {answer.performance: answer for answer in answers}
    sounds = of_modality(paths, "audio")
    notes = _notes(performances.values())
    if items == "recordings":
        found, left_out = _recordings(folder, sounds, performances)
        if unused := len(sounds) - len(found):
            notes += (f"left out {unused:,} audio files of no listed performance",)
    elif items == "descriptions":
        found, left_out = _descriptions(answers), []
    else:
        found = [Item(answer.id, text=answer.text, group=answer.piece) for answer in answers if answer.text]
        left_out = [LeftOut(answer.id, "unused", "says nothing") for answer in answers if not answer.text]
    columns = {"performer": {item.id: performances[item.id.partition("/")[0]].performer for item in found}}
    modality: Modality = "audio" if items == "recordings" else "text"
    return Prepared(modality, tuple(found), tuple(left_out), _splits(found), columns, notes)


def _read_answers(table: Table) -> list[Answer]:
    """Read the table of answers; an answer's id is the performance's name and its own number."""
    places = table.places(*COLUMNS)
    answers = []
    for number, row in table.rows:
        if len(row) != len(table.columns) or row[places["piece_name"]] not in PIECES:
            piece = row[places["piece_name"]] if len(row) == len(table.columns) else ""
            raise ManifestError(
                f"row {number} of {table.source} has {len(row)} cells and piece_name {piece!r}, where {ANSWERS} has "
                f"{len(table.columns)} and one of {', '.join(PIECES)}; fetch it again"
            )
        id_, answer, piece, performer, performance = (row[places[name]].strip() for name in COLUMNS)
        text = " ".join(answer.replace("_", " ").split())
        answers.append(Answer(f"{performance}/{id_}", text, piece, performer, performance))
    if not answers:
        raise ManifestError(f"{table.source} has no rows; fetch it again")
    return answers


def _recordings(
    folder: Path, paths: Sequence[str], performances: Mapping[str, Answer]
) -> tuple[list[Item], list[LeftOut]]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[PurePosixPath(path).stem.lower()].append(path)
    items, left_out = [], []
    for name, answer in performances.items():
        own = by_name[name.lower()] + by_name[f"{answer.piece}_{answer.performer}".lower()]
        if len(own) > 1:
            raise ManifestError(f"{folder} has two files of one performance ({own[0]} and {own[1]}); keep one of each")
        if own:
            items.append(Item(name, folder / own[0], group=answer.piece))
        else:
            left_out.append(LeftOut(name, "missing", "its recording not in the folder"))
    if not items:
        first = next(iter(performances.values()))
        raise ManifestError(
            f"{folder} has none of the {len(performances)} recordings, such as {first.performance}.wav or "
            f"{first.piece}_{first.performer}.mp3; found {in_words(paths)}; add them, or take what listeners said: "
            "--option items=descriptions"
        )
    return items, left_out


def _descriptions(answers: Iterable[Answer]) -> list[Item]:
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for answer in answers:
        if answer.text:
            said[answer.performance, answer.piece].append(answer.text)
    return [Item(name, text=", ".join(texts), group=piece) for (name, piece), texts in said.items()]


def _splits(items: Iterable[Item]) -> dict[str, dict[str, str]]:
    pieces = {item.id: str(item.group) for item in items}
    folds = {
        f"fold-{left}": {id_: "test" if piece == left else "train" for id_, piece in pieces.items()} for left in PIECES
    }
    return {"all": dict.fromkeys(pieces, "test"), **folds}


def _notes(performances: Iterable[Answer]) -> tuple[str, ...]:
    counts = Counter(answer.piece for answer in performances)
    other = [f"{piece} {counts[piece]} of {count}" for piece, count in PIECES.items() if counts[piece] != count]
    return (f"not all performances are in {ANSWERS}: {', '.join(other)}",) if other else ()
