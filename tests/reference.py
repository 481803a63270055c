"""Slow, plain versions of the losses, written from the equations with one loop per index."""

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt

from torch import Tensor

from emoclim.learning.losses.contrastive import NoPositive
from emoclim.learning.losses.triplets import Negatives
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


def nt_xent(
    first: Tensor, second: Tensor, pairs: tuple[Tensor, Tensor], temperature: float, *, within: bool = True
) -> Tensor:
    """Loss of one head, differentiable: each row and each of its positives in turn, as the paper's equation has it."""
    rows = [(0, number, row) for number, row in zip(pairs[0].tolist(), first, strict=True)]
    rows += [(1, number, row) for number, row in zip(pairs[1].tolist(), second, strict=True)]
    losses = []
    for i, (side, number, row) in enumerate(rows):
        others = [one for j, one in enumerate(rows) if j != i and (within or one[0] != side)]
        exponents = [(other == number, row @ one / temperature) for _, other, one in others]
        log_sum = sum(exponent.exp() for _, exponent in exponents).log() if exponents else first.new_zeros(())
        if own := [log_sum - exponent for positive, exponent in exponents if positive]:
            losses.append((side, sum(own) / len(own)))
    if within:
        return sum(loss for _, loss in losses) / len(losses) if losses else first.new_zeros(())
    by_side = [[loss for side, loss in losses if side == wanted] for wanted in (0, 1)]
    return sum(sum(some) / len(some) for some in by_side if some) / 2


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


def negative_probabilities(
    anchor: Tensor, contrast: Tensor, negative: Tensor, negatives: Negatives
) -> list[dict[int, float]]:
    """Probability of each negative of each anchor of one head, by its row: ``(N, E)``, ``(M, E)``, ``(N, M)``."""
    found = []
    for i in range(len(anchor)):
        weights = {}
        for j in range(len(contrast)):
            cosine = float(anchor[i].double() @ contrast[j].double())
            distance = max(0.5, sqrt(max(0.0, 2 - 2 * cosine)))
            if not negative[i, j] or (negatives == "inverse_density" and distance >= 1.4):
                continue
            e = anchor.shape[1]
            density = distance ** (e - 2) * (1 - distance**2 / 4) ** ((e - 3) / 2) if distance < 1.4 else 0.0
            weights[j] = (cosine + 1) / 2 if negatives == "similar" else 1 / density
        found.append({j: weight / sum(weights.values()) for j, weight in weights.items()})
    return found


def triplet(anchor: Tensor, contrast: Tensor, negative: Tensor, margin: float) -> float:
    """Loss of one head over all negatives: ``(N, E)``, ``(N, E)``, ``(N, N)``; row i of the second is i's positive."""
    losses = []
    for i in range(len(anchor)):
        cosines = [float(anchor[i].double() @ row.double()) for row in contrast]
        violations = [max(0.0, margin - cosines[i] + cosines[j]) for j in range(len(contrast)) if negative[i, j]]
        if violations:
            losses.append(sum(violations) / len(violations))
    return sum(losses) / len(losses) if losses else 0.0


def squared_error(outputs: Tensor, targets: Sequence[Sequence[float]]) -> float:
    """Mean over items and components, of one head: ``(N, E)``."""
    total, outputs = 0.0, outputs.detach()
    for i in range(len(outputs)):
        for e in range(outputs.shape[1]):
            total += (float(outputs[i, e]) - targets[i][e]) ** 2
    return total / outputs.numel()


def focal(logits: Tensor, targets: Sequence[int], gamma: float) -> float:
    """Focal loss of one head: ``(N, C)``; a gamma of 0 is cross entropy."""
    total = 0.0
    for row, target in zip(logits.detach().double().tolist(), targets, strict=True):
        highest = max(row)
        p = exp(row[target] - highest) / sum(exp(value - highest) for value in row)
        total -= (1 - p) ** gamma * log(p)
    return total / len(targets)
