"""Generate a corpus: computed pictures and music, each with the emotion it was made for.

Convention: the labels are those of the two published taxonomies. A few pictures of awe and disgust and a few tender
pieces are among them, which have no partner in the other modality. Emotions share cues, so that none is told without
error. Same seed, same bytes; item n of a label is the same in a corpus of any size.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from emoclim.data.generated.music import SAMPLE_RATE, STYLES, compose
from emoclim.data.generated.pictures import LOOKS, paint
from emoclim.data.tables import table_bytes
from emoclim.errors import ConfigError
from emoclim.progress import Track, silent

WITHOUT_PARTNER = frozenset({"awe", "disgust", "tender"})
SPLITS = ("train", "test", "train", "val", "train")  # of every five pictures, or works, of a label
EXCERPTS = 2
LEAST_PICTURES, LEAST_PIECES = 4, 8  # per label, for it to be in every split
PICTURE, WORK, EXCERPT = range(3)  # streams of random numbers

Row = dict[str, str]


def generate(
    folder: Path, *, seed: int = 0, pictures_per_label: int = 20, pieces_per_label: int = 16, track: Track = silent
) -> tuple[Path, Path]:
    """Write a corpus: PNG pictures, FLAC excerpts of ten seconds, and a CSV of each."""
    if seed < 0 or pictures_per_label < LEAST_PICTURES or pieces_per_label < LEAST_PIECES:
        raise ConfigError(
            f"cannot generate {pictures_per_label} pictures and {pieces_per_label} pieces per label from seed {seed}; "
            f"ask for at least {LEAST_PICTURES} and {LEAST_PIECES}, with a seed of 0 or more"
        )
    pictures = _numbered(LOOKS, pictures_per_label)
    pieces = _numbered(STYLES, pieces_per_label)
    images = [_write_picture(folder, seed, *which) for which in track(pictures, "pictures", len(pictures))]
    audio = [_write_piece(folder, seed, *which) for which in track(pieces, "pieces of music", len(pieces))]
    return _write_csv(folder / "images.csv", images), _write_csv(folder / "audio.csv", audio)


def _numbered(labels: Iterable[str], per_label: int) -> list[tuple[int, str, int]]:
    """Position of each label, the label, and the number of each of its items."""
    counts = {label: per_label // 4 if label in WITHOUT_PARTNER else per_label for label in labels}
    return [(place, label, n) for place, (label, count) in enumerate(counts.items()) for n in range(count)]


def _write_picture(folder: Path, seed: int, place: int, label: str, number: int) -> Row:
    path = folder / "images" / label / f"{number:03}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    paint(label, np.random.default_rng([seed, PICTURE, place, number])).save(path, compress_level=1)
    return {"path": path.relative_to(folder).as_posix(), "label": label, "split": SPLITS[number % len(SPLITS)]}


def _write_piece(folder: Path, seed: int, place: int, label: str, number: int) -> Row:
    work, part = divmod(number, EXCERPTS)
    path = folder / "audio" / label / f"{work:03}-{part}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    shared = np.random.default_rng([seed, WORK, place, work])
    own = np.random.default_rng([seed, EXCERPT, place, work, part])
    soundfile.write(path, compose(label, shared, own), SAMPLE_RATE, subtype="PCM_16")
    split = SPLITS[work % len(SPLITS)]
    return {"path": path.relative_to(folder).as_posix(), "label": label, "split": split, "group": f"{label} {work:03}"}


def _write_csv(path: Path, rows: list[Row]) -> Path:
    path.write_bytes(table_bytes(list(rows[0]), [list(row.values()) for row in rows], path.suffix))
    return path
