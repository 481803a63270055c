"""The supervised contrastive loss within and across modalities, and the training objective as a weighted sum of it.

Conventions: K heads at once, axis 0; embeddings have unit rows; the order in ``(anchor, contrast)`` is the direction.
Every operation treats each head by itself and in the same way whatever K is, and adds terms one after another, so that
head k of many is computed exactly as it would be alone.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from emoclim.data.manifest import Modality

Terms = tuple[tuple[Modality, Modality], ...]  # (anchor, contrast) pairs

# lambda_1 .. lambda_4 of the total loss of Stewart et al. (extended version, Eq. 6), in this order
EMO_CLIM: Terms = (("image", "audio"), ("audio", "image"), ("image", "image"), ("audio", "audio"))


def supcon(
    anchor: Tensor, contrast: Tensor, positive: Tensor, temperature: float | Tensor, *, skip_self: bool
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

    Returns
    -------
    Tensor
        ``(K,)``, the mean over the N anchors. An anchor without positives adds 0 and stays in the divisor N.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version: Eq. 2 and 3
    across modalities, Eq. 4 and 5 (`skip_self`) within one; after P. Khosla et al., "Supervised Contrastive Learning",
    NeurIPS 2020, Eq. 2, without a base temperature.
    """
    scale = temperature[:, None, None] if isinstance(temperature, Tensor) else temperature
    logits = torch.bmm(anchor, contrast.mT) / scale  # (K, N, M)
    if skip_self:
        # A self-similarity of 1 / temperature would push every other term out of float32 at small temperatures:
        # it goes before the softmax subtracts the maximum.
        itself = torch.eye(len(positive), dtype=torch.bool, device=positive.device)
        logits = logits.masked_fill(itself, float("-inf"))
        positive = positive & ~itself
    log_probability = logits.log_softmax(dim=2)
    pulled = torch.where(positive, log_probability, 0).sum(dim=2)  # (K, N)
    return -(pulled / positive.sum(dim=1).clamp(min=1)).mean(dim=1)


def term_losses(
    embeddings: Mapping[Modality, Tensor], labels: Mapping[Modality, Tensor], terms: Terms, temperature: float | Tensor
) -> tuple[Tensor, ...]:
    """One :func:`supcon` per term; positives are rows of equal class, and a row is never its own positive.

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

    Returns
    -------
    tuple of Tensor
        ``(K,)`` for each term.
    """
    return tuple(
        supcon(
            embeddings[anchor],
            embeddings[contrast],
            labels[anchor][:, None] == labels[contrast],
            temperature,
            skip_self=anchor == contrast,
        )
        for anchor, contrast in terms
    )


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
) -> Tensor:
    """Training objective of each of K heads: the weighted sum of its terms.

    Parameters
    ----------
    embeddings, labels, terms, temperature
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
    return weighted_sum(term_losses(embeddings, labels, terms, temperature), weights)
