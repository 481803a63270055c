"""What `emoclim train-end-to-end` is asked for, and what it is made from.

A note of augmentations is of plain values: the settings, with the place of the background sounds as in the notes of
caches, and a digest of their contents.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator, Field

from emoclim.cache import CacheManifest, portable_path
from emoclim.config import TrainConfig
from emoclim.data import ContentKeys, FeatureSpec, Item, Manifest, Setting
from emoclim.encoders import AudioEncoder, Encoder, find_encoder, load_encoder
from emoclim.errors import ConfigError, DecodeError
from emoclim.learning import (
    Augmentations,
    Augmenter,
    Backgrounds,
    EncoderTuning,
    Objective,
    even_weights,
    load_library,
    read_backgrounds,
)
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, called, labelled_items, library_note
from emoclim.pipeline.run import digest_of
from emoclim.pipeline.training.inputs import File, Labelled, LabelledConfig, Weights
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track
from emoclim.stages import Recordings

DIGEST = "background_digest"
LIBRARIES = ("audiomentations", "librosa")  # that make numbers

Note = Mapping[str, Any]
ENCODER, CONTENTS, SOUNDS = "the encoder", "the contents of the files", "the background sounds"


class EndToEndConfig(LabelledConfig):
    """The settings of `emoclim train-end-to-end`; of the encoder's modality `libraries` names a manifest."""

    NOTED: ClassVar[frozenset[str]] = LabelledConfig.NOTED | {"checkpoint", "augmentations"}

    encoder: str = Field(description="Name of the encoder to start from")
    checkpoint: Annotated[File, AfterValidator(Path.resolve)] | None = Field(
        default=None, description="File of its parameters; default the published one"
    )
    encoder_settings: dict[str, Setting] = Field(default={}, description="Settings of the encoder by name")
    weights: Weights = Field(default=(), description="Weights of the terms of the loss; default even")
    base: TrainConfig = Field(default=TrainConfig(), description="Settings of the heads and of the batches")
    tuning: EncoderTuning = Field(default=EncoderTuning(), description="Settings of the encoder's training")
    augmentations: Augmentations = Field(default=Augmentations(), description="What is added to crops of training")
    store: bool = Field(default=False, description="Whether to decode all files once, and keep that for quicker crops")

    def weights_of(self, objective: Objective) -> tuple[float, ...]:
        """Return the weights of an objective's terms."""
        return self.weights or even_weights(len(objective.terms))

    @property
    def live(self) -> Modality:
        """The modality that is encoded while training."""
        modality: Modality = find_encoder(self.encoder).MODALITY
        return modality

    def load(self, track: Track, checkpoint: Path | None = None) -> Encoder:
        """Load the encoder, or the same with the parameters of another file."""
        return load_encoder(
            self.encoder, checkpoint=checkpoint or self.checkpoint, track=track, **self.encoder_settings
        )

    def library(self, workspace: Workspace, manifest: Manifest, spec: FeatureSpec) -> Library:
        """Make a library of a manifest whose features are yet to be encoded, as it will be then."""
        place = None if self.checkpoint is None else str(self.checkpoint)
        note = CacheManifest(workspace.cache_path(spec, ".h5"), spec, place, self.encoder_settings)
        note = note.with_source(manifest, unlabelled=False)
        return Library(manifest, note, note.sources[-1])


@dataclass(frozen=True)
class EndToEndInputs(Labelled):
    """Libraries and classes, and what is encoded while training."""

    encoder: Encoder
    contents: str  # digest of the files of training and validation
    augmentations: Note | None  # settings, and a digest of background sounds; None without any
    augment: Augmenter | None
    processes: int  # how many train together

    @property
    def noted(self) -> dict[str, Any]:
        """What a plan notes."""
        live = self.encoder.spec.modality
        note = {name: value for name, value in library_note(self.libraries[live]).items() if name != "cache"}
        return super().noted | {
            called(live): note,
            ENCODER: self.encoder.spec.to_dict(),
            CONTENTS: self.contents,
            SOUNDS: self.augmentations,
            "processes": self.processes,
        }

    def recordings(self, split: str) -> Recordings:
        """Return the files of a split with their classes."""
        live = self.encoder.spec.modality
        items = labelled_items(self.libraries[live].manifest, self.label_map, split)
        classes = [self.label_map.class_of(live, item.label) for item in items]
        return Recordings(items, torch.tensor(classes, dtype=torch.int64))


def contents_digest(items: Iterable[Item], keys: ContentKeys) -> str:
    """Hash the files of training and validation to 12 hex digits; those that cannot be read are left out."""
    rows = []
    for item in items:
        if item.split in ("train", "val"):
            with suppress(DecodeError):
                rows.append((item.id, keys(item)))
    return digest_of(rows)


def make_augmenter(
    settings: Augmentations, encoder: Encoder, workspace: Workspace, track: Track, known: Note | None = None
) -> tuple[Note | None, Augmenter | None]:
    """Make augmentations and the note of them; `known` is the note of a resumed run, which says where sounds lie."""
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
    """Describe the augmentations of a note to a reader."""
    added = {"background": f"sounds of {Path(note['background'] or '').name}", "gaussian_snr": "Gaussian noise"}
    parts = []
    for switch, what in added.items():
        if note[switch] is not None:
            name = switch.removesuffix("_snr")
            (low, high), probability = note[f"{name}_snr"], note[f"{name}_probability"]
            parts.append(f"{what} at {low:g} to {high:g} dB ({probability:.0%} of them)")
    return ", ".join(parts)
