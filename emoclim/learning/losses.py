"""The supervised contrastive loss within and across modalities, and the training objective as a weighted sum of it.

Conventions: K heads at once, axis 0; embeddings have unit rows; the order in ``(anchor, contrast)`` is the direction.
Every operation treats each head by itself and in the same way whatever K is, and adds terms one after another, so that
head k of many is computed exactly as it would be alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from emoclim.modality import Modality

Terms = tuple[tuple[Modality, Modality], ...]  # (anchor, contrast) pairs
NoPositive = Literal["count", "skip"]  # an anchor without positives adds 0 to a mean over all; is left out of it

# lambda_1 .. lambda_4 of the total loss of Stewart et al. (extended version, Eq. 6), in this order
EMO_CLIM: Terms = (("image", "audio"), ("audio", "image"), ("image", "image"), ("audio", "audio"))


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """Which supervised contrastive loss all terms of an objective are.

    Attributes
    ----------
    no_positive
        ``count``: an anchor without positives adds 0 and stays in the divisor, as in the papers' published code;
        ``skip``: it leaves the divisor.
    similarity
        ``(C, C)`` between classes, from 0 to 1: every term is a :func:`similarity_supcon`; None: a :func:`supcon`.

    Raises
    ------
    ValueError
        The similarity is not square or not from 0 to 1.
    """

    no_positive: NoPositive = "count"
    similarity: Tensor | None = None

    def __post_init__(self) -> None:
        table = self.similarity
        if table is None:
            return
        if table.dim() != 2 or len(table) != table.shape[1] or not bool(((table >= 0) & (table <= 1)).all()):
            raise ValueError(f"a similarity of classes is (C, C) from 0 to 1; this one, {tuple(table.shape)}, is not")


PAPERS = Variant()


def supcon(
    anchor: Tensor,
    contrast: Tensor,
    positive: Tensor,
    temperature: float | Tensor,
    *,
    skip_self: bool,
    no_positive: NoPositive = "count",
) -> Tensor:
    """Supervised contrastive loss of K sets of embeddings.

    Parameters
    ----------
    anchor
        ``(K, N, E)``.
    contrast
        ``(K, M, E)``; the anchors themselves if `skip_self`.
    positive
        ``(N, M)`` bool: which rows of `contrast` each anchor is to be near to; the same for all K.
    temperature
        Divides every similarity; one for all, or ``(K,)``.
    skip_self
        Leave row i of `contrast` out of numerator and denominator of anchor i.

    no_positive
        ``count``: an anchor without positives adds 0 and stays in the divisor N; ``skip``: it leaves the divisor.

    Returns
    -------
    Tensor
        ``(K,)``, the mean over the anchors; 0 if none has a positive.

    Raises
    ------
    ValueError
        `no_positive` is neither of the two.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version: Eq. 2 and 3
    across modalities, Eq. 4 and 5 (`skip_self`) within one; after P. Khosla et al., "Supervised Contrastive Learning",
    NeurIPS 2020, Eq. 2, without a base temperature. What becomes of an anchor without positives stands in neither:
    ``count`` is what the published code of the former does.
    """
    logits, positive = _compared(anchor, contrast, positive, temperature, skip_self)
    log_probability = logits.log_softmax(dim=2)
    pulled = torch.where(positive, log_probability, 0).sum(dim=2)  # (K, N)
    return _mean_over_anchors(-pulled, positive.sum(dim=1), no_positive)


def similarity_supcon(
    anchor: Tensor,
    contrast: Tensor,
    similarity: Tensor,
    temperature: float | Tensor,
    *,
    skip_self: bool,
    no_positive: NoPositive = "count",
) -> Tensor:
    r"""Supervised contrastive loss whose positives and negatives are matters of degree.

    Parameters
    ----------
    anchor, contrast, temperature, skip_self
        As in :func:`supcon`.
    similarity
        ``(N, M)``, from 0 (a negative) to 1 (a positive); the same for all K. Where it is 0 or 1 throughout, the loss
        is :func:`supcon`.
    no_positive
        ``count``: the divisor is N; ``skip``: an anchor whose similarities sum to less than 1 counts in the divisor by
        that sum.

    Returns
    -------
    Tensor
        ``(K,)``, the mean over the anchors, not below ``-log(4 / 3)``; 0 if all similarity is 0.

    Raises
    ------
    ValueError
        `no_positive` is neither of the two.

    Notes
    -----
    With unit rows z, temperature t, similarity s and the sums over all contrasts j (but i itself if `skip_self`):

    .. math::

        L_i = - \frac{1}{\max(1, \sum_j s_{ij})} \sum_j s_{ij}
            \log \frac{\exp(z_i \cdot z_j / t)}{\sum_a w_{ia} \exp(z_i \cdot z_a / t)},
        \qquad w = (1 - s) + s^2

    A contrast pulls by its similarity; in the denominator it counts as a negative by its dissimilarity 1 - s and, as
    every positive of SupCon does, as a positive, by the square of s. Without that square, ``exp(z_i . z_j / t)`` would
    be proportional to ``s / (1 - s)`` at the minimum: what is similar by more than 1/2 would come nearer than the own
    class. With it, it is proportional to ``s / (1 - s + s^2)``, which rises with s all the way to 1. For
    ``s = exp(-d^2 / (2 width^2))`` the cosine of another class thus lies about ``t d^2 / (2 width^2)`` below that of
    the own one: the lower the temperature, the smaller the width that keeps classes apart.

    The relation of classes in the loss is what Stewart et al. name as future work; this form of it is our own. Pulling
    by a kernel of label distance is from B. Dufumier et al., "Contrastive Learning with Continuous Proxy Meta-Data for
    3D MRI Classification", MICCAI 2021 (w = 1); weighting the repulsion as well, there inside the exponent, from
    C. A. Barbano et al., "Contrastive Learning for Regression in Multi-Site Brain Age Prediction", ISBI 2023.
    """
    logits, similarity = _compared(anchor, contrast, similarity.to(anchor), temperature, skip_self)
    log_weight = torch.log1p(similarity * (similarity - 1))  # (N, M), from log(3/4) to 0
    log_probability = (logits + log_weight).log_softmax(dim=2) - log_weight
    pulled = (torch.where(similarity > 0, log_probability, 0) * similarity).sum(dim=2)  # (K, N)
    return _mean_over_anchors(-pulled, similarity.sum(dim=1), no_positive)


def _compared(
    anchor: Tensor, contrast: Tensor, pull: Tensor, temperature: float | Tensor, skip_self: bool
) -> tuple[Tensor, Tensor]:
    """Logits ``(K, N, M)``, and what pulls each pair ``(N, M)``, with a row's own similarity taken out of both."""
    scale = temperature[:, None, None] if isinstance(temperature, Tensor) else temperature
    logits = torch.bmm(anchor, contrast.mT) / scale
    if skip_self:
        # A self-similarity of 1 / temperature would push every other term out of float32 at small temperatures:
        # it goes before the softmax subtracts the maximum.
        itself = torch.eye(len(pull), dtype=torch.bool, device=pull.device)
        logits, pull = logits.masked_fill(itself, float("-inf")), pull.masked_fill(itself, 0)
    return logits, pull


def _mean_over_anchors(summed: Tensor, mass: Tensor, no_positive: NoPositive) -> Tensor:
    """Mean ``(K,)`` over anchors, from the sum ``(K, N)`` over the positives of each and their number ``(N,)``."""
    by_anchor = summed / mass.clamp(min=1)
    if no_positive == "count":
        return by_anchor.mean(dim=1)
    if no_positive != "skip":
        raise ValueError(f"no_positive is {' or '.join(get_args(NoPositive))}, not {no_positive!r}")
    divisor = mass.clamp(max=1).sum().to(summed.dtype)
    return by_anchor.sum(dim=1) / divisor.clamp(min=torch.finfo(summed.dtype).tiny)


def term_losses(
    embeddings: Mapping[Modality, Tensor],
    labels: Mapping[Modality, Tensor],
    terms: Terms,
    temperature: float | Tensor,
    variant: Variant = PAPERS,
) -> tuple[Tensor, ...]:
    """One loss per term; rows of equal class, or of similar classes, are positives, but a row never its own.

    Parameters
    ----------
    embeddings
        ``(K, N, E)`` by modality; N may differ between modalities.
    labels
        ``(N,)`` int64 classes by modality.
    terms
        (anchor, contrast) pairs; the same modality twice skips self.
    temperature
        One for all, or ``(K,)``.
    variant
        Which loss; its similarity, if any, on the device of the labels.

    Returns
    -------
    tuple of Tensor
        ``(K,)`` for each term.
    """
    losses = []
    for anchor, contrast in terms:
        rows, classes = (embeddings[anchor], embeddings[contrast]), (labels[anchor][:, None], labels[contrast])
        same, convention = anchor == contrast, variant.no_positive
        if variant.similarity is None:
            loss = supcon(*rows, classes[0] == classes[1], temperature, skip_self=same, no_positive=convention)
        else:
            similarity = variant.similarity[classes]  # (N, M)
            loss = similarity_supcon(*rows, similarity, temperature, skip_self=same, no_positive=convention)
        losses.append(loss)
    return tuple(losses)


def weighted_sum(losses: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    """Sum of T losses ``(K,)`` with `weights` ``(K, T)``: ``(K,)``, added in order."""
    total = torch.zeros_like(losses[0])
    for loss, weight in zip(losses, weights.unbind(dim=1), strict=True):
        total = total + weight * loss
    return total


def objective(
    embeddings: Mapping[Modality, Tensor],
    labels: Mapping[Modality, Tensor],
    terms: Terms,
    weights: Tensor,
    temperature: float | Tensor,
    variant: Variant = PAPERS,
) -> Tensor:
    """Training objective of each of K heads: the weighted sum of its terms.

    Parameters
    ----------
    embeddings, labels, terms, temperature, variant
        As in :func:`term_losses`.
    weights
        ``(K, len(terms))``; a term of weight 0 is computed all the same.

    Returns
    -------
    Tensor
        ``(K,)``.

    Notes
    -----
    Stewart et al., extended version, Eq. 6, with :data:`EMO_CLIM` as its terms.
    """
    return weighted_sum(term_losses(embeddings, labels, terms, temperature, variant), weights)
