"""How good an encoder and its heads are that were trained together, measured as `emoclim train-heads` does."""

from dataclasses import replace
from pathlib import Path

import torch

from emoclim.cache import MemoryCache
from emoclim.data import Manifest, Split
from emoclim.encoders import Encoder
from emoclim.learning import Heads, TrainedCandidate
from emoclim.pipeline.joint_plans import JointPlan
from emoclim.pipeline.sweeping import Sweep, validate
from emoclim.progress import Track
from emoclim.stages import JointTraining, Recordings, extract

RULE = "mean"  # the score of a run, among others


def encoded(
    split: Split, recordings: Recordings, encoder: Encoder, *, workers: int, device: torch.device, track: Track
) -> tuple[Split, dict[str, str]]:
    """A split with the features that extraction will make of its recordings, and by item why others have none."""
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
    return Split({**split.features, modality: features}, labels, split.classes), failures


def measured(split: Split, training: JointTraining, heads: Heads, plan: JointPlan, device: torch.device) -> Sweep:
    """The training as a sweep of one candidate, with its precision and reciprocal rank on the validation split."""
    history, best = training.history, training.best_epoch
    (metrics,) = validate(split, heads, device)
    line = TrainedCandidate(
        number=0,
        loss_weights=plan.weights,
        config=plan.config,
        best_epoch=best,
        epochs=len(history.val_loss),
        val_loss=training.best_loss,
        val_terms=tuple(history.val_terms[best, 0].tolist()),
        metrics=metrics,
    )
    return Sweep((line,), heads, (history,), training.interrupted)
