"""Read the Mid-level Perceptual Features data set: 15 s of music each, rated by listeners in seven ways.

Conventions: an excerpt is known by its ``song id``; excerpts of one artist are a group. Ratings stay in the scale that
they are published in: what learns them brings them to -1 to 1 by its own training split.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import one_of_each, require_table
from emoclim.data.items.item import Item
from emoclim.data.listing import list_files, of_modality
from emoclim.data.tables import Table, finite_number
from emoclim.errors import ManifestError

METADATA, ANNOTATIONS = "metadata.csv", "annotations.csv"
EXCERPTS = 5000
# Names of ratings, and what else their columns may be called: other versions and the papers differ in these
RATINGS: Mapping[str, tuple[str, ...]] = {
    "melodiousness": ("melody",),
    "articulation": (),
    "rhythm complexity": ("rhythmic complexity",),
    "rhythm stability": ("rhythmic stability",),
    "dissonance": (),
    "tonal stability": ("tonality",),
    "minorness": ("modality", "mode"),
}

DESCRIPTION = Description(
    modality="audio",
    about="15 s excerpts of music, rated in seven mid-level perceptual features",
    what=(
        "5,000 excerpts of 15 s, of which listeners rated how melodious, articulated, complex and stable in rhythm, "
        "dissonant, stable in tonality and minor they are."
    ),
    licence="annotations: as stated where they are published; the music: of those who made it",
    citation=(
        "A. Aljanaki, M. Soleymani, A data-driven approach to mid-level perceptual musical feature modeling, ISMIR 2018"
    ),
    source="https://osf.io/5aupt (metadata_annotations and audio)",
    layouts=(
        f"{METADATA} (columns song id and Artist) and {ANNOTATIONS} (song_id and seven ratings), anywhere",
        "<song id>.mp3, or in another format (wav, flac), anywhere",
    ),
    default_split="84-8-8",
)


def prepare(folder: Path) -> Prepared:
    """Make an item of each excerpt that is rated."""
    paths = list_files(folder)
    artists = _artists(require_table(folder, paths, METADATA))
    ratings = _ratings(require_table(folder, paths, ANNOTATIONS))
    sounds = of_modality(paths, "audio")
    files = one_of_each(folder, sounds, _named, "excerpt")
    items = [
        Item(id_, folder / files[id_], group=artists.get(id_), measures=own)
        for id_, own in ratings.items()
        if id_ in files
    ]
    missing = tuple(LeftOut(id_, "missing", "its sound not in the folder") for id_ in ratings if id_ not in files)
    notes = [] if len(ratings) == EXCERPTS else [f"{ANNOTATIONS} rates {len(ratings):,} excerpts, of {EXCERPTS:,}"]
    if alone := [item.id for item in items if item.group is None]:
        notes.append(f"{len(alone):,} excerpts have no artist in {METADATA}, and each is a group of its own")
    if unused := len(sounds) - len(items):
        notes.append(f"left out {unused:,} audio files of no rated excerpt, or of one that is there in another format")
    return Prepared("audio", tuple(items), missing, notes=tuple(notes))


def _named(path: PurePosixPath) -> tuple[str, str]:
    """Return the id of an excerpt, and its format."""
    return path.stem, path.suffix.lower()


def _artists(table: Table) -> dict[str, str]:
    id_, artist = _column(table, "song id"), _column(table, "artist")
    return {row[id_].strip(): row[artist].strip() for _, row in table.records(id_, artist) if row[artist].strip()}


def _ratings(table: Table) -> dict[str, dict[str, float]]:
    """Read the ratings of each excerpt, by id."""
    id_, columns = _column(table, "song id"), {name: _column(table, name, *more) for name, more in RATINGS.items()}
    found: dict[str, dict[str, float]] = {}
    for number, row in table.records(id_, *columns.values()):
        values = {name: finite_number(row[column]) for name, column in columns.items()}
        rated = {name: value for name, value in values.items() if value is not None}
        if len(rated) < len(values) or row[id_].strip() in found:
            raise ManifestError(
                f"row {number} of {table.source} has the song_id {row[id_]!r} again, or ratings that are no numbers; "
                "fetch it again"
            )
        found[row[id_].strip()] = rated
    return found


def _column(table: Table, *names: str) -> str:
    """Return the name of a column as the table has it, however its words are parted."""
    by_name = {_plain(column): column for column in table.columns}
    for name in names:
        if _plain(name) in by_name:
            return by_name[_plain(name)]
    raise ManifestError(f"{table.source} has no column {names[0]!r} (it has: {table.named()}); fetch it again")


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "", name.lower())
