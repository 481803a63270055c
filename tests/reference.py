"""Slow, plain versions of the losses, written from the equations with one loop per index."""

from collections.abc import Mapping, Sequence
from math import exp, log

from torch import Tensor

from emoclim.data.manifest import Modality
from emoclim.losses import Terms


def supcon(anchor: Tensor, contrast: Tensor, positive: Tensor, temperature: float, *, skip_self: bool) -> float:
    """Loss of one head: ``(N, E)``, ``(M, E)``, ``(N, M)``."""
    total = 0.0
    for i in range(len(anchor)):
        others = [j for j in range(len(contrast)) if not (skip_self and i == j)]
        similarity = {j: float(anchor[i].double() @ contrast[j].double()) / temperature for j in others}
        positives = [j for j in others if positive[i, j]]
        if not positives:
            continue
        highest = max(similarity.values())
        log_sum = highest + log(sum(exp(similarity[j] - highest) for j in others))
        total -= sum(similarity[j] - log_sum for j in positives) / len(positives)
    return total / len(anchor)


def objective(
    embeddings: Mapping[Modality, Tensor],
    labels: Mapping[Modality, Tensor],
    terms: Terms,
    weights: Sequence[float],
    temperature: float,
) -> float:
    """Weighted sum of the terms of one head: ``(N, E)`` and ``(N,)`` by modality."""
    total = 0.0
    for (anchor, contrast), weight in zip(terms, weights, strict=True):
        positive = labels[anchor][:, None] == labels[contrast][None, :]
        one = supcon(embeddings[anchor], embeddings[contrast], positive, temperature, skip_self=anchor == contrast)
        total += weight * one
    return total
