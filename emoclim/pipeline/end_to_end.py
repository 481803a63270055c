"""`emoclim train-end-to-end`: recordings, an encoder and a cache of pictures -> a run with an encoder of its own."""

import math
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from emoclim.config import TrainConfig
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Manifest, Modality, read_manifest
from emoclim.data.splits import with_splits
from emoclim.data.taxonomy import match_labels, read_label_map
from emoclim.encoders.base import Encoder
from emoclim.encoders.loading import find_encoder
from emoclim.epochs import Epoch
from emoclim.errors import ConfigError, EncoderError, RunError
from emoclim.features import Setting
from emoclim.losses import EMO_CLIM
from emoclim.pipeline.features import MAX_WORKERS
from emoclim.pipeline.heads import SIMILARITY_WIDTH
from emoclim.pipeline.joint_files import write_encoder, write_joint_run
from emoclim.pipeline.joint_plans import TRAINED, EncoderChoice, JointPlan, recordings_note, uncached
from emoclim.pipeline.joint_result import JointResult
from emoclim.pipeline.libraries import Library, labelled_library, library_note
from emoclim.pipeline.library_features import labelled_items, labels_of, read_splits
from emoclim.pipeline.plans import EVEN, similarity_of
from emoclim.pipeline.snapshots import JOINT_PLAN, UNFINISHED, find_unfinished, read_snapshot, write_snapshot
from emoclim.pipeline.workspace import Workspace, choose_device, read_json, usable_cores, write_json
from emoclim.progress import Track, silent
from emoclim.stages.train_end_to_end import Recordings, train_end_to_end
from emoclim.tuning import EncoderTuning

SNAPSHOT = "training.safetensors"
FORMAT = 1  # of what an encoder's file says of itself


def train_encoder(
    encoder: str,
    *,
    checkpoint: Path | None = None,
    settings: Mapping[str, Setting] | None = None,
    images: str | None = None,
    audio: Path | None = None,
    weights: tuple[float, ...] = EVEN,
    config: TrainConfig = TrainConfig(),  # noqa: B008 - immutable
    tuning: EncoderTuning = EncoderTuning(),  # noqa: B008 - immutable
    valence_arousal: Path | None = None,
    similarity_width: float = SIMILARITY_WIDTH,
    label_map: Path | None = None,
    name: str | None = None,
    workers: int | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    track: Track = silent,
    show: Callable[[Epoch], None] | None = None,
) -> JointResult:
    """Train an encoder of music and a pair of heads together.

    Parameters
    ----------
    encoder, checkpoint, settings
        What to start from; see :func:`emoclim.encoders.loading.load_encoder`.
    images
        Which cache of pictures; None takes the newest.
    audio
        Manifest of the music: CSV or folder; None looks in the workspace's ``data/``.
    weights
        Of the terms of the loss.
    config, tuning
        All other settings.
    workers
        Decoding processes; None takes one per core, eight at most.
    show
        Is told of each epoch.
    valence_arousal, similarity_width, label_map, name, workspace, device, track
        As for :func:`emoclim.pipeline.heads.train`.

    Raises
    ------
    EmoclimError
        The encoder, the cache, a manifest, the label map or a setting cannot be used.
    """
    if (takes := find_encoder(encoder).MODALITY) != TRAINED:
        raise EncoderError(f"encoder {encoder!r} takes {takes}; what is trained end to end takes {TRAINED}")
    choice = EncoderChoice(encoder, checkpoint.resolve() if checkpoint else None, settings or {})
    loaded = choice.load(track)
    libraries: dict[Modality, Library] = {"image": labelled_library(workspace, "image", images)}
    manifest = with_splits(read_manifest(audio or workspace.manifest(TRAINED), TRAINED))
    libraries[TRAINED] = uncached(workspace, manifest, loaded.spec, choice)
    labels = labels_of(libraries)
    mapping = read_label_map(label_map, labels) if label_map else match_labels(labels)
    plan = JointPlan(
        choice,
        loaded.spec,
        library_note(libraries["image"]),
        recordings_note(libraries[TRAINED]),
        mapping,
        weights,
        config,
        tuning,
        similarity_of(valence_arousal, similarity_width, mapping) if valence_arousal else None,
    )
    where = choose_device(device)
    images_name = libraries["image"].note.spec.name
    folder = workspace.free_run(name) if name else workspace.new_run(f"{images_name}-{encoder}-unfrozen")
    work = folder / UNFINISHED
    work.mkdir(parents=True)
    try:
        write_json(work / JOINT_PLAN, plan.to_dict())
        return _execute(folder, plan, libraries, loaded, workspace, workers, where, track, show)
    except BaseException:
        if not (work / SNAPSHOT).exists():  # nothing to go on from
            shutil.rmtree(folder, ignore_errors=True)
        raise


def resume(
    run: str,
    *,
    workers: int | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    track: Track = silent,
    show: Callable[[Epoch], None] | None = None,
) -> JointResult:
    """Go on with a run that was killed or stopped; on the CPU the bytes of the result are those of one that never was.

    Parameters
    ----------
    run
        Its name or path.
    workers, workspace, device, track, show
        As for :func:`train_encoder`.

    Raises
    ------
    RunError
        There is no such run, it is finished, or what it was trained on has changed.
    EmoclimError
        The cache, the manifest or the encoder cannot be used.
    """
    folder = find_unfinished(workspace, run, JOINT_PLAN)
    path = folder / UNFINISHED / JOINT_PLAN
    content = read_json(path, RunError, f"delete {folder} and train again")
    try:
        plan = JointPlan.from_dict(content)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} is of another version; delete {folder} and train again") from error
    encoder = plan.load(track)
    manifest = with_splits(read_manifest((workspace.caches / plan.audio["path"]).resolve(), TRAINED), seed=None)
    libraries: dict[Modality, Library] = {
        "image": labelled_library(workspace, "image", plan.images["cache"]),
        TRAINED: uncached(workspace, manifest, encoder.spec, plan.encoder),
    }
    if library_note(libraries["image"]) != dict(plan.images):
        raise RunError(f"the image library of run {folder.name} has changed since, or its cache has; train again")
    if recordings_note(libraries[TRAINED]) != dict(plan.audio):
        raise RunError(f"{manifest.source} has changed since run {folder.name} was begun; train again")
    return _execute(folder, plan, libraries, encoder, workspace, workers, choose_device(device), track, show)


def _execute(
    folder: Path,
    plan: JointPlan,
    libraries: Mapping[Modality, Library],
    encoder: Encoder,
    workspace: Workspace,
    workers: int | None,
    device: torch.device,
    track: Track,
    show: Callable[[Epoch], None] | None,
) -> JointResult:
    """Train what is left of a plan, and write everything; the heads come last, and make it a run."""
    work = folder / UNFINISHED
    keys = ContentKeys(workspace.caches / "content.json")
    pictures = {modality: library for modality, library in libraries.items() if modality != TRAINED}
    splits = read_splits(pictures, plan.label_map, ("train", "val"), keys)
    keys.save()
    manifest = libraries[TRAINED].manifest
    training = train_end_to_end(
        splits["train"],
        splits["val"],
        {name: _recordings(manifest, plan, name) for name in splits},
        encoder,
        EMO_CLIM,
        plan.weights,
        plan.config,
        plan.tuning,
        workers=min(MAX_WORKERS, usable_cores()) if workers is None else workers,
        similarity=torch.tensor(plan.similarity["table"]) if plan.similarity else None,
        device=device,
        track=track,
        resume=read_snapshot(work / SNAPSHOT),
        keep=partial(write_snapshot, path=work / SNAPSHOT),
        watch=show,
    )
    if not math.isfinite(training.best_loss):
        shutil.rmtree(folder)
        raise ConfigError("no validation loss was ever finite, so there is nothing to keep; lower the learning rates")
    file = write_encoder(folder, training.encoder, _about(plan, training.best_epoch))
    trained = plan.encoder.load(track, file)
    _ = trained.module  # its file can be used, or this tells
    libraries = {**libraries, TRAINED: uncached(workspace, manifest, trained.spec, plan.encoder)}
    result = JointResult(folder, plan, libraries, training, file)
    write_joint_run(folder, result.settings(), training, training.heads(trained.spec), EMO_CLIM)
    if not training.interrupted:
        shutil.rmtree(work)
    return result


def _recordings(manifest: Manifest, plan: JointPlan, split: str) -> Recordings:
    items = labelled_items(manifest, plan.label_map, split)
    classes = [plan.label_map.class_of(TRAINED, item.label) for item in items]
    return Recordings(items, torch.tensor(classes, dtype=torch.int64))


def _about(plan: JointPlan, best_epoch: int) -> dict[str, object]:
    """Where a trained encoder comes from: the same for the same seed."""
    return {
        "format": FORMAT,
        "start": plan.start.to_dict(),
        "config": plan.config.to_dict() | {"encoder": plan.tuning.to_dict()},
        "loss_weights": list(plan.weights),
        "classes": list(plan.label_map.classes),
        "manifests": {"image": plan.images["digest"], TRAINED: plan.audio["digest"]},
        "best_epoch": best_epoch,
    }
