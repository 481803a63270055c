"""Whether an encoder has heard, when it was trained, the recordings that it is now asked about."""

import re

from emoclim.data.manifest import Manifest
from emoclim.encoders.checkpoints import Published
from emoclim.encoders.loading import encoder_names, published_files
from emoclim.features import FeatureSpec

AUDIOSET = "AudioSet"
CLIP_NAME = re.compile(
    r"[\w-]{11}_\d+(\.\d+)?(_\d+(\.\d+)?)?"
)  # video and start, as AudioSet's clips are usually called


def contamination(spec: FeatureSpec, manifest: Manifest) -> str | None:
    """Why results of an encoder on a manifest say little about unseen recordings; None if nothing is known to.

    Parameters
    ----------
    spec
        Of the encoder; its checkpoint is looked up among the published ones.
    manifest
        Counts as AudioSet's if its file, or its folder, is called so, or most of its files are called like clips of it.
    """
    published = _published(spec) if spec.modality == "audio" and _is_audioset(manifest) else None
    seen = [data for data in published.trained_on if AUDIOSET in data] if published else []
    if not published or not seen:
        return None
    return (
        f"{published.file} was trained on {'; '.join(seen)}, and {manifest.source} is of AudioSet: "
        "what is measured on it need not hold for unseen recordings"
    )


def _published(spec: FeatureSpec) -> Published | None:
    """The published file that the checkpoint of a spec is, by its sha256 or, where that is not known, by its name."""
    if spec.name not in encoder_names():  # an import
        return None
    file, _, digits = spec.checkpoint.rpartition("@")
    for published in published_files(spec.name).values():
        kind, _, known = (published.hash or "").partition(":")
        if known.startswith(digits) if kind == "sha256" else published.file == file:
            return published
    return None


def _is_audioset(manifest: Manifest) -> bool:
    """Whether a manifest is of AudioSet, by the names of its own file or of the files that it lists."""
    source = manifest.source
    if any(AUDIOSET.lower() in name.lower() for name in (source.name, source.parent.name)):
        return True
    named = sum(CLIP_NAME.fullmatch(item.path.stem) is not None for item in manifest.items if item.path)
    return named > len(manifest.items) / 2
