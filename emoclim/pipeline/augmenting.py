"""Augmentations of `emoclim train-end-to-end`: settings and a folder of sounds -> what a plan notes, what a crop meets.

A note is of plain values: the settings, with the place of the sounds as in the notes of caches, and beside it a digest
of their contents.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoclim.cache import portable_path
from emoclim.data import ContentKeys
from emoclim.encoders import AudioEncoder, Encoder
from emoclim.errors import ConfigError, RunError
from emoclim.learning import Augmentations, Augmenter, Backgrounds, load_library, read_backgrounds
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track

DIGEST = "background_digest"
LIBRARIES = ("audiomentations", "librosa")  # that make numbers

Note = Mapping[str, Any]


def make_augmenter(
    settings: Augmentations, encoder: Encoder, workspace: Workspace, track: Track
) -> tuple[Note | None, Augmenter | None]:
    """What a plan notes of augmentations, and what makes them; None twice where there are none."""
    settings.require_switches()
    if not settings:
        return None, None
    if not isinstance(encoder, AudioEncoder):
        raise ConfigError(f"encoder {encoder.spec.name!r} takes no waveforms to add sounds to; leave augmentations out")
    load_library()  # whoever lacks it is not to wait for the sounds first
    rate, sounds, note = encoder.sample_rate, Backgrounds((), ""), settings.model_dump(mode="json")
    if settings.background is not None:
        keys = ContentKeys(workspace.caches / "content.json")
        sounds = read_backgrounds(
            settings.background, encoder.spec.modality, rate, encoder.segment_seconds, keys, track
        )
        keys.save()
        note["background"] = portable_path(settings.background, workspace.caches / "any")
        note[DIGEST] = sounds.digest
    return note, Augmenter(settings, sounds.files, rate, encoder.length)


def make_augmenter_again(note: Note | None, encoder: Encoder, workspace: Workspace, track: Track) -> Augmenter | None:
    """What makes the augmentations of a note."""
    if note is None:
        return None
    plain = {name: value for name, value in note.items() if name != DIGEST}
    if plain["background"] is not None:
        plain["background"] = (workspace.caches / plain["background"]).resolve()
    settings = Augmentations(**plain)
    again, augmenter = make_augmenter(settings, encoder, workspace, track)
    if again != note:
        raise RunError(f"the background sounds in {settings.background} have changed since; train again")
    return augmenter


def without_place(note: Note) -> Note:
    """What of a note the bytes of a run depend on."""
    return {name: value for name, value in note.items() if name != "background"}


def told(note: Note) -> str:
    """What a note says, for a reader."""
    parts = []
    for switch, name, what in (
        ("background", "background", f"sounds of {Path(note['background'] or '').name}"),
        ("gaussian_snr", "gaussian", "Gaussian noise"),
    ):
        if note[switch] is not None:
            (low, high), probability = note[f"{name}_snr"], note[f"{name}_probability"]
            parts.append(f"{what} at {low:g} to {high:g} dB ({probability:.0%} of them)")
    return ", ".join(parts)
