"""Train encoders and their heads together, from files; the other modalities stay cached features.

Conventions and randomness as in :mod:`.head_training`, whose batches, initial values, dropout and objective
these are for the same seed; in place of drawn segments stand random crops, each with a generator of its own: see
:mod:`emoclim.learning.end_to_end.crops`. Nothing here knows which encoders they are.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data import FeatureSpec, Item, Split
from emoclim.encoders import choose_device
from emoclim.errors import ConfigError
from emoclim.extraction import explain_worker_death, keep_freed_memory, trim_periodically
from emoclim.learning import (
    ALONE,
    Augment,
    Banks,
    BestHeads,
    Callbacks,
    CropLoader,
    CropMaker,
    CropSource,
    EncoderTuning,
    Epochs,
    Heads,
    History,
    JointBest,
    JointLearner,
    LiveEncoder,
    Losses,
    Objective,
    Replicas,
    Snapshot,
    check_pair,
    check_trainable,
    mean_loss,
    new_learner,
    numbered,
    weighted_sum,
)
from emoclim.modality import Modality
from emoclim.progress import Stopwatch
from emoclim.seeding import generator_for
from emoclim.stages.head_training import DRAWS, weight_table

log = logging.getLogger(__name__)

TOTAL, WAITING = "total", "waiting"  # what is timed
KEPT = "the epochs that are done are kept: go on with --resume, with fewer --workers"


@dataclass(frozen=True, slots=True)
class LabelledItems:
    """Items of one split, to be encoded while training."""

    items: Sequence[Item]  # N
    labels: Tensor  # (N,) int64: index into the classes of the split; -1 for none, where there are numbers
    numbers: Tensor | None = None  # (N, n) float32: what of each is measured, not named
    pairs: Tensor | None = None  # (N,) int64: items of equal number belong together


@dataclass(frozen=True, slots=True)
class LiveModality:
    """A modality that is encoded while training."""

    encoder: LiveEncoder  # where to start from; it is not changed
    train: LabelledItems
    val: LabelledItems
    source: CropSource | None = None  # what makes the crops; None takes them from the files
    augment: Augment | None = None  # what is done to crops of training, never of validation, after they are drawn

    @property
    def modality(self) -> Modality:
        """Its name."""
        return self.encoder.spec.modality


@dataclass(frozen=True, slots=True)
class JointTraining:
    """What a training gave; all tensors are on the CPU."""

    banks: Banks  # of one set of heads, as it was after its best epoch
    objective: Objective
    encoders: Mapping[Modality, Mapping[str, Tensor]]  # state of each network after the same epoch, by name
    specs: Mapping[Modality, FeatureSpec]  # of the features that stayed cached
    trained: Mapping[Modality, Sequence[str]]  # names of the encoders' parameters that were trained
    best_epoch: int  # from 0
    best_loss: float  # on validation; infinite if it never was a number, and then everything is as it began
    history: History  # losses of every epoch that was run; K = 1
    interrupted: bool  # whether it was stopped before its last epoch
    seconds: float  # that the epochs took that were run here
    waiting: float  # of these seconds, for crops
    failures: Mapping[str, str]  # by item, why its crops could not be had here

    def heads(self, *specs: FeatureSpec) -> Heads:
        """Bind the heads to the features that the trained encoders make: those of `specs`."""
        known = {**self.specs, **{spec.modality: spec for spec in specs}}
        return Heads(self.banks, {name: known[name] for name in self.objective.modalities}, self.objective)


def train_end_to_end(
    train: Split,
    val: Split,
    live: Sequence[LiveModality],
    objective: Objective,
    weights: Sequence[float],
    config: TrainConfig,
    tuning: EncoderTuning = EncoderTuning(),
    *,
    workers: int = 0,
    replicas: Replicas = ALONE,
    device: torch.device | str,
    resume: Snapshot | None = None,
    callbacks: Callbacks = Callbacks(),
) -> JointTraining:
    """Train encoders and a set of heads, and keep all as they were after their best epoch.

    Parameters
    ----------
    train, val
        Labelled features of the modalities that stay cached, if any, with the same classes and specs.
    live
        The others: their encoders and files.
    objective
        What is minimised, with one settings.
    weights
        One for each of its terms.
    config
        Of the heads, and of the batches.
    tuning
        Of the encoders.
    workers
        Processes that decode; 0 decodes in this one. No byte of the result depends on it.
    replicas
        Processes that train together, each calling this with the same arguments.
    device, callbacks
        As for :func:`emoclim.stages.head_training.train_heads`.
    resume
        As for the same; on the CPU the bytes of the result are those of a training that was never stopped.

    Returns
    -------
    JointTraining
        After a ``KeyboardInterrupt`` what the finished epochs gave, if there was one.

    Raises
    ------
    ConfigError
        Weights or settings cannot be used with these encoders or this device.
    ManifestError
        The splits lack a class or a modality, or too many files cannot be decoded.
    CacheError
        Features hold NaN or infinity, or differ in their specs (:class:`CacheMismatch`).

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, section 4.4:
    of all epochs the one with the lowest validation loss. Its segments are drawn once and held.
    """
    device = choose_device(device)
    check_trainable([one.encoder for one in live], tuning, config, replicas.count, device)
    modalities = objective.modalities
    if strange := [one.modality for one in live if one.modality not in modalities]:
        raise ConfigError(f"no term of the objective has {strange[0]}, so its encoder cannot be trained")
    table = weight_table([weights], objective)
    train, val, makers = _joined(train, val.without_views(), live, modalities, device)
    check_pair(train, val, modalities, objective.needs, objective.fewest_pairs)
    heads = new_learner(objective, train, table, config, device)
    if not heads.learns and not all(branch.bare for branch in heads.banks.branches.values()):
        told = f"objective {objective.name} has no loss that trains an encoder"
        raise ConfigError(f"{told}; extract features, and run: emoclim train-heads --objective {objective.name}")
    learner = JointLearner([one.encoder for one in live], heads, tuning, device, replicas)
    best = JointBest(learner.modules, BestHeads(heads.banks, config.patience, device))
    how: dict[str, Any] = {"seed": config.seed, "workers": workers, "device": device, "replicas": replicas}
    loader = CropLoader(makers, **how, paired="pairs" in objective.needs)
    draws = {purpose: generator_for(purpose, config.seed) for purpose in DRAWS}
    timing = Stopwatch()

    def run_epoch(number: int) -> Losses:
        shape = (config.batches_per_epoch, config.batch_size)
        views = config.views_per_item
        drawn = objective.draw(train, shape, draws["items"], draws["segments"], name="train", views=views)
        filled = trim_periodically(timing.each(loader.fill(drawn, f"crop/{number}", augmented=True), WAITING))
        steps = callbacks.track(filled, description=f"Epoch {number + 1}", total=config.batches_per_epoch)
        losses = learner.train(steps, config.batches_per_epoch, draws["dropout"])
        held = generator_for("validation", config.seed)
        asked = objective.draw(val, (config.val_batches, config.batch_size), held, held, name="val")
        filled = trim_periodically(timing.each(loader.fill(asked, "validation crop"), WAITING))
        by_term = learner.evaluate(callbacks.track(filled, description="Validating", total=config.val_batches))
        return mean_loss(losses), weighted_sum(by_term, heads.weights), torch.stack(by_term, dim=1)

    epochs = Epochs(config.epochs, run_epoch, best, [learner], draws, callbacks)
    if resume is not None:
        epochs.restore(resume, device)
    with timing.time(TOTAL), keep_freed_memory(device), explain_worker_death(KEPT):
        interrupted = epochs.run("Training end to end")
    if not math.isfinite(float(best.heads.loss)):
        log.warning("the validation loss was never finite; lower the learning rates")
    return JointTraining(
        best.heads.kept.cpu(),
        objective,
        {own: {name: tensor.cpu() for name, tensor in kept.items()} for own, kept in best.kept.items()},
        {modality: train.features[modality].spec for modality in modalities if modality not in learner.modules},
        {own: tuple(trained) for own, trained in learner.trained.items()},
        int(best.heads.epoch),
        float(best.heads.loss),
        epochs.history(),
        interrupted,
        timing.seconds[TOTAL],
        timing.seconds[WAITING],
        loader.failures,
    )


def _joined(
    train: Split, val: Split, live: Sequence[LiveModality], modalities: Sequence[Modality], device: torch.device
) -> tuple[Split, Split, list[CropMaker]]:
    """Put row numbers in place of features of the live modalities, and list the items that they number."""
    joined = []
    for place, split in enumerate((train, val)):
        features = {name: table.to(device) for name, table in split.features.items()}
        tables: list[dict[Modality, Tensor]] = [dict(split.labels), dict(split.numbers or {}), dict(split.pairs or {})]
        for one in live:
            part = (one.train, one.val)[place]
            features[one.modality] = numbered(one.encoder, part.items, place * len(one.train.items))
            for table, own in zip(tables, (part.labels, part.numbers, part.pairs), strict=True):
                table.pop(one.modality, None)
                if own is not None:
                    table[one.modality] = own
        present = [modality for modality in modalities if modality in features]
        labels, numbers, pairs = ({name: table[name].cpu() for name in present if name in table} for table in tables)
        known = {name: features[name] for name in present}
        joined.append(replace(split, features=known, labels=labels, numbers=numbers or None, pairs=pairs or None))
    makers = [CropMaker(one.encoder, [*one.train.items, *one.val.items], one.source, one.augment) for one in live]
    return joined[0], joined[1], makers
