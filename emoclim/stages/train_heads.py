"""Train K pairs of projection heads on cached features, all at once: one run is a sweep with K = 1.

Conventions: epochs count from 0; histories lead with the epoch, everything else with K. All heads of a run see the same
batches and dropout masks and begin with the same values, so they differ by their loss weights alone.

Randomness: one generator per purpose, made from the seed by :func:`emoclim.sampling.generator_for`: ``init`` (initial
values), ``items`` (which items a batch holds), ``segments`` (which segment stands for an item), ``dropout``, and
``validation`` (items and segments of the validation batches, drawn once and held).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emoclim.config import TrainConfig, loss_weights
from emoclim.data.manifest import Modality
from emoclim.errors import ConfigError
from emoclim.features import FeatureSpec, Split
from emoclim.heads import HeadBank, Heads
from emoclim.losses import Terms, objective, term_losses, weighted_sum
from emoclim.progress import Track, silent
from emoclim.sampling import Batch, batches, check_pair, generator_for


@dataclass(frozen=True, slots=True)
class History:
    """Losses by epoch.

    Attributes
    ----------
    train_loss
        ``(T, K)``: mean over the epoch's batches, each before its update, with dropout.
    val_loss
        ``(T, K)``: on the held validation batches, after the epoch.
    val_terms
        ``(T, K, number of terms)``: the same before weighting.
    """

    train_loss: Tensor
    val_loss: Tensor
    val_terms: Tensor


@dataclass(frozen=True, slots=True)
class Training:
    """What a training gave.

    Attributes
    ----------
    heads
        K pairs, each as it was after its own best epoch, on the CPU.
    best_epoch
        ``(K,)`` int64, from 0: the epoch of lowest validation loss among those that `patience` lets count.
    history
        Losses of every epoch that was run.
    config, terms
        As given.
    weights
        ``(K, number of terms)`` float32: the loss weights.
    """

    heads: Heads
    best_epoch: Tensor
    history: History
    config: TrainConfig
    terms: Terms
    weights: Tensor

    def history_dict(self) -> dict[str, Any]:
        """Losses as nested lists, for JSON."""
        return {
            "terms": [f"{anchor}_{contrast}" for anchor, contrast in self.terms],
            "train_loss": self.history.train_loss.tolist(),
            "val_loss": self.history.val_loss.tolist(),
            "val_terms": self.history.val_terms.tolist(),
        }


class Learner:
    """K pairs of heads, their optimiser and what they minimise.

    Parameters
    ----------
    banks
        Banks of K heads by modality.
    terms
        (anchor, contrast) pairs of the objective.
    weights
        ``(K, len(terms))``.
    config
        Temperature, learning rate and weight decay.
    """

    def __init__(self, banks: Mapping[Modality, HeadBank], terms: Terms, weights: Tensor, config: TrainConfig) -> None:
        self.banks, self.terms, self.weights, self.temperature = banks, terms, weights, config.temperature
        parameters = [parameter for bank in banks.values() for parameter in bank.parameters()]
        # Element-wise, as everything here must be: whatever mixes heads, a global gradient norm say, couples them.
        self.optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)

    def step(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Update every head once; return the losses ``(K,)`` before the update."""
        embeddings = {modality: bank.train()(batch.rows[modality], generator) for modality, bank in self.banks.items()}
        losses = objective(embeddings, batch.labels, self.terms, self.weights, self.temperature)
        self.optimiser.zero_grad()
        torch.autograd.backward(losses.sum())
        self.optimiser.step()
        return losses.detach()

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Batch]) -> tuple[Tensor, ...]:
        """Mean loss ``(K,)`` of each term over some batches, without dropout and on running statistics."""
        means = [torch.zeros_like(self.weights[:, 0]) for _ in self.terms]
        for batch in batches:
            embeddings = {modality: bank.eval()(batch.rows[modality]) for modality, bank in self.banks.items()}
            losses = term_losses(embeddings, batch.labels, self.terms, self.temperature)
            means = [mean + loss / len(batches) for mean, loss in zip(means, losses, strict=True)]
        return tuple(means)


class Best:
    """The state of each of K heads after its best epoch so far."""

    def __init__(self, banks: Mapping[Modality, HeadBank], patience: int | None) -> None:
        self.learning, self.patience = banks, patience
        self.kept = {modality: copy.deepcopy(bank).eval() for modality, bank in banks.items()}
        one_per_head = next(iter(self.kept.values())).hidden_bias.detach()[:, 0]  # (K,)
        self.loss = torch.full_like(one_per_head, torch.inf)
        self.epoch = torch.zeros_like(one_per_head, dtype=torch.int64)

    @torch.no_grad()
    def update(self, epoch: int, loss: Tensor) -> bool:
        """Keep the present state of the heads whose loss ``(K,)`` is a new best; tell whether any may still get better.

        A head has run out of patience `patience` epochs after its best one; later epochs never count for it.
        """
        better = loss < self.loss
        if self.patience is not None:
            better &= epoch - self.epoch <= self.patience
        self.loss = torch.where(better, loss, self.loss)
        self.epoch = torch.where(better, epoch, self.epoch)
        for modality, bank in self.kept.items():
            present = self.learning[modality].state_dict()
            for name, kept in bank.state_dict().items():
                mask = better.view(-1, *(1,) * (kept.dim() - 1))
                kept.copy_(torch.where(mask, present[name], kept))
        return self.patience is None or bool((epoch - self.epoch < self.patience).any())


def train_heads(
    train: Split,
    val: Split,
    terms: Terms,
    weights: Tensor | Sequence[Sequence[float]],
    config: TrainConfig,
    *,
    device: torch.device,
    track: Track = silent,
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
    device
        Where to train; all features are put there once.
    track
        Shows progress by epoch.

    Raises
    ------
    ConfigError
        Terms or weights cannot be used, or a validation loss was never finite.
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
    modalities = tuple(dict.fromkeys(modality for term in terms for modality in term))
    check_pair(train, val, modalities)
    train, val = _placed(train, modalities, device), _placed(val, modalities, device)
    generator = generator_for("init", config.seed)
    banks = {
        modality: _new_bank(len(table), features.spec, config, generator).to(device)
        for modality, features in train.features.items()
    }
    best = Best(banks, config.patience)
    history = _run(Learner(banks, terms, table.to(device), config), best, train, val, config, track)
    if lost := (~best.loss.isfinite()).nonzero()[:, 0].tolist():
        raise ConfigError(f"the validation loss of head {lost[0]} was never finite; lower the learning rate")
    kept = {modality: bank.cpu() for modality, bank in best.kept.items()}
    heads = Heads(kept, {modality: features.spec for modality, features in train.features.items()})
    return Training(heads, best.epoch.cpu(), history, config, terms, table)


def _run(learner: Learner, best: Best, train: Split, val: Split, config: TrainConfig, track: Track) -> History:
    """Run the epochs."""
    held = generator_for("validation", config.seed)
    val_batches = list(batches(val, (config.val_batches, config.batch_size), held, held, name="val"))
    items, segments, dropout = (generator_for(purpose, config.seed) for purpose in ("items", "segments", "dropout"))
    shape = (config.batches_per_epoch, config.batch_size)
    epochs = []
    for epoch in track(range(config.epochs), description="Training heads", total=config.epochs):
        losses = [learner.step(batch, dropout) for batch in batches(train, shape, items, segments, name="train")]
        by_term = learner.evaluate(val_batches)
        val_loss = weighted_sum(by_term, learner.weights)
        epochs.append((_mean(losses), val_loss, torch.stack(by_term, dim=1)))
        if not best.update(epoch, val_loss):
            break
    return History(*(torch.stack(column).cpu() for column in zip(*epochs, strict=True)))


def _mean(losses: Sequence[Tensor]) -> Tensor:
    """Mean of losses ``(K,)``, added in order: a reduction may add in another order for another K."""
    return sum(losses[1:], losses[0]) / len(losses)


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
