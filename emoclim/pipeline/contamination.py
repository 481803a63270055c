"""Whether an encoder has heard, when it was trained, the recordings that it is now asked about."""

import re

from emoclim.data import FeatureSpec, Manifest
from emoclim.encoders import Published, encoder_names, published_files

AUDIOSET = "AudioSet"
# A video, mostly with a start and perhaps an end: how AudioSet's clips are usually called. Letters of such names are
# drawn, so that a capital comes after the first nearly always; in a name that somebody thought of, rarely.
CLIP_NAME = re.compile(r"Y?(?=[\w-]+[A-Z])[\w-]{11}(_\d+(\.\d+)?){0,2}")


def contamination(spec: FeatureSpec, manifest: Manifest) -> str | None:
    """Why results of an encoder on a manifest say little about unseen recordings; None if nothing is known to."""
    if spec.modality != "audio" or not _is_audioset(manifest):
        return None
    published = _published(spec)
    heard = [[data for data in one.trained_on if AUDIOSET in data] for one in published]
    if not heard or not all(heard):
        return None
    known = published[0].file if len(published) == 1 else f"every published checkpoint of {spec.name}"
    return (
        f"{known} was trained on {'; '.join(heard[0])}, and {manifest.source} looks like AudioSet: "
        "what is measured on it need not hold for unseen recordings"
    )


def _published(spec: FeatureSpec) -> list[Published]:
    """The published file that the checkpoint of a spec is, by its sha256 or name; all of the encoder if it is none."""
    if spec.name not in encoder_names():  # an import
        return []
    file, _, digits = spec.checkpoint.rpartition("@")
    published = list(published_files(spec.name).values())
    for one in published:
        kind, _, known = (one.hash or "").partition(":")
        if known.startswith(digits) if kind == "sha256" else one.file == file:
            return [one]
    return published


def _is_audioset(manifest: Manifest) -> bool:
    """Whether a manifest is of AudioSet, by the names of its own file or of the files that it lists."""
    name = AUDIOSET.lower()
    if name in manifest.source.stem.lower():
        return True
    paths = [item.path for item in manifest.items if item.path]
    named = sum(name in path.parent.as_posix().lower() or bool(CLIP_NAME.fullmatch(path.stem)) for path in paths)
    return named > len(manifest.items) / 2
