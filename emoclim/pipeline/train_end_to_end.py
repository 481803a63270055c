"""`emoclim train-end-to-end`: recordings, an encoder and a cache of pictures -> a run with an encoder of its own."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emoclim.config import TrainConfig
from emoclim.data import ContentKeys, Manifest, Setting, match_labels, read_label_map, read_manifest, with_splits
from emoclim.encoders import find_encoder
from emoclim.errors import EncoderError, RunError
from emoclim.files import read_json, write_json
from emoclim.learning import ALONE, Augmentations, EncoderTuning, Epoch, Replicas, check_trainable
from emoclim.modality import Modality
from emoclim.pipeline.augmenting import make_augmenter, make_augmenter_again
from emoclim.pipeline.extract import MAX_WORKERS
from emoclim.pipeline.joint_plans import TRAINED, EncoderChoice, JointPlan, contents_digest, recordings_note, uncached
from emoclim.pipeline.joint_result import JointResult
from emoclim.pipeline.joint_training import SNAPSHOT, Material, Means, execute
from emoclim.pipeline.library import Library, labelled_library, labels_of, library_note, noted_library, split_manifest
from emoclim.pipeline.plans import EVEN, similarity_of
from emoclim.pipeline.snapshots import JOINT_PLAN, UNFINISHED, find_unfinished
from emoclim.pipeline.train_heads import SIMILARITY_WIDTH
from emoclim.pipeline.workspace import Workspace, choose_device, usable_cores
from emoclim.progress import Track, silent


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
    augmentations: Augmentations = Augmentations(),  # noqa: B008 - immutable
    valence_arousal: Path | None = None,
    similarity_width: float = SIMILARITY_WIDTH,
    label_map: Path | None = None,
    store: bool = False,
    name: str | None = None,
    workers: int | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    track: Track = silent,
    show: Callable[[Epoch], None] | None = None,
    replicas: Replicas = ALONE,
) -> JointResult:
    """Train an encoder of music and a pair of heads together."""
    if (takes := find_encoder(encoder).MODALITY) != TRAINED:
        raise EncoderError(f"encoder {encoder!r} takes {takes}; what is trained end to end takes {TRAINED}")
    choice = EncoderChoice(encoder, checkpoint.resolve() if checkpoint else None, settings or {})
    with replicas.first_before_others():
        loaded = choice.load(track)
        libraries: dict[Modality, Library] = {"image": labelled_library(workspace, "image", images)}
        keys = ContentKeys(workspace.caches / "content.json")
        manifest = split_manifest(read_manifest(audio or workspace.manifest(TRAINED), TRAINED), keys, track)
        libraries[TRAINED] = uncached(workspace, manifest, loaded.spec, choice)
        note, augment = make_augmenter(augmentations, loaded, workspace, track)
        contents = _contents(manifest, keys, track)
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
        note,
        store,
        contents,
    )
    where = replicas.device(choose_device(device))
    check_trainable(loaded, tuning, config, replicas.count, where)
    encoders = f"{libraries['image'].note.spec.name}-{encoder}-unfrozen"
    folder = replicas.agree(lambda: workspace.claim_run(name, encoders))
    material = Material(libraries, loaded, augment)
    means = Means(folder, workspace, _decoding(workers, replicas), where, track, show, replicas)
    if not replicas.first:
        return execute(plan, material, means)
    means.work.mkdir()
    try:
        write_json(means.work / JOINT_PLAN, plan.to_dict())
        return execute(plan, material, means)
    except BaseException:
        if not (means.work / SNAPSHOT).exists():  # nothing to go on from
            shutil.rmtree(folder, ignore_errors=True)
        raise


def resume_encoder(
    run: str,
    *,
    workers: int | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    track: Track = silent,
    show: Callable[[Epoch], None] | None = None,
    replicas: Replicas = ALONE,
) -> JointResult:
    """Go on with a run that was killed or stopped; on the CPU with the bytes of one that never was."""
    folder = find_unfinished(workspace, run, JOINT_PLAN)
    path = folder / UNFINISHED / JOINT_PLAN
    content: dict[str, Any] = read_json(path, RunError, f"delete {folder} and train again")
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
        if (pictures := noted_library(workspace, plan.images)) is None:
            raise RunError(f"the image library of run {folder.name} has changed since, or its cache has; train again")
        libraries: dict[Modality, Library] = {
            "image": pictures,
            TRAINED: uncached(workspace, manifest, encoder.spec, plan.encoder),
        }
        if recordings_note(libraries[TRAINED]) != dict(plan.audio):
            raise RunError(f"{manifest.source} has changed since run {folder.name} was begun; train again")
        keys = ContentKeys(workspace.caches / "content.json")
        if _contents(manifest, keys, track) != plan.contents:
            raise RunError(
                f"recordings of {manifest.source}, or the parts of them that are meant, have changed since run "
                f"{folder.name} was begun; train again"
            )
        augment = make_augmenter_again(plan.augmentations, encoder, workspace, track)
    where = replicas.device(choose_device(device))
    material = Material(libraries, encoder, augment)
    return execute(plan, material, Means(folder, workspace, _decoding(workers, replicas), where, track, show, replicas))


def _contents(manifest: Manifest, keys: ContentKeys, track: Track) -> str:
    items = track(manifest.items, description=f"read {manifest.name}", total=len(manifest.items))
    try:
        return contents_digest(items, keys)
    finally:
        keys.save()


def _decoding(workers: int | None, replicas: Replicas) -> int:
    """Processes that decode for this one."""
    return min(MAX_WORKERS, usable_cores() // replicas.count) if workers is None else workers
