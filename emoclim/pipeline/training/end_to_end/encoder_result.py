"""What one `emoclim train-end-to-end` did: its measure on validation, and each of its encoders as a file.

The file of an encoder has the names that its own checkpoints have, so that it can be used as one; its metadata has the
key ``emoclim``: JSON with what it was trained from and how.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from emoclim.cache import MemoryCache
from emoclim.data import Manifest, Split
from emoclim.encoders import AudioEncoder, Encoder, write_own
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.extraction_result import WORTH_ADVICE
from emoclim.pipeline.find_caches import encoding_command
from emoclim.pipeline.library import Library, library_note
from emoclim.pipeline.training.config import EndToEndConfig
from emoclim.pipeline.training.end_to_end.crops import StoredCrops, describe, without_place
from emoclim.pipeline.training.inputs import EndToEndInputs
from emoclim.pipeline.training.run_files import TrainingResult
from emoclim.pipeline.training.trained_runs import ENCODER_FILE
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track
from emoclim.stages import JointTraining, LabelledItems, extract

FORMAT = 1  # of what the file of an encoder says of itself
NORMS = {
    "train": "work on batches and gather their statistics",
    "trained": "work on batches and gather their statistics where they are trained, and stay as they were elsewhere",
    "frozen": "stay as they were",
}
LIBRARIES = ("audiomentations", "librosa")  # that make numbers


@dataclass(frozen=True, kw_only=True)
class EncoderResult(TrainingResult):
    """What one `emoclim train-end-to-end` did: a sweep of one candidate, and encoders."""

    inputs: EndToEndInputs
    config: EndToEndConfig
    trained: Mapping[Modality, Path]  # the files of the encoders, until they are moved into the folder
    # what it was trained on; the caches of the trained encoders are yet to be filled
    libraries: Mapping[Modality, Library]
    training: JointTraining  # losses, and how long it took
    stored: Mapping[Modality, StoredCrops]  # where crops came from; of others, from the files
    failures: Mapping[str, str]  # by item, why it could not be used, as far as that was found
    workspace: Workspace
    command: ClassVar[str] = "train-end-to-end"
    before: ClassVar[str] = "before you evaluate or search"
    measured: ClassVar[bool] = True  # whether heads are, on validation

    @property
    def encoder_files(self) -> dict[Modality, Path]:
        """Where the trained encoders lie."""
        return {modality: self.folder / file.name for modality, file in self.trained.items()}

    @property
    def seconds(self) -> dict[str, float]:
        """How long it took, and how much of that was waiting."""
        return {"training": self.training.seconds, "waiting_for_files": self.training.waiting}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return super().to_dict() | {
            "encoders": {modality: str(file) for modality, file in self.encoder_files.items()},
            "seconds": self.seconds,
            "waveforms": {modality: one.to_dict() for modality, one in self.stored.items()},
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
            "encoder_settings": {modality: asked.encoder_settings.get(modality, {}) for modality in self.trained},
            "trained": {modality: list(names) for modality, names in self.training.trained.items()},
            "processes": inputs.processes,
        }

    def write(self, libraries: Sequence[str] = (), **about: Any) -> None:
        """Write everything, and move the encoders into the folder; they belong together with the heads."""
        (self.folder / self.heads_file).unlink(missing_ok=True)
        for modality, file in self.encoder_files.items():
            for path in _beside(self.inputs.encoders[modality]):
                self.trained[modality].with_name(path.name).replace(file.with_name(path.name))
            self.trained[modality].replace(file)
        loaded = LIBRARIES if self.inputs.augmentations else ()
        super().write([*libraries, *loaded], seconds=self.seconds, **about)

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        training, tuning = self.training, self.config.tuning
        how = NORMS[tuning.batchnorm]
        norms = {
            modality: f"; batch normalisations {how}"
            for modality, state in training.encoders.items()
            if any(name.endswith("running_mean") for name in state)
        }
        waited = training.waiting / max(training.seconds, 1e-9)
        can_store = not self.stored and any(isinstance(one, AudioEncoder) for one in self.inputs.encoders.values())
        of_files = "more --workers, or --store," if can_store else "more --workers"
        quicker = of_files if waited > 0.5 else "a GPU, or there --precision bf16,"
        advice = f"; {quicker} would help" if training.seconds > WORTH_ADVICE else ""
        lines = [f"{modality}: {library.manifest.source}" for modality, library in self.libraries.items()]
        lines += [
            f"encoder {encoder.spec.name}: {len(training.trained[modality])} parameters trained "
            f"(unfreeze {tuning.unfreeze}){norms.get(modality, '')}"
            for modality, encoder in self.inputs.encoders.items()
        ]
        lines.append(f"{training.seconds:.1f} s, {waited:.0%} of it waiting for files{advice}")
        lines += [one.told() for one in self.stored.values()]
        nouns = " and ".join(MODALITIES[modality].nouns for modality in self.trained)
        if self.failures:
            first, reason = next(iter(self.failures.items()))
            lines.append(f"{len(self.failures)} {nouns} could not be used ({first}: {reason}); --json lists them")
        if self.inputs.processes > 1:
            part = "; batch normalisations saw their part of it" if norms and tuning.batchnorm != "frozen" else ""
            lines.append(f"{self.inputs.processes} processes shared each batch{part}")
        if self.inputs.augmentations:
            lines.append(f"added to crops of training: {describe(self.inputs.augmentations)}")
        return [
            *lines,
            *self.ending(self.command),
            f"encode the {nouns} with {'it' if len(self.trained) == 1 else 'them'} {self.before}: "
            + "; ".join(map(self.next_command, self.trained)),
        ]

    def next_command(self, live: Modality) -> str:
        """Return what to type to encode a live modality with the trained encoder."""
        source, settings = self.libraries[live].manifest.source, self.config.encoder_settings.get(live, {})
        name, file = self.config.encoders[live], self.encoder_files[live]
        return encoding_command(self.workspace, live, source, name, file, settings)


def write_encoders(
    folder: Path, config: EndToEndConfig, inputs: EndToEndInputs, training: JointTraining
) -> dict[Modality, Path]:
    """Write the encoders; the same tensors and words give the same bytes."""
    about = _about(config, inputs, training)
    specs = {modality: library.note.spec.to_dict() for modality, library in inputs.libraries.items()}
    files = {}
    for live, state in ((live, training.encoders[live]) for live in inputs.encoders):
        others = {modality: specs[modality] for modality in inputs.encoders if modality != live}
        files[live] = folder / (f"encoder-{live}.safetensors" if others else ENCODER_FILE)
        own = {"start": specs[live], "trained_with": others, "cached": {name: specs[name] for name in inputs.cached}}
        write_own(state, files[live], own | about)
        for path in _beside(inputs.encoders[live]):
            shutil.copyfile(path, folder / path.name)
    return files


def _beside(encoder: Encoder) -> Sequence[Path]:
    """Return the files that belong beside a checkpoint of an encoder, if any."""
    files: Sequence[Path] = getattr(encoder, "beside", ())
    return files


def _about(config: EndToEndConfig, inputs: EndToEndInputs, training: JointTraining) -> dict[str, Any]:
    """Say of encoders how they were trained."""
    about: dict[str, Any] = {
        "format": FORMAT,
        "config": config.base.model_dump()
        | inputs.objective.settings[0].model_dump(mode="json")
        | {"encoder": config.tuning.model_dump()},
        "loss_weights": list(config.weights_of(inputs.objective)),
        "classes": list(inputs.label_map.classes),
        "label_map": inputs.label_map.maps,
        "objective": inputs.objective.name,
        "label_vectors": inputs.vectors,
        "manifests": {modality: library_note(one)["digest"] for modality, one in inputs.libraries.items()},
        "contents": inputs.contents,
        "store": config.store,
        "best_epoch": training.best_epoch,
        "processes": inputs.processes,
    }
    if inputs.augmentations:
        about["augmentations"] = without_place(inputs.augmentations)
    return about


def encoded(
    split: Split, part: LabelledItems, encoder: Encoder, *, workers: int, device: torch.device, track: Track
) -> tuple[Split, dict[str, str]]:
    """Encode the items of a split as extraction will; return it with its features, and by item why others have none."""
    modality = encoder.spec.modality
    manifest = Manifest("validation", modality, Path(), tuple(part.items))
    with MemoryCache(encoder.spec) as cache:
        extraction = extract(manifest, encoder, cache, workers=workers, device=device, track=track)
        keys = extraction.keys
        rows = [row for row, item in enumerate(part.items) if keys.get(item.id) in cache.keys()]
        ids = tuple(part.items[row].id for row in rows)
        features = replace(cache.read([keys[id_] for id_ in ids]), ids=ids)
    found = replace(
        split,
        features={**split.features, modality: features},
        labels={**split.labels, modality: part.labels[rows]},
        numbers=split.numbers if part.numbers is None else {**(split.numbers or {}), modality: part.numbers[rows]},
    )
    return found, {failure.id: failure.reason for failure in extraction.failures}
