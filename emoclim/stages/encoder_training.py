"""Train an encoder and its pair of heads together, from files; the other modalities stay cached features.

Conventions and randomness as in :mod:`.head_training`, whose batches, initial values, dropout and objective
these are for the same seed; in place of drawn segments stand random crops, each with a generator of its own: see
:mod:`emoclim.learning.end_to_end.crops`. Nothing here knows which encoder it is.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data import FeatureSpec, Item, Split
from emoclim.encoders import Encoder, choose_device
from emoclim.errors import ConfigError
from emoclim.extraction import explain_worker_death, keep_freed_memory, trim_periodically
from emoclim.learning import (
    ALONE,
    Augment,
    Banks,
    BestHeads,
    Callbacks,
    CropLoader,
    CropSource,
    EncoderTuning,
    Epochs,
    Heads,
    History,
    JointBest,
    JointLearner,
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
class Recordings:
    """Files of one split, to be encoded while training."""

    items: Sequence[Item]  # N files
    labels: Tensor  # (N,) int64: index into the classes of the split; -1 for none, where there are numbers
    numbers: Tensor | None = None  # (N, n) float32: what is measured of each


@dataclass(frozen=True, slots=True)
class Crops:
    """How crops of files are made."""

    workers: int = 0  # processes that decode; 0 decodes in this one. No byte of the result depends on it
    source: CropSource | None = None  # what makes the crops; None takes them from the files
    augment: Augment | None = None  # what is done to crops of training, never of validation, after they are drawn


@dataclass(frozen=True, slots=True)
class JointTraining:
    """What a training gave; all tensors are on the CPU."""

    banks: Banks  # of one set of heads, as it was after its best epoch
    objective: Objective
    encoder: Mapping[str, Tensor]  # state of the network after the same epoch, by name
    specs: Mapping[Modality, FeatureSpec]  # of the features that stayed cached
    trained: Sequence[str]  # names of the encoder's parameters that were trained
    best_epoch: int  # from 0
    best_loss: float  # on validation; infinite if it never was a number, and then everything is as it began
    history: History  # losses of every epoch that was run; K = 1
    interrupted: bool  # whether it was stopped before its last epoch
    seconds: float  # that the epochs took that were run here
    waiting: float  # of these seconds, for crops
    failures: Mapping[str, str]  # by item, why its crops could not be had here

    def heads(self, spec: FeatureSpec) -> Heads:
        """Bind the heads to the features that the trained encoder makes: those of `spec`."""
        return Heads(self.banks, {**self.specs, spec.modality: spec}, self.objective)


def train_end_to_end(
    train: Split,
    val: Split,
    recordings: Mapping[str, Recordings],
    encoder: Encoder,
    objective: Objective,
    weights: Sequence[float],
    config: TrainConfig,
    tuning: EncoderTuning = EncoderTuning(),
    *,
    crops: Crops = Crops(),
    replicas: Replicas = ALONE,
    device: torch.device | str,
    resume: Snapshot | None = None,
    callbacks: Callbacks = Callbacks(),
) -> JointTraining:
    """Train an encoder and a pair of heads, and keep both as they were after their best epoch.

    Parameters
    ----------
    train, val
        Labelled features of the other modality, with the same classes and specs.
    recordings
        By ``train`` and ``val``, the files of the encoder's modality.
    encoder
        Where to start from; it is not changed.
    objective
        What is minimised, with one settings.
    weights
        One for each of its terms.
    config
        Of the heads, and of the batches.
    tuning
        Of the encoder.
    crops
        How crops of the files are made.
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
        Weights or settings cannot be used with this encoder or device.
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
    check_trainable(encoder, tuning, config, replicas.count, device)
    modalities = objective.modalities
    if encoder.spec.modality not in modalities:
        raise ConfigError(f"no term of the objective has {encoder.spec.modality}, so its encoder cannot be trained")
    table = weight_table([weights], objective)
    train, val, items = _joined(train, val.without_views(), recordings, modalities, encoder, device)
    check_pair(train, val, modalities, objective.needs)
    heads = new_learner(objective, train, table, config, device)
    learner = JointLearner(encoder, heads, tuning, device, replicas)
    best = JointBest(learner.module, BestHeads(heads.banks, config.patience, device))
    loader = CropLoader(
        encoder,
        items,
        seed=config.seed,
        workers=crops.workers,
        device=device,
        replicas=replicas,
        source=crops.source,
        augment=crops.augment,
    )
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
        {name: tensor.cpu() for name, tensor in best.kept.items()},
        {modality: train.features[modality].spec for modality in modalities if modality != encoder.spec.modality},
        tuple(learner.trained),
        int(best.heads.epoch),
        float(best.heads.loss),
        epochs.history(),
        interrupted,
        timing.seconds[TOTAL],
        timing.seconds[WAITING],
        loader.failures,
    )


def _joined(
    train: Split,
    val: Split,
    recordings: Mapping[str, Recordings],
    modalities: Sequence[Modality],
    encoder: Encoder,
    device: torch.device,
) -> tuple[Split, Split, list[Item]]:
    """Put row numbers in place of the features of the recordings, and list the items that they number."""
    items: list[Item] = []
    joined = []
    own = encoder.spec.modality
    for split, part in ((train, recordings["train"]), (val, recordings["val"])):
        features = {name: table.to(device) for name, table in split.features.items() if name != own}
        features[own] = numbered(encoder, part.items, len(items))
        labels = {**split.labels, own: part.labels}
        numbers = dict(split.numbers or {}) | ({} if part.numbers is None else {own: part.numbers})
        present = [modality for modality in modalities if modality in features]
        tables = {modality: features[modality] for modality in present}
        labels = {modality: labels[modality].cpu() for modality in present}
        joined.append(replace(split, features=tables, labels=labels, numbers=numbers or None))
        items += part.items
    return joined[0], joined[1], items
