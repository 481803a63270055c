"""Read music videos: clips of fifteen seconds from the middle two minutes of each, as VCMR learns from them.

Conventions: a clip is known by the video's path and its number; clips of one video are a group, and the picture and the
sound of a clip are a pair, for manifests of both modalities have equal names for it.
"""

import math
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words
from emoclim.data.items.item import Item
from emoclim.data.listing import list_folder, usable_files
from emoclim.data.media.text import read_text
from emoclim.data.media.videos.scenes import longest_scene as measure
from emoclim.data.media.videos.video import video_seconds
from emoclim.errors import DecodeError, ManifestError, name_some

LEAKING = "paper-code"
LEAKING_SHARE, LEAKING_SEED = 0.9, 42

DESCRIPTION = Description(
    modality="video",
    about="your own music videos, eight clips of 15 s from the middle of each",
    what=(
        "Music videos of your own, or those that you have of the 20,150 that VCMR lists; of each, the middle two "
        "minutes as clips of 15 s. Videos with a scene of over 30 s, which are mostly stills, are left out."
    ),
    layouts=("<file of a video>, in any folders", "<list>.txt beside them, with an id (a file's name) in each line"),
    licence="that of each video",
    citation=(
        "K. Avramidis, S. Stewart, S. Narayanan, On the role of visual context in enriching music representations, "
        "ICASSP 2023"
    ),
    source="https://github.com/klean2050/VCMR (video_list.txt: ids of YouTube; it has no files)",
    options={
        "kind": "video or audio: pictures, or sound of the same clips",
        "ids": "file in the folder with the ids of the videos to take; if not given, all",
        "middle": "seconds of the middle of each video",
        "length": "seconds of a clip",
        "longest_scene": "seconds that a scene may have; 0: scenes are not looked at",
    },
    splits={
        LEAKING: (
            "nine of ten clips are train, the others val, drawn clip by clip as VCMR's code does: clips of one video "
            "fall on both sides, so that what is measured leaks"
        )
    },
    default_split="90-10-0",
)


def prepare(
    folder: Path,
    *,
    kind: Literal["video", "audio"] = "video",
    ids: str = "",
    middle: float = 120.0,
    length: float = 15.0,
    longest_scene: float = 30.0,
) -> Prepared:
    """Make an item of each clip of each video."""
    listed = list_folder(folder)
    usable, others = usable_files(listed, "video")
    left_out = [LeftOut(path, "unused", reason) for path, reason in others.items() if path != ids]
    if ids:
        if ids not in listed.files:
            raise ManifestError(f"{folder} has no list {ids} of videos; found {in_words(listed.files)}")
        wanted = {line.strip() for line in read_text(folder / ids).splitlines() if line.strip()}
        left_out += _unwanted(usable, wanted)
        usable = [path for path in usable if PurePosixPath(path).stem in wanted]
    if not usable:
        raise ManifestError(f"{folder} has no videos{' of ' * bool(ids)}{ids}; found {in_words(listed.files)}")
    items, unread = list[Item](), list[str]()
    for path in usable:
        whole = Item(f"{path}#0", folder / path, group=path, pair=f"{path}#0")
        try:
            clips = list(_cut(whole, video_seconds(whole), middle, length))
            long = longest_scene > 0 and measure(folder / path) > longest_scene
        except DecodeError as error:  # which extraction will tell of it
            unread.append(f"{path}: {error}")
            items.append(whole)
            continue
        if long or not clips:
            reason = f"a scene of over {longest_scene:g} s" if long else f"shorter than a clip of {length:g} s"
            left_out.append(LeftOut(path, "unused", reason))
        else:
            items += clips
    told = (f"{len(unread)} videos stand whole, for they cannot be cut ({name_some(unread, 3)})",)
    return Prepared(kind, tuple(items), tuple(left_out), {LEAKING: _by_clip(items)}, notes=told if unread else ())


def _cut(whole: Item, seconds: float, middle: float, length: float) -> Iterator[Item]:
    """Cut the middle of a video into clips that begin at whole seconds of it where their length is whole."""
    if not (middle > 0 and length > 0):
        raise ManifestError(f"there are no clips of {length:g} s in {middle:g} s; give positive numbers")
    count = math.floor(min(middle, seconds) / length + 1e-6)
    first = math.floor(max(0.0, (seconds - count * length) / 2))
    for number in range(count):
        name = f"{whole.group}#{number}"
        yield Item(name, whole.path, group=whole.group, pair=name, start=first + number * length, duration=length)


def _unwanted(usable: Collection[str], wanted: Collection[str]) -> Iterator[LeftOut]:
    names = {PurePosixPath(path).stem for path in usable}
    yield from (LeftOut(path, "unused", "not listed") for path in usable if PurePosixPath(path).stem not in wanted)
    yield from (LeftOut(name, "missing", "not in the folder") for name in sorted(set(wanted) - names))


def _by_clip(items: Collection[Item]) -> dict[str, str]:
    """Draw nine of ten clips, whatever their video."""
    names = sorted(item.id for item in items)
    drawn = np.random.default_rng(LEAKING_SEED).permutation(len(names))
    return {names[place]: "train" if rank < LEAKING_SHARE * len(names) else "val" for rank, place in enumerate(drawn)}
