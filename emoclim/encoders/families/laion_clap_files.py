"""Name LAION's published CLAP files, each of which holds a tower of sound and one of text.

Used by the encoders that take one of the two.
"""

from typing import NamedTuple

from emoclim.encoders.checkpoints.published import Published
from emoclim.errors import EncoderError

LOCATION = "https://huggingface.co/lukewys/laion_clap/resolve/main"
TINY_DATA = (
    "LAION-Audio-630K",
    "Clotho",
    "AudioCaps (recordings of AudioSet)",
    "AudioSet (initial values of the audio tower)",
)
BASE_DATA = (
    "LAION-Audio-630K",
    "music collections that the authors do not name",
    "AudioSet (initial values of the audio tower, as far as is known)",
)
SPEECH = "speech collections that the authors do not name"


class Variant(NamedTuple):
    """One published training."""

    size: str  # of its tower of sound, as `laion_clap` calls it
    file: str
    sha256: str  # under which the official page keeps its large files (git LFS)
    trained_on: tuple[str, ...]


VARIANTS = {
    "630k": Variant(
        "tiny", "630k-best.pt", "e02951eae3c9955db546c50086059e6457188ec39446858f2bddbcb4b56b1cb3", TINY_DATA
    ),
    "630k_audioset": Variant(
        "tiny",
        "630k-audioset-best.pt",
        "8053c9775516af2f4902e1e8281e356cc1bf7a85e8b761908170767b77c3f037",
        (*TINY_DATA, "AudioSet"),
    ),
    "music_speech": Variant(
        "base",
        "music_speech_epoch_15_esc_89.25.pt",
        "a27dfbd00d96781020d83044136f084343edab799d2657ef3cfe5c4f2222bb28",
        (*BASE_DATA, SPEECH),
    ),
    "music_audioset": Variant(
        "base",
        "music_audioset_epoch_15_esc_90.14.pt",
        "fae3e9c087f2909c28a09dc31c8dfcdacbc42ba44c70e972b58c1bd1caf6dedd",
        (*BASE_DATA, "AudioSet"),
    ),
    "music_speech_audioset": Variant(
        "base",
        "music_speech_audioset_epoch_15_esc_89.98.pt",
        "51c68f12f9d7ea25fdaaccf741ec7f81e93ee594455410f3bca4f47f88d8e006",
        (*BASE_DATA, SPEECH, "AudioSet"),
    ),
}


def published(*, model: str = "630k") -> Published:
    """Return the file of one of the `VARIANTS`.

    Emo-CLIM's is ``"music_speech"``, which like ``"630k"`` was not trained on AudioSet as such.
    """
    variant = find_variant(model)
    return Published(
        file=variant.file,
        url=f"{LOCATION}/{variant.file}",
        hash=f"sha256:{variant.sha256}",
        licence="CC0-1.0",
        trained_on=variant.trained_on,
    )


def find_variant(model: str) -> Variant:
    """Find one of the `VARIANTS`."""
    if model not in VARIANTS:
        raise EncoderError(f"CLAP has no model {model!r}; choose one of: {', '.join(VARIANTS)}")
    return VARIANTS[model]
