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
from emoclim.pipeline.joint_files import about_encoder, write_encoder
from emoclim.pipeline.joint_plans import TRAINED, EncoderChoice, JointPlan, recordings_note, uncached
from emoclim.pipeline.joint_result import JointResult
from emoclim.pipeline.joint_validation import RULE, encoded, measured
from emoclim.pipeline.libraries import Library, labelled_library, library_note
from emoclim.pipeline.library_features import labelled_items, labels_of, read_splits
from emoclim.pipeline.plans import EVEN, similarity_of
from emoclim.pipeline.run_files import write_run
from emoclim.pipeline.snapshots import JOINT_PLAN, UNFINISHED, find_unfinished, read_snapshot, write_snapshot
from emoclim.pipeline.workspace import Workspace, choose_device, read_json, usable_cores, write_json
from emoclim.progress import Track, silent
from emoclim.replicas import ALONE, Replicas
from emoclim.reports.sweep import choose
from emoclim.stages.train_end_to_end import Recordings, train_end_to_end
from emoclim.tuning import EncoderTuning

SNAPSHOT = "training.safetensors"


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
    replicas: Replicas = ALONE,
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
    replicas
        The processes that train together, each calling this with the same arguments; the first alone writes.
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
    with replicas.first_before_others():
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
        replicas.count,
    )
    where = replicas.device(choose_device(device))
    encoders = f"{libraries['image'].note.spec.name}-{encoder}-unfrozen"
    folder = replicas.agree(lambda: workspace.free_run(name) if name else workspace.new_run(encoders))
    if not replicas.first:
        return _execute(folder, plan, libraries, loaded, workspace, workers, where, track, show, replicas)
    work = folder / UNFINISHED
    work.mkdir(parents=True)
    try:
        write_json(work / JOINT_PLAN, plan.to_dict())
        return _execute(folder, plan, libraries, loaded, workspace, workers, where, track, show, replicas)
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
    replicas: Replicas = ALONE,
) -> JointResult:
    """Go on with a run that was killed or stopped; on the CPU the bytes of the result are those of one that never was.

    Parameters
    ----------
    run
        Its name or path.
    workers, workspace, device, track, show, replicas
        As for :func:`train_encoder`.

    Raises
    ------
    RunError
        There is no such run, it is finished, was begun by another number of processes, or what it was trained on has
        changed.
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
    if plan.processes != replicas.count:
        raise RunError(
            f"run {folder.name} was begun by {plan.processes} processes, not {replicas.count}; go on with as many"
        )
    with replicas.first_before_others():
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
    where = replicas.device(choose_device(device))
    return _execute(folder, plan, libraries, encoder, workspace, workers, where, track, show, replicas)


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
    replicas: Replicas,
) -> JointResult:
    """Train what is left of a plan, and write everything; the heads come last, and make it a run."""
    work = folder / UNFINISHED
    pictures = {modality: library for modality, library in libraries.items() if modality != TRAINED}
    with replicas.first_before_others():
        keys = ContentKeys(workspace.caches / "content.json")
        splits = read_splits(pictures, plan.label_map, ("train", "val"), keys)
        keys.save()
    recordings = {name: _recordings(libraries[TRAINED].manifest, plan, name) for name in splits}
    decoding = min(MAX_WORKERS, usable_cores() // replicas.count) if workers is None else workers
    training = train_end_to_end(
        splits["train"],
        splits["val"],
        recordings,
        encoder,
        EMO_CLIM,
        plan.weights,
        plan.config,
        plan.tuning,
        workers=decoding,
        replicas=replicas,
        similarity=torch.tensor(plan.similarity["table"]) if plan.similarity else None,
        device=device,
        track=track,
        resume=read_snapshot(work / SNAPSHOT),
        keep=partial(write_snapshot, path=work / SNAPSHOT) if replicas.first else None,
        watch=show,
    )

    def finish() -> JointResult:
        if not math.isfinite(training.best_loss):
            shutil.rmtree(folder)
            raise ConfigError(
                "no validation loss was ever finite, so there is nothing to keep; lower the learning rates"
            )
        file = write_encoder(folder, training.encoder, about_encoder(plan, training.best_epoch))
        trained = plan.encoder.load(track, file)
        heads = training.heads(trained.spec)
        validation = encoded(splits["val"], recordings["val"], trained, workers=decoding, device=device, track=track)
        sweep = measured(validation, training, heads, plan, device)
        report = choose(sweep.lines, EMO_CLIM, RULE)
        whole = {**libraries, TRAINED: uncached(workspace, libraries[TRAINED].manifest, trained.spec, plan.encoder)}
        result = JointResult(folder, plan, whole, training, report, file)
        seconds = {"training": training.seconds, "waiting_for_files": training.waiting}
        write_run(folder, result.settings(), report, sweep, [0], {"seconds": seconds})
        if not training.interrupted:
            shutil.rmtree(work)
        return result

    return replicas.agree(finish)


def _recordings(manifest: Manifest, plan: JointPlan, split: str) -> Recordings:
    items = labelled_items(manifest, plan.label_map, split)
    classes = [plan.label_map.class_of(TRAINED, item.label) for item in items]
    return Recordings(items, torch.tensor(classes, dtype=torch.int64))
