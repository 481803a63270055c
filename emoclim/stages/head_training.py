"""Train K sets of heads on cached features, all at once: one run is a sweep with K = 1.

Conventions: epochs count from 0; histories lead with the epoch, everything else with K. All heads of a run see the same
batches and dropout masks and begin with the same values, so they differ by their loss weights and by what of the
objective's settings differs alone.

Randomness: one generator per purpose, made from the seed by :func:`emoclim.seeding.generator_for`: ``init`` (initial
values), ``items`` (which items a batch holds), ``segments`` (which segment stands for an item), ``dropout`` (also of
what a loss draws), and ``validation`` (items and segments of the validation batches, drawn once and held).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data import Split
from emoclim.encoders import choose_device
from emoclim.errors import ConfigError
from emoclim.learning import (
    BestHeads,
    Callbacks,
    Epochs,
    Heads,
    History,
    Losses,
    Objective,
    Snapshot,
    check_pair,
    loss_weights,
    mean_loss,
    new_learner,
    weighted_sum,
)
from emoclim.modality import Modality
from emoclim.seeding import generator_for

log = logging.getLogger(__name__)

DRAWS = ("items", "segments", "dropout")  # purposes of the generators that move on from epoch to epoch


@dataclass(frozen=True, slots=True)
class Training:
    """What a training gave."""

    heads: Heads  # K sets, each as it was after its own best epoch, on the CPU
    best_epoch: Tensor  # (K,) int64, from 0: that of lowest validation loss among those that `patience` lets count
    best_loss: Tensor  # (K,): that loss; infinite for a head whose validation loss never was a number
    history: History  # losses of every epoch that was run
    config: TrainConfig
    weights: Tensor  # (K, number of terms) float32: the loss weights
    interrupted: bool  # whether it was stopped before its last epoch


def train_heads(
    train: Split,
    val: Split,
    objective: Objective,
    weights: Tensor | Sequence[Sequence[float]],
    config: TrainConfig,
    *,
    device: torch.device | str,
    resume: Snapshot | None = None,
    callbacks: Callbacks = Callbacks(),
) -> Training:
    """Train K sets of heads and keep each as it was after its best epoch.

    Parameters
    ----------
    train, val
        Labelled features with the same classes and specs. A batch holds a random segment of each item drawn, or its
        value where no segments are kept; in validation too, but for an image's value in the place of its views.
    objective
        What is minimised, with K settings; its branches get a bank each.
    weights
        ``(K, number of terms)``: what each of the objective's terms counts.
    config
        Everything else.
    device
        Where to train; all features are put there once, but on the CPU those of large caches stay in their file.
    resume
        What `callbacks.keep` was given after an epoch of the same training, which goes on from there; the bytes of the
        result are those of a training that was never stopped.
    callbacks
        What is told while it runs.

    Returns
    -------
    Training
        After a ``KeyboardInterrupt`` what the finished epochs gave, if there was one. A head whose validation loss was
        never finite is as it began.

    Raises
    ------
    ConfigError
        Weights or settings cannot be used.
    ManifestError
        The splits lack a class, a modality or what the objective needs, have labels that do not fit, or differ in
        their classes.
    CacheError
        Features hold NaN or infinity, or differ in their specs (:class:`CacheMismatch`).

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, section 4.4:
    AdamW, and of all epochs the one with the lowest validation loss.

    Examples
    --------
    >>> from emoclim.data import Features, FeatureSpec
    >>> from emoclim.learning import make_objective
    >>> specs = {name: FeatureSpec("noise", name, 8, "none", {}) for name in ("text", "speech")}
    >>> rows = {name: Features(spec, tuple("abcd"), torch.eye(4, 8)) for name, spec in specs.items()}
    >>> split = Split(rows, {name: torch.tensor([0, 0, 1, 1]) for name in specs}, ("calm", "glad"))
    >>> objective = make_objective("emo_clim", tuple(specs), [{"temperature": 0.1}, {"temperature": 0.5}])
    >>> config = TrainConfig(epochs=1, batches_per_epoch=2, val_batches=1, batch_size=8)
    >>> training = train_heads(split, split, objective, [(1, 1, 0, 0)] * 2, config, device="cpu")
    >>> training.heads.vectors(rows["text"])[0].shape
    torch.Size([2, 4, 128])
    """
    device, table = choose_device(device), weight_table(weights, objective)
    check_pair(train, val, objective.modalities, objective.needs, objective.fewest_pairs)
    train, val = (_placed(split, objective.modalities, device) for split in (train, val.without_views()))
    learner = new_learner(objective, train, table, config, device)
    best = BestHeads(learner.banks, config.patience, device)
    held = generator_for("validation", config.seed)
    val_batches = list(objective.draw(val, (config.val_batches, config.batch_size), held, held, name="val"))
    draws = {purpose: generator_for(purpose, config.seed) for purpose in DRAWS}

    def run_epoch(_number: int) -> Losses:
        shape = (config.batches_per_epoch, config.batch_size)
        views = config.views_per_item
        drawn = objective.draw(train, shape, draws["items"], draws["segments"], name="train", views=views)
        losses = [learner.step(batch, draws["dropout"]) for batch in drawn]
        by_term = learner.evaluate(val_batches)
        stacked = torch.stack(by_term, dim=1) if by_term else learner.weights[:, :0]
        return mean_loss(losses), weighted_sum(by_term, learner.weights), stacked

    epochs = Epochs(config.epochs if learner.learns else 1, run_epoch, best, [learner], draws, callbacks)
    if resume is not None:
        epochs.restore(resume, device)
    interrupted = epochs.run("Training heads")
    if lost := int((~best.loss.isfinite()).sum()):
        log.warning("the validation loss of %d of %d heads was never finite; lower the learning rate", lost, len(table))
    specs = {modality: train.features[modality].spec for modality in objective.modalities}
    heads = Heads(best.kept.cpu(), specs, objective)
    return Training(heads, best.epoch.cpu(), best.loss.cpu(), epochs.history(), config, table, interrupted)


def weight_table(weights: Tensor | Sequence[Sequence[float]], objective: Objective) -> Tensor:
    """Check loss weights and return them as ``(K, number of terms)`` float32."""
    rows = weights.tolist() if isinstance(weights, Tensor) else list(weights)
    n_terms, n_heads = len(objective.terms), len(objective.settings)
    if not rows or len(rows) != n_heads or not all(isinstance(row, Sequence) for row in rows):
        raise ConfigError(
            f"{len(rows)} rows of loss weights for {n_heads} heads: give one head or more, and a row each"
        )
    if not n_terms and not any(rows):
        return torch.zeros(n_heads, 0)
    return torch.tensor([loss_weights(row, n_terms) for row in rows])


def _placed(split: Split, modalities: Sequence[Modality], device: torch.device) -> Split:
    """Select the modalities asked for, with their features on the device and all else on the CPU."""
    labels = {modality: split.labels[modality].cpu() for modality in modalities if modality in split.labels}
    features = {modality: split.features[modality].to(device) for modality in modalities}
    numbers, pairs = (
        None if table is None else {modality: table[modality].cpu() for modality in modalities if modality in table}
        for table in (split.numbers, split.pairs)
    )
    return replace(split, features=features, labels=labels, numbers=numbers, pairs=pairs)
