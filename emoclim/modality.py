"""List the modalities, with everything that depends on which one it is.

The one table keyed by them, in the order of all reports. Every room reads it; it imports nothing of this package.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Modality = Literal["image", "audio", "text", "video", "speech"]
WRITTEN: Modality = "text"  # the one whose items may be words that are given, and no file
DEFAULT, BOX = "default", "box"  # presets of encoders
VIDEO = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .3gp .ts".split())
SOUND = VIDEO.union(".wav .flac .ogg .oga .mp3 .aif .aiff .au .w64 .caf .m4a .m4b .aac .opus".split())


@dataclass(frozen=True, slots=True)
class ModalityFacts:
    """What follows from a modality."""

    folder: str  # the manifest is data/<folder>.csv, the command is extract <folder>
    suffixes: frozenset[str]  # of its files, in lower case
    name: str  # in tables and pictures
    nouns: str  # what its items are called, in the plural
    encoder: str | None  # that extracts it unless another is named: of the preset DEFAULT
    box: str | None  # of the preset BOX: the encoder whose parameters packages alone give
    marker: str  # of its points in plots, as matplotlib calls them
    timed: bool  # whether an item has a length in seconds, so that it may be a part of a file
    segments: str  # what it is cut into, in the plural; empty where its segments are random views of the whole
    preview: str  # MIME type of what a page shows of an item; empty where it is only told
    dtype: str = "float32"  # of what the networks of its encoders take, as torch calls it

    def encoder_named(self, name: str | None) -> str | None:
        """Return the encoder of a preset, `default` where none is named; any other name is an encoder's own."""
        return {None: self.encoder, DEFAULT: self.encoder, BOX: self.box}.get(name, name)

    def place(self, start: float) -> str:
        """Say which segment it is by its start as features note it: in seconds, or its number from 0."""
        return f"from {start:.1f} s" if self.timed else f"no. {start + 1:.0f}"


MODALITIES: Mapping[Modality, ModalityFacts] = MappingProxyType(
    {
        "image": ModalityFacts(
            folder="images",
            suffixes=frozenset(".jpg .jpeg .png .webp .bmp .gif .tif .tiff .heic .heif .avif".split()),
            name="image",
            nouns="pictures",
            encoder="clip",
            box="efficientnet_lite0",
            marker="o",
            timed=False,
            segments="",
            preview="image/jpeg",
        ),
        "audio": ModalityFacts(
            folder="audio",
            suffixes=SOUND,
            name="music",
            nouns="recordings",
            encoder="clap",
            box="musicnn_msd",
            marker="x",
            timed=True,
            segments="segments",
            preview="audio/mpeg",
        ),
        "text": ModalityFacts(
            folder="text",
            suffixes=frozenset({".txt"}),
            name="text",
            nouns="texts",
            encoder="minilm",
            box="minilm",
            marker="s",
            timed=False,
            segments="passages",
            preview="",
            dtype="int64",  # numbers of tokens
        ),
        "video": ModalityFacts(
            folder="video",
            suffixes=VIDEO,
            name="video",
            nouns="videos",
            encoder="clip_video",
            box="efficientnet_lite0_video",
            marker="^",
            timed=True,
            segments="segments",
            preview="image/jpeg",
        ),
        "speech": ModalityFacts(
            folder="speech",
            suffixes=SOUND,
            name="speech",
            nouns="recordings of speech",
            encoder=None,
            box=None,
            marker="+",
            timed=True,
            segments="segments",
            preview="audio/mpeg",
        ),
    }
)


def modality_by_suffix(suffix: str, among: Iterable[Modality]) -> Modality | None:
    """Return of which of some modalities a file is: a film is a video before it is sound; None if it is of none."""
    known = [one for one in among if suffix.lower() in MODALITIES[one].suffixes]
    return min(known, key=lambda one: len(MODALITIES[one].suffixes), default=None)
