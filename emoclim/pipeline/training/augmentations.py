"""Note and make the augmentations of `emoclim train-end-to-end`.

A note is of plain values: the settings, with the place of the background sounds as in the notes of caches, and a digest
of their contents.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoclim.cache import portable_path
from emoclim.data import ContentKeys
from emoclim.encoders import AudioEncoder, Encoder
from emoclim.errors import ConfigError
from emoclim.learning import Augmentations, Augmenter, Backgrounds, load_library, read_backgrounds
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track

DIGEST = "background_digest"
LIBRARIES = ("audiomentations", "librosa")  # that make numbers

Note = Mapping[str, Any]


def make_augmenter(
    settings: Augmentations, encoder: Encoder, workspace: Workspace, track: Track, known: Note | None = None
) -> tuple[Note | None, Augmenter | None]:
    """Return what a plan notes of augmentations, and what makes them; `known` says where they lie."""
    settings.require_switches()
    if not settings:
        return None, None
    if not isinstance(encoder, AudioEncoder):
        raise ConfigError(f"encoder {encoder.spec.name!r} takes no waveforms to add sounds to; leave augmentations out")
    load_library()  # whoever lacks it is not to wait for the sounds first
    folder = workspace.caches / known["background"] if known and known["background"] else settings.background
    rate, sounds, note = encoder.sample_rate, Backgrounds((), ""), settings.model_dump(mode="json")
    if folder is not None:
        keys = ContentKeys(workspace.caches / "content.json")
        sounds = read_backgrounds(folder.resolve(), encoder.spec.modality, rate, encoder.segment_seconds, keys, track)
        keys.save()
        note |= {"background": portable_path(folder, workspace.caches / "any"), DIGEST: sounds.digest}
    return note, Augmenter(settings, sounds.files, rate, encoder.length)


def without_place(note: Note | None) -> Note | None:
    """Return what of a note the bytes of a run depend on."""
    return note and {name: value for name, value in note.items() if name != "background"}


def describe(note: Note) -> str:
    """Say what a note says, for a reader."""
    added = {"background": f"sounds of {Path(note['background'] or '').name}", "gaussian_snr": "Gaussian noise"}
    parts = []
    for switch, what in added.items():
        if note[switch] is not None:
            name = switch.removesuffix("_snr")
            (low, high), probability = note[f"{name}_snr"], note[f"{name}_probability"]
            parts.append(f"{what} at {low:g} to {high:g} dB ({probability:.0%} of them)")
    return ", ".join(parts)
