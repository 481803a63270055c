"""Read the moods and themes of MTG-Jamendo: whole tracks with the tags that their uploaders gave.

Conventions: a track is known by its ``TRACK_ID``; tags stand without ``mood/theme---``; the tracks of one artist are a
group, as no artist is in two parts of a published split.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import one_of_each, require_table
from emoclim.data.items.item import Item
from emoclim.data.listing import list_files, of_modality
from emoclim.data.tables import Table
from emoclim.errors import ManifestError

TRACKS = {  # of each tag in the splits
    **{"action": 407, "adventure": 448, "advertising": 673, "background": 496, "ballad": 334, "calm": 457},
    **{"children": 456, "christmas": 623, "commercial": 428, "cool": 251, "corporate": 609, "dark": 1202, "deep": 635},
    **{"documentary": 612, "drama": 424, "dramatic": 317, "dream": 951, "emotional": 1271, "energetic": 1357},
    **{"epic": 982, "fast": 119, "film": 1502, "fun": 480, "funny": 203, "game": 261, "groovy": 194, "happy": 1657},
    **{"heavy": 156, "holiday": 176, "hopeful": 216, "inspiring": 877, "love": 909, "meditative": 742},
    **{"melancholic": 441, "melodic": 1213, "motivational": 635, "movie": 413, "nature": 259, "party": 266},
    **{"positive": 539, "powerful": 238, "relaxing": 1350, "retro": 213, "romantic": 627, "sad": 749, "sexy": 122},
    **{"slow": 437, "soft": 465, "soundscape": 480, "space": 503, "sport": 297, "summer": 505, "trailer": 270},
    **{"travel": 171, "upbeat": 444, "uplifting": 693},
}
KNOWN = frozenset(TRACKS) | {"ambiental", "horror", "mellow"}  # three that are in no split
PREFIX = "mood/theme---"
TABLE = "autotagging_moodtheme.tsv"
COLUMNS = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")  # each tag in a cell of its own
PATH = re.compile(r"\d\d/\d+\.mp3")
PARTS = {"train": "train", "validation": "val", "test": "test"}
SPLITS = tuple(f"split-{number}" for number in range(5))

DESCRIPTION = Description(
    modality="audio",
    about="moods and themes of whole tracks of Jamendo, as their uploaders gave them",
    what=(
        "18,486 tracks, 152 GB, with 59 tags, of which 56 are in the splits (some papers say 57), and with them 17,982 "
        "tracks, which are kept. The data of MediaEval's tasks on emotion and theme, and of VCMR (ICASSP 2023)."
    ),
    licence="tags: CC BY-NC-SA 4.0; each track: a Creative Commons licence of its own (audio_licenses.txt)",
    citation=(
        "D. Bogdanov, M. Won, P. Tovstogan, A. Porter, X. Serra, The MTG-Jamendo dataset for automatic music tagging, "
        "ICML 2019 workshop on machine learning for music discovery"
    ),
    source=(
        "https://github.com/MTG/mtg-jamendo-dataset (its data/, and scripts/download/download.py --dataset "
        "autotagging_moodtheme --type audio, or audio-low)"
    ),
    layouts=(
        f"{TABLE} and split-<0 to 4>/autotagging_moodtheme-<train, validation, test>.tsv, anywhere: the repository",
        "<00 to 99>/<track>.mp3 below any one folder; or <track>.low.mp3, or another format (wav, flac)",
    ),
    labels=tuple(TRACKS),
    published={"Bogdanov et al.": TRACKS},
    splits={name: f"{name} of the authors, in which no artist is in two parts" for name in SPLITS},
    split_sizes={"split-0": {"train": 9_949, "val": 3_802, "test": 4_231}},
    default_split="split-0",
    max_missing=0.01,
)


def prepare(folder: Path) -> Prepared:
    """Make an item of each track with a tag that is in the splits."""
    paths = list_files(folder)
    table = require_table(folder, paths, TABLE)
    source = table.source
    splits = {name: _split(folder, paths, name) for name in SPLITS}
    sounds = of_modality(paths, "audio")
    files, listed = one_of_each(folder, sounds, _named, "track"), set()
    items: list[Item] = []
    left_out: list[LeftOut] = []
    for number, row in table.rows:
        _check_row(table, number, row)
        id_, artist, _, path, _, *cells = row
        tags = _tags(cells, f"row {number} of {source}")
        file = files.get(path.removesuffix(".mp3"))
        listed.add(file)
        if not tags:
            left_out.append(LeftOut(id_, "unused", "has no tag that is in the splits"))
        elif file is None:
            left_out.append(LeftOut(id_, "missing", "its mp3 not in the folder"))
        else:
            items.append(Item(id_, folder / file, tags=tags, group=artist))
    known = {item.id for item in items}.union(one.id for one in left_out)
    for name, placed in splits.items():
        if strange := sorted(placed.keys() - known):
            raise ManifestError(
                f"{name} has {len(strange)} tracks that {source} does not list ({strange[0]}, for one); fetch both of "
                "one version"
            )
    unused = len(sounds) - len(listed - {None})
    told = f"left out {unused:,} audio files of no listed track, or of one that is there in another format"
    return Prepared("audio", tuple(items), tuple(left_out), splits, notes=(told,) if unused else ())


def _check_row(table: Table, number: int, row: Sequence[str]) -> None:
    if table.columns != COLUMNS or len(row) < len(COLUMNS) or not PATH.fullmatch(row[3]):
        raise ManifestError(
            f"row {number} of {table.source} begins {', '.join(row[:4])!r} (columns: {table.named()}), where {TABLE} "
            f"has {', '.join(COLUMNS)} with a path like 48/948.mp3; fetch it again"
        )


def _tags(cells: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the tags that are in the splits, in the order of all."""
    tags = {cell.removeprefix(PREFIX) for cell in cells if cell.startswith(PREFIX)}
    strange = [cell for cell in cells if cell and cell.removeprefix(PREFIX) not in KNOWN]
    if strange or not tags:
        raise ManifestError(
            f"{where} has tag {strange[0] if strange else ''!r}, where {TABLE} has one or more of 59 that begin with "
            f"{PREFIX}; fetch it again"
        )
    return tuple(tag for tag in TRACKS if tag in tags)


def _split(folder: Path, paths: Sequence[str], name: str) -> dict[str, str]:
    """Read a published split: part by track."""
    placed: dict[str, str] = {}
    for part, meant in PARTS.items():
        table = require_table(folder, paths, f"{name}/autotagging_moodtheme-{part}.tsv")
        for number, row in table.rows:
            if placed.setdefault(row[0], meant) != meant:
                raise ManifestError(f"row {number} of {table.source} is in another part of {name}; fetch it again")
    return placed


def _named(path: PurePosixPath) -> tuple[str, str]:
    """Return the folder and name of a track, and its format: ``mp3`` or ``low.mp3``, for example."""
    name, _, kind = path.name.partition(".")
    return f"{path.parent.name}/{name}", kind.lower()
