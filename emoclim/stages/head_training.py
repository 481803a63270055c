"""Train K pairs of projection heads on cached features, all at once: one run is a sweep with K = 1.

Conventions: epochs count from 0; histories lead with the epoch, everything else with K. All heads of a run see the same
batches and dropout masks and begin with the same values, so they differ by their loss weights and temperatures alone.

Randomness: one generator per purpose, made from the seed by :func:`emoclim.seeding.generator_for`: ``init`` (initial
values), ``items`` (which items a batch holds), ``segments`` (which segment stands for an item), ``dropout``, and
``validation`` (items and segments of the validation batches, drawn once and held).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emoclim.config import TrainConfig, loss_weights
from emoclim.data import FeatureSpec, Split
from emoclim.errors import ConfigError
from emoclim.learning import (
    Best,
    Epoch,
    Epochs,
    HeadBank,
    Heads,
    History,
    Learner,
    Losses,
    Snapshot,
    Terms,
    Variant,
    batches,
    check_pair,
    mean_loss,
    weighted_sum,
)
from emoclim.modality import Modality
from emoclim.progress import Track, silent
from emoclim.seeding import generator_for

log = logging.getLogger(__name__)

DRAWS = ("items", "segments", "dropout")  # purposes of the generators that move on from epoch to epoch


@dataclass(frozen=True, slots=True)
class Training:
    """What a training gave.

    Attributes
    ----------
    heads
        K pairs, each as it was after its own best epoch, on the CPU.
    best_epoch
        ``(K,)`` int64, from 0: the epoch of lowest validation loss among those that `patience` lets count.
    best_loss
        ``(K,)``: that loss; infinite for a head whose validation loss never was a number.
    history
        Losses of every epoch that was run.
    config, terms
        As given.
    weights
        ``(K, number of terms)`` float32: the loss weights.
    temperature
        ``(K,)`` float32.
    interrupted
        Whether it was stopped before its last epoch.
    """

    heads: Heads
    best_epoch: Tensor
    best_loss: Tensor
    history: History
    config: TrainConfig
    terms: Terms
    weights: Tensor
    temperature: Tensor
    interrupted: bool


def train_heads(
    train: Split,
    val: Split,
    terms: Terms,
    weights: Tensor | Sequence[Sequence[float]],
    config: TrainConfig,
    *,
    temperature: Sequence[float] | None = None,
    similarity: Tensor | None = None,
    device: torch.device,
    track: Track = silent,
    resume: Snapshot | None = None,
    keep: Callable[[Snapshot], None] | None = None,
    watch: Callable[[Epoch], None] | None = None,
) -> Training:
    """Train K pairs of heads and keep each as it was after its best epoch.

    Parameters
    ----------
    train, val
        Labelled features with the same classes and specs. A batch holds a random segment of each item drawn, or its
        value where no segments are kept, in validation too.
    terms
        (anchor, contrast) pairs of the objective; their modalities get a bank each.
    weights
        ``(K, len(terms))``.
    config
        Everything else.
    temperature
        One for each head; None takes that of `config` for all.
    similarity
        ``(C, C)`` of the classes, for :func:`emoclim.learning.losses.similarity_supcon`; None takes the papers' loss.
    device
        Where to train; all features are put there once.
    track
        Shows progress by epoch.
    resume
        What `keep` was given after an epoch of the same training, which goes on from there; the bytes of the result
        are those of a training that was never stopped.
    keep
        Is given all that is needed to go on, after each epoch; on the CPU or not, and not to be held on to.
    watch
        Is told of each epoch, also of those that `resume` brings; on the CPU.

    Returns
    -------
    Training
        After a ``KeyboardInterrupt`` what the finished epochs gave, if there was one. A head whose validation loss was
        never finite is as it began.

    Raises
    ------
    ConfigError
        Terms, weights or temperatures cannot be used.
    ManifestError
        The splits lack a class or a modality, have labels that do not fit, or differ in their classes.
    CacheError
        Features hold NaN or infinity, or differ in their specs (:class:`CacheMismatch`).

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, section 4.4:
    AdamW, and of all epochs the one with the lowest validation loss.
    """
    table = _weight_table(weights, terms)
    temperatures = _temperatures(temperature, config, len(table))
    modalities = tuple(dict.fromkeys(modality for term in terms for modality in term))
    check_pair(train, val, modalities)
    train, val = _placed(train, modalities, device), _placed(val, modalities, device)
    generator = generator_for("init", config.seed)
    banks = {
        modality: _new_bank(len(table), features.spec, config, generator).to(device)
        for modality, features in train.features.items()
    }
    variant = Variant(config.no_positive, similarity)
    learner = Learner(banks, terms, table.to(device), config, temperatures.to(device), variant)
    best = Best(banks, config.patience)
    held = generator_for("validation", config.seed)
    val_batches = list(batches(val, (config.val_batches, config.batch_size), held, held, name="val"))
    draws = {purpose: generator_for(purpose, config.seed) for purpose in DRAWS}

    def run_epoch(_number: int) -> Losses:
        shape = (config.batches_per_epoch, config.batch_size)
        drawn = batches(train, shape, draws["items"], draws["segments"], name="train")
        losses = [learner.step(batch, draws["dropout"]) for batch in drawn]
        by_term = learner.evaluate(val_batches)
        return mean_loss(losses), weighted_sum(by_term, learner.weights), torch.stack(by_term, dim=1)

    epochs = Epochs(config.epochs, run_epoch, best, [learner], draws, watch)
    if resume is not None:
        epochs.restore(resume, device)
    interrupted = epochs.run(track, "Training heads", keep)
    if lost := int((~best.loss.isfinite()).sum()):
        log.warning("the validation loss of %d of %d heads was never finite; lower the learning rate", lost, len(table))
    kept = {modality: bank.cpu() for modality, bank in best.kept.items()}
    heads = Heads(kept, {modality: features.spec for modality, features in train.features.items()})
    history = epochs.history()
    return Training(heads, best.epoch.cpu(), best.loss.cpu(), history, config, terms, table, temperatures, interrupted)


def _new_bank(n_heads: int, spec: FeatureSpec, config: TrainConfig, generator: torch.Generator) -> HeadBank:
    sizes = n_heads, spec.dim, config.hidden_dim, config.embedding_dim
    return HeadBank(*sizes, dropout=config.dropout, generator=generator)


def _placed(split: Split, modalities: Sequence[Modality], device: torch.device) -> Split:
    """The modalities asked for, with their features on the device and their labels on the CPU."""
    return Split(
        {modality: split.features[modality].to(device) for modality in modalities},
        {modality: split.labels[modality].cpu() for modality in modalities},
        split.classes,
    )


def _weight_table(weights: Tensor | Sequence[Sequence[float]], terms: Terms) -> Tensor:
    """Loss weights as ``(K, len(terms))`` float32, each row checked."""
    rows = weights.tolist() if isinstance(weights, Tensor) else list(weights)
    if not terms or not rows or not all(isinstance(row, Sequence) for row in rows):
        raise ConfigError("training needs at least one loss term and one row of weights, with a weight for each term")
    return torch.tensor([loss_weights(row, len(terms)) for row in rows])


def _temperatures(given: Sequence[float] | None, config: TrainConfig, n_heads: int) -> Tensor:
    """Temperatures ``(K,)`` float32, each checked."""
    values = [config.temperature] * n_heads if given is None else list(given)
    if len(values) != n_heads:
        raise ConfigError(f"{len(values)} temperatures are given for {n_heads} heads; give one for each")
    return torch.tensor([config.updated(temperature=value).temperature for value in values])
