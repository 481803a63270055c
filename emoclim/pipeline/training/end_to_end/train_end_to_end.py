"""`emoclim train-end-to-end`: encoders, the items that they take and a cache of any other modality -> a run.

Live modalities are those of the encoders; another one stays cached. The run has the trained encoders beside its heads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from emoclim.cache import located
from emoclim.data import ContentKeys, Manifest, Split, read_manifest, with_splits
from emoclim.encoders import Encoder, choose_device
from emoclim.errors import RunError
from emoclim.learning import Callbacks, Candidate, check_trainable, choose
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.library import called, split_manifest
from emoclim.pipeline.machine import decoders, usable_cores
from emoclim.pipeline.run import Resources, Step, Work, require_finite
from emoclim.pipeline.training.config import EndToEndConfig
from emoclim.pipeline.training.end_to_end.crops import StoredCrops, make_augmenters, of_waveforms, stored_crops
from emoclim.pipeline.training.end_to_end.encoder_result import EncoderResult, encoded, write_encoders
from emoclim.pipeline.training.inputs import SOUNDS, EndToEndInputs, choose_for, contents_digest, takes_all
from emoclim.pipeline.training.sweep import Sweep, trained_candidate, validate
from emoclim.pipeline.workspace import Workspace
from emoclim.stages import JointTraining, LiveModality, train_end_to_end

SNAPSHOT = "training"
RULE = "mean"  # the score of a run, among others


@dataclass(frozen=True, slots=True)
class Material:
    """What is trained on, and by what."""

    splits: Mapping[str, Split]  # of what stays cached
    live: Sequence[LiveModality]
    stored: Mapping[Modality, StoredCrops]  # where crops come from; of others, from the files
    device: torch.device
    workers: int


class TrainEndToEnd(Step[EndToEndConfig, EndToEndInputs, EncoderResult]):
    """Train encoders and a set of heads together."""

    name, config = "train-end-to-end", EndToEndConfig
    result: type[EncoderResult] = EncoderResult

    def inputs(self, config: EndToEndConfig, resources: Resources, known: Mapping[str, Any]) -> EndToEndInputs:
        """Load the encoders, open what is cached and read the manifests of the live modalities."""
        count = resources.replicas.count
        if (began := known.get("processes", count)) != count:
            raise RunError(f"the run was begun by {began} processes, not {count}; go on with as many")
        workspace, track, objective = resources.workspace, resources.track, config.make_objective()
        encoders = {modality: config.load(modality, track) for modality in MODALITIES if modality in config.encoders}
        named = {**self.named(encoders), **config.libraries}
        libraries = choose_for(objective, workspace, named, known, encoders)
        keys = workspace.content_keys()
        for live, encoder in encoders.items():
            manifest = _live_manifest(
                config.libraries.get(live), live, resources, known, keys, every=takes_all(objective)
            )
            libraries[live] = config.library(workspace, manifest, encoder.spec)
        note, augmenters = make_augmenters(config.augmentations, encoders, workspace, track, known.get(SOUNDS))
        items = [item for live in encoders for item in libraries[live].manifest.items]
        contents = contents_digest(track(items, "read the files to train on", len(items)), keys)
        keys.save()
        return EndToEndInputs.of(
            config,
            {modality: libraries[modality] for modality in MODALITIES if modality in libraries},
            known,
            encoders=encoders,
            contents=contents,
            augmentations=note,
            augmenters=augmenters,
            processes=count,
        )

    def named(self, encoders: Mapping[Modality, Encoder]) -> Mapping[Modality, str]:  # noqa: ARG002
        """Return modalities beside which no cache is looked for, with names for those that have none."""
        return {}

    @override
    def place(self, config: EndToEndConfig, inputs: EndToEndInputs, workspace: Workspace, name: str | None) -> Path:
        """Make a folder named after the encoders, those that are trained last."""
        names = [inputs.libraries[modality].note.spec.name for modality in (*inputs.cached, *inputs.encoders)]
        return workspace.claim_run(name, f"{'-'.join(names)}-unfrozen")

    def run(self, config: EndToEndConfig, inputs: EndToEndInputs, work: Work) -> EncoderResult:
        """Train what is left, and measure on validation."""
        material = self.prepare(config, inputs, work.resources)
        training = _train(config, inputs, work, material)
        require_finite([training.best_loss])
        kind = self.result
        return work.resources.replicas.broadcast_result(lambda: _end(kind, config, inputs, work, material, training))

    def prepare(self, config: EndToEndConfig, inputs: EndToEndInputs, resources: Resources) -> Material:
        """Read the cached features, find what is trained on, and what with."""
        return _prepare(config, inputs, resources)


def _live_manifest(
    named: str | None, live: Modality, resources: Resources, known: Mapping[str, Any], keys: ContentKeys, *, every: bool
) -> Manifest:
    """Read the manifest of a live modality: the one that a run noted when it began, or the one that is asked for."""
    workspace = resources.workspace
    if known:
        manifest = read_manifest(located(known[called(live)]["path"], workspace.caches), live)
        return with_splits(manifest, None, every=every)
    source = Path(named) if named else workspace.manifest(live)
    return split_manifest(read_manifest(source, live), keys, resources.track, every=every)


def _prepare(config: EndToEndConfig, inputs: EndToEndInputs, resources: Resources) -> Material:
    """Read the cached features and, for a store, decode all files, once for all processes."""
    replicas = resources.replicas
    device = replicas.device(choose_device(resources.device))
    check_trainable(inputs.encoders.values(), config.tuning, config.base, replicas.count, device)
    workers = decoders(resources.workers, usable_cores() // replicas.count)
    with replicas.main_process_first():
        splits = inputs.splits(resources.workspace, inputs.cached)
    parts = {live: [inputs.items(live, name) for name in splits] for live in inputs.encoders}

    def decode() -> dict[Modality, StoredCrops]:
        keys, found = resources.workspace.content_keys(), {}
        for live, encoder in of_waveforms(inputs.encoders, "to be decoded; train it without --store").items():
            items = [item for part in parts[live] for item in part.items]
            how: dict[str, Any] = {"workers": workers, "track": resources.track}
            found[live] = stored_crops(encoder, items, resources.workspace, keys, **how)
        return found

    # The first process decodes for all: what cannot be is tried again by whoever asks.
    stored = replicas.broadcast_result(decode) if config.store else {}
    live = [
        LiveModality(inputs.encoders[own], train, val, stored.get(own), inputs.augmenters.get(own))
        for own, (train, val) in parts.items()
    ]
    return Material(splits, live, stored, device, workers)


def _train(config: EndToEndConfig, inputs: EndToEndInputs, work: Work, material: Material) -> JointTraining:
    resources = work.resources
    keep = work.keep(SNAPSHOT) if resources.replicas.first else None
    return train_end_to_end(
        material.splits["train"],
        material.splits["val"],
        material.live,
        inputs.objective,
        config.weights_of(inputs.objective),
        config.base,
        config.tuning,
        workers=material.workers,
        replicas=resources.replicas,
        device=material.device,
        resume=work.read(SNAPSHOT),
        callbacks=Callbacks(resources.track, keep, resources.watch),
    )


def _end(
    kind: type[EncoderResult],
    config: EndToEndConfig,
    inputs: EndToEndInputs,
    work: Work,
    material: Material,
    training: JointTraining,
) -> EncoderResult:
    """Write the encoders, and measure heads that are kept on validation, as extraction will make the features."""
    resources, device, val = work.resources, material.device, material.splits["val"]
    files = write_encoders(work.folder, config, inputs, training)
    encoders = {live: config.load(live, resources.track, file) for live, file in files.items()}
    failures = dict(training.failures)
    for one in material.live if kind.measured else ():
        how: dict[str, Any] = {"workers": material.workers, "device": device, "track": resources.track}
        val, failed = encoded(val, one.val, encoders[one.modality], **how)
        failures = failed | failures
    objective, best = inputs.objective, training.best_epoch
    heads = training.heads(
        *(one.encoder.spec for one in material.live), *(encoder.spec for encoder in encoders.values())
    )
    candidate = Candidate(config.weights_of(objective), config.base, objective.settings[0])
    (metrics,) = validate(val, heads, device) if kind.measured else ({},)
    line = trained_candidate(0, candidate, training.history, best, training.best_loss, metrics)
    libraries = {
        live: config.library(resources.workspace, inputs.libraries[live].manifest, encoder.spec)
        for live, encoder in encoders.items()
    }
    return kind(
        folder=work.run,
        inputs=inputs,
        plan=work.plan.digest,
        sweep=Sweep((line,), heads, (training.history,), training.interrupted),
        report=choose([line], objective, RULE if metrics else "loss"),
        config=config,
        trained=files,
        libraries={**inputs.libraries, **libraries},
        training=training,
        stored=material.stored,
        failures=failures,
        workspace=resources.workspace,
    )
