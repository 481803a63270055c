"""Read MusicCaps: 10 s clips of YouTube videos, and how musicians described them.

Conventions: a clip is known as ``<video>_<start>``, in seconds, as in AudioSet, which all are of. Recordings and
descriptions have the same ids, so that they can be paired.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words, only_file, require_table
from emoclim.data.items.item import Item
from emoclim.data.listing import list_files, of_modality
from emoclim.data.tables import Table, finite_number
from emoclim.errors import ManifestError
from emoclim.modality import Modality

TABLE = "musiccaps-public.csv"
COLUMNS = ("ytid", "start_s", "aspect_list", "caption", "is_balanced_subset", "is_audioset_eval")
VIDEO = re.compile(r"[\w-]{11}")
CLIP = re.compile(r"Y?\[?([\w-]{11})\]?(?:[-_]\[?(\d+(?:\.\d+)?)(?:[-_]\d+(?:\.\d+)?)?\]?)?")  # as it is saved
FLAGS = {"true": True, "1": True, "false": False, "0": False}

DESCRIPTION = Description(
    modality="audio",
    about="10 s clips of YouTube videos, and how musicians described them",
    what=(
        "5,521 clips of AudioSet that ten musicians described in a few sentences each, with a list of aspects. Videos "
        "vanish, and the recordings are not published with it."
    ),
    licence="descriptions: CC BY-SA 4.0; recordings: of those who uploaded them",
    citation="A. Agostinelli et al., MusicLM: generating music from text, arXiv 2301.11325, 2023",
    source="https://huggingface.co/datasets/google/MusicCaps (descriptions); the clips are yours to obtain",
    layouts=(
        f"{TABLE}, anywhere",
        "<video>_<start>.<wav, flac, mp3 ...>, anywhere; or [<video>]-[<start>-<end>], or <video>; descriptions need "
        "none",
    ),
    options={"items": "recordings of the clips; or descriptions, the text of each"},
    splits={"audioset": "AudioSet's own: of its training parts to learn, of its evaluation to test"},
    split_sizes={"audioset": {"train": 2_663, "test": 2_858}},
    default_split="audioset",
    max_missing=0.5,
)


class Clip(NamedTuple):
    """A row of the table."""

    start: float
    video: str
    caption: str
    aspects: str
    balanced: bool
    tested: bool


def prepare(folder: Path, *, items: Literal["recordings", "descriptions"] = "recordings") -> Prepared:
    """Make an item of each clip."""
    paths = list_files(folder)
    clips = _read_clips(require_table(folder, paths, TABLE))
    found: list[Item]
    if items == "recordings":
        files, notes = _files(folder, of_modality(paths, "audio"), clips)
        found = [Item(id_, folder / path) for id_, path in files.items()]
        left_out = [LeftOut(id_, "missing", f"not in the folder, but in {TABLE}") for id_ in clips if id_ not in files]
        if not found:
            raise ManifestError(
                f"{folder} has none of the {len(clips):,} recordings, such as {next(iter(clips))}.wav; found "
                f"{in_words(paths)}; add them, or take what was said of them: --option items=descriptions"
            )
    else:
        notes = ()
        found = [Item(id_, text=clip.caption) for id_, clip in clips.items() if clip.caption]
        left_out = [LeftOut(id_, "unused", "nothing was said of it") for id_, one in clips.items() if not one.caption]
    kept = {item.id: clips[item.id] for item in found}
    columns = {
        "aspects": {id_: clip.aspects for id_, clip in kept.items()},
        "balanced": {id_: str(clip.balanced).lower() for id_, clip in kept.items()},
    }
    split = {id_: "test" if clip.tested else "train" for id_, clip in kept.items()}
    modality: Modality = "audio" if items == "recordings" else "text"
    return Prepared(modality, tuple(found), tuple(left_out), {"audioset": split}, columns, notes)


def _read_clips(table: Table) -> dict[str, Clip]:
    """Read the table, by the names of clips."""
    clips: dict[str, Clip] = {}
    for number, row in table.records(*COLUMNS):
        video, start, aspects, caption, *flags = map(str.strip, row.values())
        begun, (balanced, tested) = finite_number(start), (FLAGS.get(flag.lower()) for flag in flags)
        if not VIDEO.fullmatch(video) or begun is None or begun < 0 or balanced is None or tested is None:
            raise ManifestError(
                f"row {number} of {table.source} has ytid {video!r}, start_s {start!r} and flags {', '.join(flags)}, "
                "where MusicCaps has 11 letters, seconds, and True or False; fetch it again"
            )
        id_ = f"{video}_{begun:g}"
        if id_ in clips:
            raise ManifestError(f"row {number} of {table.source} has clip {id_} again; keep one of each")
        clips[id_] = Clip(begun, video, " ".join(caption.split()), ", ".join(_listed(aspects)), balanced, tested)
    if not clips:
        raise ManifestError(f"{table.source} has no rows; fetch it again")
    return clips


def _listed(cell: str) -> Sequence[str]:
    """Read a list as Python writes it; what is none is one aspect."""
    try:
        return [str(aspect) for aspect in ast.literal_eval(cell)]
    except (SyntaxError, ValueError, TypeError):
        return [cell] if cell else []


def _files(folder: Path, paths: Sequence[str], clips: dict[str, Clip]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Find the file of each clip; also return a note on the other files."""
    starts: dict[str, list[str]] = defaultdict(list)
    for id_, clip in clips.items():
        starts[clip.video].append(id_)
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        saved = CLIP.fullmatch(PurePosixPath(path).stem)
        for id_ in starts[saved[1]] if saved else ():
            if saved and (saved[2] is None or float(saved[2]) == clips[id_].start):
                found[id_].append(path)
    others = len(set(paths) - {path for own in found.values() for path in own})
    notes = (f"left out {others:,} audio files of no listed clip, or that start elsewhere",) if others else ()
    return {id_: str(only_file(folder, found[id_], "clip")) for id_ in clips if id_ in found}, notes
