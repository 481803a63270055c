"""`emoclim train-end-to-end`: an encoder, the files that it takes and a cache of another modality -> a run.

The live modality is that of the encoder; the other one stays cached. The run has the trained encoder beside its heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emoclim.cache import located
from emoclim.data import Split, read_manifest, with_splits
from emoclim.encoders import choose_device
from emoclim.errors import RunError
from emoclim.learning import Callbacks, Candidate, check_trainable, choose
from emoclim.modality import MODALITIES
from emoclim.pipeline.extract import MAX_WORKERS
from emoclim.pipeline.library import called, choose_libraries, split_manifest
from emoclim.pipeline.machine import usable_cores
from emoclim.pipeline.run import Resources, Step, Work, require_finite
from emoclim.pipeline.training.config import EndToEndConfig
from emoclim.pipeline.training.crops import StoredCrops, make_augmenter, stored_crops
from emoclim.pipeline.training.encoder_result import EncoderResult, encoded, write_encoder
from emoclim.pipeline.training.inputs import SOUNDS, EndToEndInputs, contents_digest
from emoclim.pipeline.training.sweep import Sweep, trained_candidate, validate
from emoclim.pipeline.workspace import Workspace
from emoclim.stages import Crops, JointTraining, Recordings, train_end_to_end

SNAPSHOT = "training"
RULE = "mean"  # the score of a run, among others


@dataclass(frozen=True, slots=True)
class Material:
    """What is trained on, and by what."""

    splits: Mapping[str, Split]  # of the cached modality
    recordings: Mapping[str, Recordings]  # by split, of the live one
    stored: StoredCrops | None  # where crops come from; None for the files
    device: torch.device
    workers: int


class TrainEndToEnd(Step[EndToEndConfig, EndToEndInputs, EncoderResult]):
    """Train an encoder and a pair of heads together."""

    name, config = "train-end-to-end", EndToEndConfig

    def inputs(self, config: EndToEndConfig, resources: Resources, known: Mapping[str, Any]) -> EndToEndInputs:
        """Load the encoder, open the cached library and read the manifest of the live one."""
        count = resources.replicas.count
        if (began := known.get("processes", count)) != count:
            raise RunError(f"the run was begun by {began} processes, not {count}; go on with as many")
        workspace, track, live = resources.workspace, resources.track, config.live
        encoder = config.load(track)
        libraries = choose_libraries(workspace, config.libraries, known, live)
        keys = workspace.content_keys()
        named = config.libraries.get(live)
        if known:
            place = located(known[called(live)]["path"], workspace.caches)
            manifest = with_splits(read_manifest(place, live), None)
        else:
            source = Path(named) if named else workspace.manifest(live)
            manifest = split_manifest(read_manifest(source, live), keys, track)
        libraries[live] = config.library(workspace, manifest, encoder.spec)
        libraries = {modality: libraries[modality] for modality in MODALITIES if modality in libraries}
        note, augment = make_augmenter(config.augmentations, encoder, workspace, track, known.get(SOUNDS))
        contents = contents_digest(track(manifest.items, f"read {manifest.name}", len(manifest.items)), keys)
        keys.save()
        more = {"encoder": encoder, "contents": contents, "augmentations": note, "augment": augment, "processes": count}
        return EndToEndInputs.of(config, libraries, known, **more)

    def place(self, config: EndToEndConfig, inputs: EndToEndInputs, workspace: Workspace, name: str | None) -> Path:
        """Make a folder named after the encoders."""
        cached = [one.note.spec.name for modality, one in inputs.libraries.items() if modality != config.live]
        return workspace.claim_run(name, f"{cached[0]}-{config.encoder}-unfrozen")

    def run(self, config: EndToEndConfig, inputs: EndToEndInputs, work: Work) -> EncoderResult:
        """Train what is left, and measure on validation."""
        material = _prepare(config, inputs, work.resources)
        training = _train(config, inputs, work, material)
        require_finite([training.best_loss])
        return work.resources.replicas.broadcast_result(lambda: _measure(config, inputs, work, material, training))


def _prepare(config: EndToEndConfig, inputs: EndToEndInputs, resources: Resources) -> Material:
    """Read the cached features and, for a store, decode all files, once for all processes."""
    replicas = resources.replicas
    device = replicas.device(choose_device(resources.device))
    check_trainable(inputs.encoder, config.tuning, config.base, replicas.count, device)
    workers = min(MAX_WORKERS, usable_cores() // replicas.count) if resources.workers is None else resources.workers
    with replicas.main_process_first():
        splits = inputs.splits(resources.workspace, [one for one in inputs.libraries if one != config.live])
    recordings = {name: inputs.recordings(name) for name in splits}

    def decode() -> StoredCrops:
        items = [item for part in recordings.values() for item in part.items]
        keys = resources.workspace.content_keys()
        return stored_crops(inputs.encoder, items, resources.workspace, keys, workers=workers, track=resources.track)

    # The first process decodes for all: what cannot be is tried again by whoever asks.
    return Material(splits, recordings, replicas.broadcast_result(decode) if config.store else None, device, workers)


def _train(config: EndToEndConfig, inputs: EndToEndInputs, work: Work, material: Material) -> JointTraining:
    resources = work.resources
    keep = work.keep(SNAPSHOT) if resources.replicas.first else None
    return train_end_to_end(
        material.splits["train"],
        material.splits["val"],
        material.recordings,
        inputs.encoder,
        inputs.objective,
        config.weights_of(inputs.objective),
        config.base,
        config.tuning,
        crops=Crops(material.workers, material.stored, inputs.augment),
        replicas=resources.replicas,
        device=material.device,
        resume=work.read(SNAPSHOT),
        callbacks=Callbacks(resources.track, keep, resources.watch),
    )


def _measure(
    config: EndToEndConfig, inputs: EndToEndInputs, work: Work, material: Material, training: JointTraining
) -> EncoderResult:
    """Measure on validation, as extraction will make the features."""
    file, resources, device = write_encoder(work.folder, config, inputs, training), work.resources, material.device
    encoder = config.load(resources.track, file)
    val, failures = encoded(
        material.splits["val"],
        material.recordings["val"],
        encoder,
        workers=material.workers,
        device=device,
        track=resources.track,
    )
    heads, objective, best = training.heads(encoder.spec), inputs.objective, training.best_epoch
    candidate = Candidate(config.weights_of(objective), config.base, objective.settings[0])
    (metrics,) = validate(val, heads, device)
    line = trained_candidate(0, candidate, training.history, best, training.best_loss, metrics)
    live = config.library(resources.workspace, inputs.libraries[config.live].manifest, encoder.spec)
    return EncoderResult(
        folder=work.run,
        inputs=inputs,
        plan=work.plan.digest,
        sweep=Sweep((line,), heads, (training.history,), training.interrupted),
        report=choose([line], objective, RULE if inputs.ranked else "loss"),
        config=config,
        trained=file,
        libraries={**inputs.libraries, config.live: live},
        training=training,
        stored=material.stored,
        failures={**failures, **training.failures},
        workspace=resources.workspace,
    )
