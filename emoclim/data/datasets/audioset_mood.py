"""Read AudioSet's music by mood: 10 s clips of YouTube videos with one of seven moods.

Conventions: a clip is known as ``<video>_<start>``, in seconds; a list of segments has lines such as
``--aE2O5G5WE, 0.000, 10.000, "/m/03fwl,/m/04rlf"`` below three that begin with ``#``.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import find_table, in_words, only_file
from emoclim.data.items.item import Item
from emoclim.data.labels.taxonomy import MUSIC_EMOTIONS
from emoclim.data.listing import list_files, of_modality
from emoclim.data.media.text import read_text
from emoclim.errors import ManifestError

LIKE_MOODS = "/t/dd0003"
MOODS = {f"{LIKE_MOODS}{number}": mood for number, mood in enumerate(MUSIC_EMOTIONS, start=1)}
SUBSETS = {"unbalanced_train": "train", "balanced_train": "val", "eval": "test"}
LISTED = re.compile(r'([\w-]{11}), *(\d+(?:\.\d+)?), *\d+(?:\.\d+)?, *"([^"]+)"')
PARTS = re.compile(r"(?:_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?)?")
VIDEO = 11

DESCRIPTION = Description(
    modality="audio",
    about="AudioSet's music by mood: 10 s clips of YouTube videos with one of seven moods",
    what=(
        "Clips of AudioSet to which people gave exactly one of seven moods. Videos vanish: Won et al. (ISMIR 2021) had "
        "16,995 clips, Emo-CLIM (ICASSP 2024) 13,713. Won et al. take 16,104 to learn and 540 to test; which ones, is "
        "not in their repository but in lists on Dropbox, and that split is not offered here."
    ),
    licence="lists: CC BY 4.0; recordings: of those who uploaded them",
    citation="J. F. Gemmeke et al., Audio Set: an ontology and human-labeled dataset for audio events, ICASSP 2017",
    source="https://research.google.com/audioset/download.html (lists of segments); the clips are yours to obtain",
    layouts=(
        "unbalanced_train_segments.csv, balanced_train_segments.csv, eval_segments.csv: those that there are, anywhere",
        "<video>_<start>.<wav, flac, mp3 ...>, anywhere; or <video>_<start>_<end>, or <video>; perhaps with a Y before",
    ),
    labels=MUSIC_EMOTIONS,
    published={"Emo-CLIM's code": dict(zip(MUSIC_EMOTIONS, (1152, 895, 1385, 3358, 4576, 946, 1401), strict=True))},
    splits={"audioset": "AudioSet's own subsets, unbalanced_train to learn, balanced_train to choose, eval to test"},
    split_sizes={"audioset": {"val": 401, "test": 403}},  # as listed in 2017
    max_missing=0.5,
)


class Segment(NamedTuple):
    """A line of a list: the clip's name, its video and start in seconds, and the moods it has."""

    id: str
    video: str
    start: float
    moods: tuple[str, ...]


def prepare(folder: Path) -> Prepared:
    """Make an item of each clip that is listed with exactly one mood."""
    paths = list_files(folder)
    lists = {subset: find_table(folder, paths, f"{subset}_segments.csv") for subset in SUBSETS}
    if not any(lists.values()):
        raise ManifestError(
            f"{folder} has none of AudioSet's lists ({', '.join(f'{subset}_segments.csv' for subset in SUBSETS)}); "
            f"found {in_words(paths)}"
        )
    segments = {subset: _segments(path) for subset, path in lists.items() if path}
    clips, notes = _clips(folder, of_modality(paths, "audio"), [one for listed in segments.values() for one in listed])
    notes += [f"no clip of {subset}: there is no {subset}_segments.csv" for subset in SUBSETS if not lists[subset]]
    items: list[Item] = []
    left_out: list[LeftOut] = []
    parts: dict[str, str] = {}
    for subset, listed in segments.items():
        for one in listed:
            if len(one.moods) > 1:
                left_out.append(LeftOut(one.id, "unused", "several moods"))
            elif one.id not in clips:
                left_out.append(LeftOut(one.id, "missing", f"not in the folder, but in the list of {subset}"))
            else:
                items.append(Item(one.id, folder / clips[one.id], label=one.moods[0]))
                parts[one.id] = subset
    split = {id_: SUBSETS[subset] for id_, subset in parts.items()}
    return Prepared("audio", tuple(items), tuple(left_out), {"audioset": split}, {"subset": parts}, tuple(notes))


def _segments(path: Path) -> list[Segment]:
    """Read the lines of a list that have a mood; a list has millions, so that only these are parsed."""
    found, n_lines = [], 0
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.startswith("#") or not line.strip():
            continue
        n_lines += 1
        if n_lines > 1 and LIKE_MOODS not in line:
            continue
        if not (match := LISTED.fullmatch(line.strip())):
            raise ManifestError(
                f"line {number} of {path} is {line.strip()[:60]!r}, where AudioSet's lists of 2017 have video, "
                "start, end and labels in quotation marks; fetch the list again"
            )
        video, start, labels = match.groups()
        moods = tuple(MOODS[label] for label in labels.split(",") if label in MOODS)
        if moods:
            found.append(Segment(f"{video}_{float(start):g}", video, float(start), moods))
    if not found:
        raise ManifestError(f"{path} lists {n_lines} segments and no music with a mood; fetch the list again")
    return found


def _clips(folder: Path, paths: Iterable[str], segments: Sequence[Segment]) -> tuple[dict[str, str], list[str]]:
    """Find the file of each segment, by the segment's name; also return notes on the other files."""
    by_video = {one.video: one for one in segments}
    clips: dict[str, list[str]] = {}
    others, shifted = 0, []
    for path in paths:
        stem = PurePosixPath(path).stem
        name = stem if stem[:VIDEO] in by_video else stem.removeprefix("Y")
        segment, parts = by_video.get(name[:VIDEO]), PARTS.fullmatch(name[VIDEO:])
        if segment is None or parts is None:
            others += 1
        elif parts[1] is None or float(parts[1]) in (segment.start, 1000 * segment.start):  # seconds or milliseconds
            clips.setdefault(segment.id, []).append(path)
        else:
            shifted.append(path)
    notes = [f"left out {others:,} audio files that are in no list with a mood"] if others else []
    if shifted:
        notes.append(f"left out {len(shifted)} clips that start elsewhere than AudioSet's ({shifted[0]}, for one)")
    return {id_: str(only_file(folder, found, "clip")) for id_, found in clips.items()}, notes
