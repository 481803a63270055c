"""What `emoclim train-end-to-end` is to do, kept as JSON beside its snapshot, so that it can be gone on with."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.cache import CacheManifest
from emoclim.config import TrainConfig, loss_weights
from emoclim.data import ContentKeys, FeatureSpec, Item, LabelMap, Manifest, Setting
from emoclim.encoders import Encoder, load_encoder
from emoclim.errors import DecodeError, RunError
from emoclim.learning import EncoderTuning
from emoclim.modality import Modality
from emoclim.pipeline.augmenting import Note
from emoclim.pipeline.library import Library, library_note
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track

TRAINED: Modality = "audio"  # what is trained from its files; the other stays cached


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """The encoder that a training starts from."""

    name: str
    checkpoint: Path | None  # file of its parameters; None takes the published one
    settings: Mapping[str, Setting]

    def load(self, track: Track, checkpoint: Path | None = None) -> Encoder:
        """Load it, or the same with the parameters of another file."""
        return load_encoder(self.name, checkpoint=checkpoint or self.checkpoint, track=track, **self.settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        place = None if self.checkpoint is None else str(self.checkpoint)
        return {"name": self.name, "checkpoint": place, "settings": dict(self.settings)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EncoderChoice":
        """Inverse of :meth:`to_dict`."""
        place = data["checkpoint"]
        return cls(data["name"], None if place is None else Path(place), data["settings"])


@dataclass(frozen=True, slots=True)
class JointPlan:
    """All that the bytes of a run depend on, beside features and files."""

    encoder: EncoderChoice
    start: FeatureSpec
    images: Mapping[str, Any]  # what a run remembers of the library of pictures
    audio: Mapping[str, Any]
    label_map: LabelMap
    weights: tuple[float, ...]
    config: TrainConfig
    tuning: EncoderTuning
    # of the classes, with the file and the width that it comes from; None for the papers' loss
    similarity: Mapping[str, Any] | None
    processes: int  # how many train together
    augmentations: Note | None  # settings, and a digest of background sounds; None without any
    store: bool  # whether crops are cut from decoded waveforms that are kept
    contents: str  # digest of the recordings themselves, see contents_digest

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "encoder": self.encoder.to_dict(),
            "start": self.start.to_dict(),
            "images": dict(self.images),
            "audio": dict(self.audio),
            "label_map": {"classes": list(self.label_map.classes), "maps": self.label_map.maps},
            "weights": list(self.weights),
            "config": self.config.model_dump(),
            "tuning": self.tuning.model_dump(),
            "similarity": self.similarity,
            "processes": self.processes,
            "augmentations": self.augmentations,
            "store": self.store,
            "contents": self.contents,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "JointPlan":
        """Inverse of :meth:`to_dict`; what is none raises ``KeyError`` or ``TypeError``."""
        return cls(
            EncoderChoice.from_dict(data["encoder"]),
            FeatureSpec.from_dict(data["start"]),
            data["images"],
            data["audio"],
            LabelMap(tuple(data["label_map"]["classes"]), data["label_map"]["maps"]),
            loss_weights(data["weights"]),
            TrainConfig.model_validate(data["config"]),
            EncoderTuning.model_validate(data["tuning"]),
            data["similarity"],
            data["processes"],
            data["augmentations"],
            data["store"],
            data["contents"],
        )

    def load(self, track: Track) -> Encoder:
        """Load the encoder; one whose file has changed since raises :class:`RunError`."""
        encoder = self.encoder.load(track)
        if changes := self.start.differences(encoder.spec):
            raise RunError(f"the encoder that the run began with has changed since ({'; '.join(changes)}); train again")
        return encoder


def uncached(workspace: Workspace, manifest: Manifest, spec: FeatureSpec, choice: EncoderChoice) -> Library:
    """A manifest whose features are yet to be made, as the library that it will be then."""
    place = None if choice.checkpoint is None else str(choice.checkpoint)
    note = CacheManifest(workspace.cache_path(spec, ".h5"), spec, place, choice.settings).with_source(manifest, False)
    return Library(manifest, note, note.sources[-1])


def contents_digest(items: Iterable[Item], keys: ContentKeys) -> str:
    """12 hex digits of what the recordings of training and validation are; those that cannot be read are left out."""
    rows = []
    for item in items:
        if item.split in ("train", "val"):
            with suppress(DecodeError):
                rows.append((item.id, keys(item)))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def recordings_note(library: Library) -> dict[str, Any]:
    """What a plan remembers of a manifest whose cache is yet to be named."""
    return {name: value for name, value in library_note(library).items() if name != "cache"}
