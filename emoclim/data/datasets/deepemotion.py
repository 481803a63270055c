"""Read FI, or DeepEmotion: photos of Flickr and Instagram with one of eight emotions.

Conventions: a photo is known by its path inside the folder. Photos that their owners took back are often there as a
picture that says so; it is left out.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words, only_file
from emoclim.data.items.item import Item
from emoclim.data.labels.taxonomy import IMAGE_EMOTIONS
from emoclim.data.listing import list_files, of_modality
from emoclim.data.tables import Table, read_table
from emoclim.errors import ManifestError

# "This photo is no longer available", as Flickr has served it in place of a deleted photo for years: 2,051 bytes of PNG
FLICKR_PLACEHOLDER, FLICKR_SIZE = "880a7a58e05d3e83797f27573bb6d35c", 2051
MIN_AGREE = 3  # of five: as the photos of the data set were chosen
TABLES = (".csv", ".tsv")

DESCRIPTION = Description(
    modality="image",
    about="FI, or DeepEmotion: photos of Flickr and Instagram with one of eight emotions",
    what=(
        "23,308 photos found by eight words of emotion, each confirmed by at least three of five people. Many are no "
        "longer there: Emo-CLIM had 21,829."
    ),
    licence="for research; each photo: of who took it",
    citation=(
        "Q. You, J. Luo, H. Jin, J. Yang, Building a large scale dataset for image emotion recognition: the fine print "
        "and the benchmark, AAAI 2016"
    ),
    source="https://qzyou.github.io/ (by request to the authors)",
    layouts=(
        "<emotion>/**/<photo>, a folder for each of the eight",
        "the authors' lists (CSV: address of each photo, emotion, numbers of people who agree and disagree) and the "
        "photos, called as in their address, in <emotion>/ or anywhere",
    ),
    labels=IMAGE_EMOTIONS,
    published={
        "You et al.": dict(zip(IMAGE_EMOTIONS, (4942, 3151, 5374, 2963, 1266, 1658, 1032, 2922), strict=True)),
        "Emo-CLIM's code": dict(zip(IMAGE_EMOTIONS, (4724, 2881, 5130, 2725, 1176, 1591, 969, 2633), strict=True)),
    },
    max_missing=0.5,
)


class Listed(NamedTuple):
    """A row of the authors' lists: a photo's name without suffix, its emotion, and what people said, if it is told."""

    name: str
    emotion: str
    agree: int | None
    disagree: int | None


def prepare(folder: Path) -> Prepared:
    """Make an item of each photo that is still there."""
    paths = list_files(folder)
    pictures = of_modality(paths, "image")
    lists = [read_table(folder / path) for path in paths if PurePosixPath(path).suffix.lower() in TABLES]
    rows = list(dict.fromkeys(row for table in lists for row in _listed(table)))
    emotions = {row.emotion for row in rows} or {emotion for path in pictures if (emotion := _emotion_of(path))}
    if lacking := [emotion for emotion in IMAGE_EMOTIONS if emotion not in emotions]:
        what = "its lists have no photo" if rows else "it has no list with addresses, and no folder with photos"
        raise ManifestError(f"{folder} is not all of deepemotion: {what} of {lacking[0]}; found {in_words(paths)}")
    untold = sum(row.agree is None for row in rows)
    if rows:
        found, left_out = _match(folder, rows, pictures)
    else:
        found = {path: Listed(path, emotion, None, None) for path in pictures if (emotion := _emotion_of(path))}
        left_out = [LeftOut(path, "unused", "in no emotion's folder") for path in pictures if path not in found]
    gone = _placeholders(folder, found)
    left_out += [LeftOut(path, "missing", "a picture instead says that it is no longer available") for path in gone]
    kept = {path: row for path, row in found.items() if path not in gone}
    votes = {
        name: {path: str(count) for path, row in kept.items() if (count := getattr(row, name)) is not None}
        for name in ("agree", "disagree")
    }
    items = tuple(Item(path, folder / path, label=row.emotion) for path, row in kept.items())
    notes = (f"the lists do not tell for {untold:,} photos how many agree; all of them are kept",) if untold else ()
    columns = {name: told for name, told in votes.items() if told}
    return Prepared("image", items, tuple(left_out), columns=columns, notes=notes)


def _emotion_of(path: str) -> str | None:
    """Return the emotion whose folder a file is in."""
    return next((part.lower() for part in PurePosixPath(path).parts[:-1] if part.lower() in IMAGE_EMOTIONS), None)


def _listed(table: Table) -> list[Listed]:
    """Read the rows of a list, which may have no header; none if it is no list of addresses."""
    bare = any(_is_address(cell) for cell in table.columns)
    names = () if bare else tuple(name.lower() for name in table.columns)
    rows = [*([table.columns] if bare else []), *(row for _, row in table.rows)]
    address = next((place for place, cell in enumerate(rows[0]) if _is_address(cell)), None) if rows else None
    if address is None:
        return []
    if any(len(row) != len(table.columns) or not _is_address(row[address]) for row in rows):
        raise ManifestError(f"{table.source} has rows without the address of a photo; fetch the list again")
    emotions = _emotions(table, rows)
    agree, disagree = _votes(rows, names)
    return [
        Listed(
            PurePosixPath(urlsplit(row[address].strip()).path).stem.lower(),
            emotion,
            None if agree is None else int(row[agree]),
            None if disagree is None else int(row[disagree]),
        )
        for row, emotion in zip(rows, emotions, strict=True)
    ]


def _emotions(table: Table, rows: Sequence[Sequence[str]]) -> list[str]:
    """Find the emotion of each row: in a column, or in the name of the list."""
    for column in zip(*rows, strict=True):
        emotions = [cell.strip().lower() for cell in column]
        if set(emotions) <= set(IMAGE_EMOTIONS):
            return emotions
    named = [emotion for emotion in IMAGE_EMOTIONS if emotion in table.source.stem.lower()]
    if len(named) != 1:
        raise ManifestError(
            f"{table.source} names none of the eight emotions ({', '.join(IMAGE_EMOTIONS)}), in a column (it has: "
            f"{table.named()}) or in its own name; fetch the list again"
        )
    return named * len(rows)


def _is_address(cell: str) -> bool:
    return cell.strip().lower().startswith(("http://", "https://"))


def _votes(rows: Sequence[Sequence[str]], names: Sequence[str]) -> tuple[int | None, int | None]:
    """Find the columns that count who agrees and disagrees; without names, most people agree."""
    counts = [place for place in range(len(rows[0])) if all(re.fullmatch(r"\s*[0-5]\s*", row[place]) for row in rows)]
    if names:
        against = next((place for place in counts if "disagree" in names[place]), None)
        return next((place for place in counts if place != against and "agree" in names[place]), None), against
    for agree, disagree in (counts, counts[::-1]) if len(counts) == 2 else ():
        if sum(int(row[agree]) for row in rows) > sum(int(row[disagree]) for row in rows):
            return agree, disagree
    return None, None


def _match(folder: Path, rows: Iterable[Listed], pictures: Iterable[str]) -> tuple[dict[str, Listed], list[LeftOut]]:
    """Match pictures to rows; also return what is not there, not listed or not agreed on."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in pictures:
        by_name[PurePosixPath(path).stem.lower()].append(path)
    claims: dict[str, list[Listed]] = {}
    left_out: list[LeftOut] = []
    for row in rows:
        own = [path for path in by_name[row.name] if _emotion_of(path) == row.emotion]
        own = own or [path for path in by_name[row.name] if _emotion_of(path) is None]
        if photo := only_file(folder, own, "photo"):
            claims.setdefault(photo, []).append(row)
        else:
            left_out.append(LeftOut(f"{row.emotion}/{row.name}", "missing", "not in the folder"))
    found = {}
    for path, listed in claims.items():
        if len({row.emotion for row in listed}) > 1:
            left_out.append(LeftOut(path, "unused", "listed with several emotions"))
        elif listed[0].agree is not None and listed[0].agree < MIN_AGREE:
            left_out.append(LeftOut(path, "unused", f"fewer than {MIN_AGREE} agree with its emotion"))
        else:
            found[path] = listed[0]
    others = (path for same in by_name.values() for path in same if path not in claims)
    return found, left_out + [LeftOut(path, "unused", "in no list") for path in others]


def _placeholders(folder: Path, paths: Iterable[str]) -> set[str]:
    """Find the pictures that only say that a photo is gone.

    These are Flickr's picture, by its bytes; and any bytes that more files share than there are emotions: a photo was
    found at most once for each, so that whatever is there more often was put in the place of photos.
    """
    there = [path for path in paths if (folder / path).exists()]  # a link to nothing is told as missing later
    sizes = {path: (folder / path).stat().st_size for path in there}
    of_size = Counter(sizes.values())
    digests = {
        path: hashlib.md5((folder / path).read_bytes(), usedforsecurity=False).hexdigest()
        for path, size in sizes.items()
        if size and (size == FLICKR_SIZE or of_size[size] > len(IMAGE_EMOTIONS))
    }
    alike = Counter(digests.values())
    return {
        path for path, digest in digests.items() if digest == FLICKR_PLACEHOLDER or alike[digest] > len(IMAGE_EMOTIONS)
    }
