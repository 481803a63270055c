"""Train an encoder and its heads as a plan says, and write the run.

While it is unfinished, its folder has another one, ``unfinished/``, with the plan and a snapshot of the last epoch.
"""

import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from emoclim.data import ContentKeys, Manifest, Split
from emoclim.encoders import Encoder
from emoclim.errors import ConfigError
from emoclim.learning import EMO_CLIM, Augment, Epoch, Replicas, choose
from emoclim.modality import Modality
from emoclim.pipeline.augmenting import LIBRARIES
from emoclim.pipeline.joint_files import about_encoder, write_encoder
from emoclim.pipeline.joint_plans import TRAINED, JointPlan, uncached
from emoclim.pipeline.joint_result import JointResult
from emoclim.pipeline.joint_validation import RULE, encoded, measured
from emoclim.pipeline.library import Library, labelled_items, read_splits
from emoclim.pipeline.run_files import write_run
from emoclim.pipeline.runs import ENCODER_FILE
from emoclim.pipeline.snapshots import UNFINISHED, read_snapshot, write_snapshot
from emoclim.pipeline.waveforms import StoredCrops, stored_crops
from emoclim.pipeline.workspace import HEADS_FILE, Workspace
from emoclim.progress import Track
from emoclim.stages import JointTraining, Recordings, train_end_to_end

SNAPSHOT = "training.safetensors"


@dataclass(frozen=True, slots=True)
class Material:
    """What a plan is about, loaded."""

    libraries: Mapping[Modality, Library]
    encoder: Encoder
    augment: Augment | None


@dataclass(frozen=True, slots=True)
class Means:
    """Where and how this process trains."""

    folder: Path
    workspace: Workspace
    workers: int
    device: torch.device
    track: Track
    show: Callable[[Epoch], None] | None
    replicas: Replicas

    @property
    def work(self) -> Path:
        """What is there until the run is finished."""
        return self.folder / UNFINISHED


def execute(plan: JointPlan, material: Material, means: Means) -> JointResult:
    """Train what is left of a plan, and write everything; the heads come last, and make it a run."""
    replicas, snapshot = means.replicas, means.work / SNAPSHOT
    pictures = {modality: library for modality, library in material.libraries.items() if modality != TRAINED}
    with replicas.first_before_others():
        keys = ContentKeys(means.workspace.caches / "content.json")
        splits = read_splits(pictures, plan.label_map, ("train", "val"), keys)
        keys.save()
    recordings = {name: _recordings(material.libraries[TRAINED].manifest, plan, name) for name in splits}
    # The first process decodes for all: what cannot be is tried again by whoever asks.
    stored = replicas.agree(lambda: _stored(recordings.values(), material.encoder, means, keys)) if plan.store else None
    training = train_end_to_end(
        splits["train"],
        splits["val"],
        recordings,
        material.encoder,
        EMO_CLIM,
        plan.weights,
        plan.config,
        plan.tuning,
        workers=means.workers,
        replicas=replicas,
        similarity=torch.tensor(plan.similarity["table"]) if plan.similarity else None,
        source=stored,
        augment=material.augment,
        device=means.device,
        track=means.track,
        resume=read_snapshot(snapshot),
        keep=partial(write_snapshot, path=snapshot) if replicas.first else None,
        watch=means.show,
    )
    return replicas.agree(lambda: _finish(plan, material, means, training, splits["val"], stored))


def _stored(recordings: Iterable[Recordings], encoder: Encoder, means: Means, keys: ContentKeys) -> StoredCrops:
    items = [item for part in recordings for item in part.items]
    return stored_crops(encoder, items, means.workspace, keys, workers=means.workers, track=means.track)


def _finish(
    plan: JointPlan,
    material: Material,
    means: Means,
    training: JointTraining,
    val: Split,
    stored: StoredCrops | None,
) -> JointResult:
    """Measure on validation, as extraction will make the features, and write."""
    folder, track = means.folder, means.track
    if not math.isfinite(training.best_loss):
        shutil.rmtree(folder)
        raise ConfigError("no validation loss was ever finite, so there is nothing to keep; lower the learning rates")
    images = material.libraries["image"].note.spec
    file = write_encoder(means.work, training.encoder, about_encoder(plan, images, training.best_epoch))
    trained = plan.encoder.load(track, file)
    manifest = material.libraries[TRAINED].manifest
    recordings = _recordings(manifest, plan, "val")
    validation, failures = encoded(val, recordings, trained, workers=means.workers, device=means.device, track=track)
    sweep = measured(validation, training, training.heads(trained.spec), plan, means.device)
    report = choose(sweep.lines, EMO_CLIM, RULE)
    libraries = {**material.libraries, TRAINED: uncached(means.workspace, manifest, trained.spec, plan.encoder)}
    result = JointResult(
        folder=folder,
        plan=plan,
        libraries=libraries,
        training=training,
        report=report,
        encoder_file=folder / ENCODER_FILE,
        stored=stored,
        failures={**failures, **training.failures},
        workspace=means.workspace,
    )
    seconds = {"training": training.seconds, "waiting_for_files": training.waiting}
    loaded = LIBRARIES if plan.augmentations else ()
    (folder / HEADS_FILE).unlink(missing_ok=True)  # heads and encoder belong together
    file.replace(folder / ENCODER_FILE)
    write_run(folder, result.settings(), report, sweep, [0], libraries=loaded, seconds=seconds)
    if not training.interrupted:
        shutil.rmtree(means.work)
    return result


def _recordings(manifest: Manifest, plan: JointPlan, split: str) -> Recordings:
    items = labelled_items(manifest, plan.label_map, split)
    classes = [plan.label_map.class_of(TRAINED, item.label) for item in items]
    return Recordings(items, torch.tensor(classes, dtype=torch.int64))
