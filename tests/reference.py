"""Slow, plain versions of the losses, written from the equations with one loop per index."""

from collections.abc import Mapping, Sequence
from math import exp, log

from torch import Tensor

from emoclim.learning.contrastive import NoPositive
from emoclim.modality import Modality


def supcon(
    anchor: Tensor,
    contrast: Tensor,
    positive: Tensor,
    temperature: float,
    *,
    skip_self: bool,
    no_positive: NoPositive = "count",
) -> float:
    """Loss of one head: ``(N, E)``, ``(M, E)``, ``(N, M)``."""
    losses = []
    for i in range(len(anchor)):
        others = [j for j in range(len(contrast)) if not (skip_self and i == j)]
        similarity = {j: float(anchor[i].double() @ contrast[j].double()) / temperature for j in others}
        positives = [j for j in others if positive[i, j]]
        if positives:
            highest = max(similarity.values())
            log_sum = highest + log(sum(exp(similarity[j] - highest) for j in others))
            losses.append(-sum(similarity[j] - log_sum for j in positives) / len(positives))
    divisor = len(anchor) if no_positive == "count" else len(losses)
    return sum(losses) / divisor if losses else 0.0


def similarity_supcon(
    anchor: Tensor,
    contrast: Tensor,
    similarity: Tensor,
    temperature: float,
    *,
    skip_self: bool,
    no_positive: NoPositive = "count",
) -> float:
    """Loss of one head: ``(N, E)``, ``(M, E)``, ``(N, M)``."""
    total = 0.0
    divisor = 0.0
    for i in range(len(anchor)):
        pull, logit = {}, {}
        for j in range(len(contrast)):
            if not (skip_self and i == j):
                pull[j] = float(similarity[i, j])
                logit[j] = float(anchor[i].double() @ contrast[j].double()) / temperature
        highest = max(logit.values(), default=0.0)
        mass = sum(pull.values())
        weighted = 0.0
        for a in pull:
            as_negative, as_positive = 1 - pull[a], pull[a] ** 2
            weighted += (as_negative + as_positive) * exp(logit[a] - highest)
        for j in pull:
            total -= pull[j] * (logit[j] - highest - log(weighted)) / max(1.0, mass)
        divisor += 1.0 if no_positive == "count" else min(1.0, mass)
    return total / divisor if divisor else 0.0


def objective(
    embeddings: Mapping[Modality, Tensor],
    labels: Mapping[Modality, Tensor],
    terms: Sequence[tuple[str, str]],
    weights: Sequence[float],
    temperature: float,
    *,
    no_positive: NoPositive = "count",
    similarity: Tensor | None = None,
) -> float:
    """Weighted sum of the terms of one head: ``(N, E)`` and ``(N,)`` by modality; classes ``(C, C)``."""
    total = 0.0
    for (anchor, contrast), weight in zip(terms, weights, strict=True):
        rows, same = (embeddings[anchor], embeddings[contrast]), anchor == contrast
        if similarity is None:
            positive = labels[anchor][:, None] == labels[contrast][None, :]
            one = supcon(*rows, positive, temperature, skip_self=same, no_positive=no_positive)
        else:
            related = similarity[labels[anchor]][:, labels[contrast]]
            one = similarity_supcon(*rows, related, temperature, skip_self=same, no_positive=no_positive)
        total += weight * one
    return total
