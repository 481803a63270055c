"""Background sounds: the sound files of a folder, checked before anything is mixed with them.

Convention: their order is that of their contents, so that neither names nor places decide what is drawn.
"""

import hashlib
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from emoclim.data import ContentKeys, read_manifest
from emoclim.errors import ConfigError, DecodeError, ManifestError
from emoclim.modality import Modality
from emoclim.progress import Track

log = logging.getLogger(__name__)

TAKEN = frozenset(".wav .flac .ogg .opus .mp3 .aif .aiff".split())  # what audiomentations decodes without FFmpeg
SILENCE = 1e-9  # of full scale
BLOCK = 65_536  # frames


@dataclass(frozen=True, slots=True)
class Backgrounds:
    """Sounds to be mixed into others."""

    files: tuple[Path, ...]
    digest: str  # 12 hex digits of all contents


def read_backgrounds(
    folder: Path, modality: Modality, sample_rate: int, seconds: float, keys: ContentKeys, track: Track
) -> Backgrounds:
    """Find and check the sounds in a folder and below it; hidden files and files that are no sound are passed over."""
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder} of background sounds; name another")
    try:
        items = read_manifest(folder, modality, unlabelled=True).items
    except ManifestError as error:
        raise ConfigError(f"folder {folder} holds no background sound; add some, or name another") from error
    contents: dict[Path, str] = {}
    others, silent = [], []
    for item in track(items, description="Checking background sounds", total=len(items)):
        path = folder / item.id
        try:
            contents[path] = keys(item)
            rate, is_silent = _inspect(path, seconds)
        except (DecodeError, sf.SoundFileError) as error:
            reason = str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
            raise ConfigError(
                f"background sound {path} cannot be decoded ({reason}); mend it or take it out of its folder"
            ) from error
        others += [path] if rate != sample_rate else []
        silent += [path] if is_silent else []
    for found, told in (
        (others, f"are not at {sample_rate} Hz, and resampled for every crop: convert them to train faster"),
        (silent, "are silent and add nothing"),
    ):
        if found:
            log.warning("%d of %d background sounds (%s first) %s", len(found), len(items), found[0], told)
    files = sorted(contents, key=lambda path: contents[path])
    digest = hashlib.sha256(json.dumps(sorted(contents.values())).encode()).hexdigest()[:12]
    return Backgrounds(tuple(files), digest)


def _inspect(path: Path, seconds: float) -> tuple[int, bool]:
    """Hz of a sound, and whether it is silent from beginning to end when mixed to mono."""
    if path.suffix.lower() not in TAKEN:
        raise DecodeError(f"it is none of {', '.join(sorted(TAKEN))}")
    with sf.SoundFile(path) as file:
        file.seek(max(0, file.frames - math.ceil(seconds * file.samplerate)))  # where the last excerpt begins
        if not len(file.read(BLOCK)):
            raise DecodeError("it ends before its header says, or is empty")
        file.seek(0)
        for block in file.blocks(BLOCK, dtype="float32", always_2d=True):
            peak = np.abs(block.mean(axis=1)).max()
            if not np.isfinite(peak):
                raise DecodeError("it holds samples that are not finite")
            if peak > SILENCE:
                return file.samplerate, False
        return file.samplerate, True
