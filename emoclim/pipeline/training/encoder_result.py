"""What one `emoclim train-end-to-end` did: its measure on validation, and its encoder as a file.

``encoder.safetensors`` has the names that the encoder's own checkpoints have, so that it can be used as one; its
metadata has the key ``emoclim``: JSON with what it was trained from and how.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from emoclim.cache import MemoryCache
from emoclim.data import Manifest, Split
from emoclim.encoders import Encoder, write_own
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.extraction_result import WORTH_ADVICE
from emoclim.pipeline.library import Library, library_note
from emoclim.pipeline.training.config import EndToEndConfig
from emoclim.pipeline.training.crops import StoredCrops, describe, without_place
from emoclim.pipeline.training.inputs import EndToEndInputs
from emoclim.pipeline.training.run_files import TrainingResult
from emoclim.pipeline.training.trained_runs import ENCODER_FILE, encoding_command
from emoclim.pipeline.workspace import HEADS_FILE, Workspace
from emoclim.progress import Track
from emoclim.stages import JointTraining, Recordings, extract

FORMAT = 1  # of what the file of an encoder says of itself
LIBRARIES = ("audiomentations", "librosa")  # that make numbers


@dataclass(frozen=True, kw_only=True)
class EncoderResult(TrainingResult):
    """What one `emoclim train-end-to-end` did: a sweep of one candidate, and an encoder."""

    inputs: EndToEndInputs
    config: EndToEndConfig
    trained: Path  # the file of the encoder, until it is moved into the folder
    # what it was trained on; the cache of the trained encoder is yet to be filled
    libraries: Mapping[Modality, Library]
    training: JointTraining  # losses, and how long it took
    stored: StoredCrops | None  # where the crops came from; None for the files
    failures: Mapping[str, str]  # by item, why it could not be used, as far as that was found
    workspace: Workspace

    @property
    def encoder_file(self) -> Path:
        """Where the trained encoder lies."""
        return self.folder / ENCODER_FILE

    @property
    def seconds(self) -> dict[str, float]:
        """How long it took, and how much of that was waiting."""
        return {"training": self.training.seconds, "waiting_for_files": self.training.waiting}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return super().to_dict() | {
            "encoder": str(self.encoder_file),
            "seconds": self.seconds,
            "waveforms": None if self.stored is None else self.stored.to_dict(),
            "failures": dict(self.failures),
        }

    def settings(self, **config: Any) -> dict[str, Any]:
        """Return the content of settings.json: all that the run depends on, and what was found."""
        inputs, asked = self.inputs, self.config
        return super().settings(encoder=asked.tuning.model_dump(), **config) | {
            "libraries": {modality: library_note(library) for modality, library in self.libraries.items()},
            "augmentations": inputs.augmentations,
            "store": asked.store,
            "contents": inputs.contents,
            "encoder_settings": dict(asked.encoder_settings),
            "trained": list(self.training.trained),
            "processes": inputs.processes,
        }

    def write(self, libraries: Sequence[str] = (), **about: Any) -> None:
        """Write everything, and move the encoder into the folder; it belongs together with the heads."""
        (self.folder / HEADS_FILE).unlink(missing_ok=True)
        self.trained.replace(self.encoder_file)
        loaded = LIBRARIES if self.inputs.augmentations else ()
        super().write([*libraries, *loaded], seconds=self.seconds, **about)

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        training, tuning, nouns = self.training, self.config.tuning, MODALITIES[self.config.live].nouns
        norms = "work on batches and gather their statistics" if tuning.batchnorm == "train" else "stay as they were"
        waited = training.waiting / max(training.seconds, 1e-9)
        of_files = "more --workers, or --store," if self.stored is None else "more --workers"
        quicker = of_files if waited > 0.5 else "a GPU, or there --precision bf16,"
        advice = f"; {quicker} would help" if training.seconds > WORTH_ADVICE else ""
        lines = [f"{modality}: {library.manifest.source}" for modality, library in self.libraries.items()]
        lines += [
            f"encoder {self.config.encoder}: {len(training.trained)} parameters trained "
            f"(unfreeze {tuning.unfreeze}); batch normalisations {norms}",
            f"{training.seconds:.1f} s, {waited:.0%} of it waiting for files{advice}",
        ]
        if self.stored is not None:
            lines.append(self.stored.told())
        if self.failures:
            first, reason = next(iter(self.failures.items()))
            lines.append(f"{len(self.failures)} {nouns} could not be used ({first}: {reason}); --json lists them")
        if self.inputs.processes > 1:
            part = "; batch normalisations saw their part of it" if tuning.batchnorm == "train" else ""
            lines.append(f"{self.inputs.processes} processes shared each batch{part}")
        if self.inputs.augmentations:
            lines.append(f"added to crops of training: {describe(self.inputs.augmentations)}")
        return [
            *lines,
            *self.ending("train-end-to-end"),
            f"encode the {nouns} with it before you evaluate or search: {self.next_command()}",
        ]

    def next_command(self) -> str:
        """Return what to type to encode the live modality with the trained encoder."""
        live, config = self.config.live, self.config
        source, settings = self.libraries[live].manifest.source, config.encoder_settings
        return encoding_command(self.workspace, live, source, config.encoder, self.encoder_file, settings)


def write_encoder(folder: Path, config: EndToEndConfig, inputs: EndToEndInputs, training: JointTraining) -> Path:
    """Write the encoder; the same tensors and words give the same bytes."""
    specs = {modality: library.note.spec.to_dict() for modality, library in inputs.libraries.items()}
    about = {
        "format": FORMAT,
        "start": specs.pop(config.live),
        "config": config.base.model_dump()
        | inputs.objective.settings[0].model_dump(mode="json")
        | {"encoder": config.tuning.model_dump()},
        "loss_weights": list(config.weights_of(inputs.objective)),
        "classes": list(inputs.label_map.classes),
        "label_map": inputs.label_map.maps,
        "objective": inputs.objective.name,
        "label_vectors": inputs.vectors,
        "cached": specs,
        "manifests": {modality: library_note(one)["digest"] for modality, one in inputs.libraries.items()},
        "contents": inputs.contents,
        "store": config.store,
        "best_epoch": training.best_epoch,
        "processes": inputs.processes,
    }
    if inputs.augmentations:
        about["augmentations"] = without_place(inputs.augmentations)
    write_own(training.encoder, folder / ENCODER_FILE, about)
    return folder / ENCODER_FILE


def encoded(
    split: Split, recordings: Recordings, encoder: Encoder, *, workers: int, device: torch.device, track: Track
) -> tuple[Split, dict[str, str]]:
    """Encode the files of a split as extraction will; return it with its features, and by item why others have none."""
    modality = encoder.spec.modality
    manifest = Manifest("validation", modality, Path(), tuple(recordings.items))
    with MemoryCache(encoder.spec) as cache:
        extraction = extract(manifest, encoder, cache, workers=workers, device=device, track=track)
        keys = extraction.keys
        rows = [row for row, item in enumerate(recordings.items) if keys.get(item.id) in cache.keys()]
        ids = tuple(recordings.items[row].id for row in rows)
        features = replace(cache.read([keys[id_] for id_ in ids]), ids=ids)
    labels = {**split.labels, modality: recordings.labels[rows]}
    failures = {failure.id: failure.reason for failure in extraction.failures}
    return replace(split, features={**split.features, modality: features}, labels=labels), failures
