"""Train tagging heads, which map features or embeddings to the probabilities of tags.

Conventions: an item's row of tags is ``(T,)`` bool. An item is tagged by all its segments: by the mean of their
probabilities, and then one of them stands for it in training; or by the probabilities of their mean, and then that
does in training, too.

Randomness: one generator per purpose, made from the seed by :func:`emoclim.seeding.generator_for`: ``tagging init``,
``tagging order`` (of items in an epoch), ``tagging segments`` (which stands for an item) and ``tagging dropout``.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import ReduceLROnPlateau

from emoclim.data import Features
from emoclim.learning import TagConfig, TagProtocol, mean_over_segments
from emoclim.metrics import tag_metrics
from emoclim.seeding import generator_for

ROWS_PER_BLOCK = 8192  # tagged at once


@dataclass(frozen=True, slots=True)
class TagSplit:
    """The items of one part (train, val or test) of the data, with their tags."""

    inputs: Features  # N items: what a tagging head takes
    relevant: Tensor  # `(N, T)` bool on the CPU
    # `(N,)` int64 from 0 on: items of one track, author or piece; None if each stands for itself
    groups: Tensor | None = None


class TagHead(nn.Sequential):
    """Linear, BatchNorm if asked for, ReLU, Linear: ``(N, D)`` to logits ``(N, T)``.

    Notes
    -----
    S. Stewart et al., as in :class:`TagConfig`.
    """

    def __init__(
        self, dim: int, hidden_dim: int, n_tags: int, generator: torch.Generator, *, batchnorm: bool = True
    ) -> None:
        sizes = (dim, hidden_dim), (hidden_dim, n_tags)
        first, last = (nn.Linear(*size, device="meta").to_empty(device="cpu") for size in sizes)
        for linear in (first, last):
            bound = linear.in_features**-0.5
            for parameter in linear.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        super().__init__(first, *([nn.BatchNorm1d(hidden_dim)] if batchnorm else []), nn.ReLU(), last)


def train_tag_head(
    train: TagSplit, rows: Tensor, val: TagSplit, *, seed: int, protocol: TagProtocol, config: TagConfig
) -> tuple[TagHead, int]:
    """Train a head until its validation loss no longer falls, and keep its best epoch."""
    dim, device = train.inputs.spec.dim, train.inputs.device
    sizes = dim, config.hidden_dim or dim, train.relevant.shape[1]
    head = TagHead(*sizes, generator_for("tagging init", seed), batchnorm=config.batchnorm).to(device)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    falling = None if config.plateau is None else ReduceLROnPlateau(optimiser, factor=0.1, patience=config.plateau)
    order, segments, drops = (generator_for(f"tagging {what}", seed) for what in ("order", "segments", "dropout"))
    wanted = val.relevant.float().to(device)
    best, least, lowest, best_epoch, last = head, math.inf, math.inf, 0, 0
    means = protocol.aggregate == "embeddings"
    for epoch in range(config.epochs):
        shown = rows[torch.randperm(len(rows), generator=order)]
        drawn = train.inputs.take(shown) if means else train.inputs.draw(shown, segments)
        targets = train.relevant[shown].float().to(device)
        head.train()
        for inputs, target in zip(*(torch.split(table, config.batch_size) for table in (drawn, targets)), strict=True):
            if len(inputs) > 1:  # batch normalisation needs two
                optimiser.zero_grad()
                torch.autograd.backward(
                    binary_cross_entropy_with_logits(head(_dropped(inputs, config.dropout, drops)), target)
                )
                optimiser.step()
        found = tag_probabilities(head, val.inputs, protocol.aggregate)
        loss = float(binary_cross_entropy(found, wanted))
        if falling is not None:
            falling.step(loss)
        badness = loss if protocol.keep_by == "loss" else -_pr_auc(found, val.relevant)
        if badness < least:
            best, least, best_epoch = copy.deepcopy(head), badness, epoch
        if loss < lowest:
            lowest, last = loss, epoch
        elif epoch - last >= config.patience:
            break
    return best, best_epoch


def _dropped(inputs: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Put zeros in place of some values, and scale the others so that the mean stays."""
    if not chance:
        return inputs
    kept = torch.rand(inputs.shape, generator=generator) >= chance
    return inputs * kept.to(inputs.device) / (1 - chance)


@torch.no_grad()
def tag_probabilities(head: TagHead, inputs: Features, aggregate: str) -> Tensor:
    """Compute the probability of each tag for each of N items, ``(N, T)`` float32 on the device of the inputs."""
    head.eval()
    values = torch.cat([head(rows).sigmoid() for rows in inputs.blocks(ROWS_PER_BLOCK)])
    if aggregate == "embeddings" or not inputs.has_windows:
        return values
    means = mean_over_segments(
        inputs,
        ROWS_PER_BLOCK,
        lambda rows: {"tags": head(rows).sigmoid()},
        lambda bare: {"tags": values[bare]},
    )
    return means["tags"]


def _pr_auc(probabilities: Tensor, relevant: Tensor) -> float:
    """Average the average precision over the tags that any item has."""
    return float(tag_metrics(probabilities.cpu(), relevant).average_precision.nanmean().nan_to_num())
