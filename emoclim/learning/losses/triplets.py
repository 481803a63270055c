"""Compute the triplet loss for K heads at once, with negatives from the batch that are drawn by how near they lie.

Conventions: those of :mod:`emoclim.learning.losses.contrastive`. All heads share what is drawn at random, but each has
its own distances, so that head k of many draws the negatives that it would draw alone.
"""

from typing import Literal

import torch
from torch import Tensor

from emoclim.learning.losses.contrastive import inner_products

Negatives = Literal["similar", "inverse_density"]
NEAREST, FARTHEST = 0.5, 1.4  # distances: those below count as the first, those from the second on are never drawn


def triplet_loss(
    anchor: Tensor,
    contrast: Tensor,
    negative: Tensor,
    margin: float | Tensor,
    *,
    negatives: Negatives = "similar",
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Compute the triplet loss of K sets of pairs.

    Parameters
    ----------
    anchor
        ``(K, N, E)``, unit rows.
    contrast
        ``(K, N, E)``, unit rows: row i is the positive of anchor i, and may be a negative of others.
    negative
        ``(N, N)`` bool: which rows of `contrast` may be negatives of each anchor; the same for all K.
    margin
        By which the cosine of the positive is to exceed that of the negative; one for all, or ``(K,)``.
    negatives
        How likely each is to be the one negative of an anchor, see :func:`negative_weights`.
    generator
        Draws a negative for each anchor; None: all its negatives count alike, which is repeatable, and a measure that
        does not change with the heads or with `negatives`.

    Returns
    -------
    Tensor
        ``(K,)``, the mean over the anchors that may have a negative; 0 if none may.

    Notes
    -----
    M. Won et al., "Emotion Embedding Spaces for Matching Music to Stories", ISMIR 2021, Eq. 2, of cosines as their
    published code has it. Drawn as the least of ``e / weight`` with e exponentially distributed, which is each one
    with a probability proportional to its weight.

    Examples
    --------
    >>> rows = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])  # (K, N, E)
    >>> triplet_loss(rows, rows, ~torch.eye(2, dtype=torch.bool), 0.5)
    tensor([0.1000])
    """
    cosines = inner_products(anchor, contrast)
    if not negative.numel():
        return cosines.sum(dim=(1, 2))
    if generator is None:
        shares = negative.to(cosines) / negative.sum(dim=1, keepdim=True).clamp(min=1)
    else:
        shares = _drawn(negative_weights(cosines.detach(), negative, negatives, anchor.shape[2]), generator)
    scale = margin[:, None, None] if isinstance(margin, Tensor) else margin
    violation = (scale - cosines.diagonal(dim1=1, dim2=2)[:, :, None] + cosines).relu()
    # anchors whose negatives are all too far to be drawn count, so that the others do not for more as these are learnt
    return (shares * violation).sum(dim=2).sum(dim=1) / negative.any(dim=1).sum().clamp(min=1)


def negative_weights(cosines: Tensor, negative: Tensor, negatives: Negatives, width: int) -> Tensor:
    r"""Weigh the negatives of each anchor; the weights of one anchor are to each other as its probabilities.

    Parameters
    ----------
    cosines
        ``(K, N, M)``.
    negative
        ``(N, M)`` bool: which may be a negative of which anchor; all others weigh 0.
    negatives
        ``similar``: by ``(cosine + 1) / 2``, so that the nearest are the most likely; ``inverse_density``: by the
        inverse of how many points of a sphere lie at that distance, so that all distances are as likely.
    width
        E, the dimension of the sphere's space.

    Returns
    -------
    Tensor
        ``(K, N, M)``; an anchor without negatives, or by ``inverse_density`` without one nearer than 1.4, has zeros.

    Notes
    -----
    ``similar`` is what the published code of M. Won et al., 2021, does. ``inverse_density`` is C.-Y. Wu et al.,
    "Sampling Matters in Deep Embedding Learning", ICCV 2017, section 4, with the constants of their code:

    .. math::

        1 / q(d), \qquad q(d) \propto d^{E - 2} (1 - d^2 / 4)^{(E - 3) / 2}

    Examples
    --------
    >>> negative_weights(torch.tensor([[[1.0, 0.5, -0.5]]]), torch.tensor([[False, True, True]]), "similar", 2)
    tensor([[[0.0000, 0.7500, 0.2500]]])
    """
    if negatives == "similar":
        return ((cosines + 1) / 2).clamp(min=torch.finfo(cosines.dtype).eps) * negative
    squared = (2 - 2 * cosines).clamp(min=NEAREST**2)
    near = negative & (squared < FARTHEST**2)
    logarithm = -(width - 2) / 2 * squared.log() - (width - 3) / 2 * torch.log1p(squared / -4)
    logarithm = torch.where(near, logarithm, -torch.inf)
    highest = logarithm.amax(dim=2, keepdim=True).nan_to_num(neginf=0)
    return (logarithm - highest).exp()


def _drawn(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one negative for each anchor: 1 for it, and 0 for all others."""
    uniform = torch.rand(weights.shape[1:], generator=generator, dtype=torch.float64, device=generator.device)
    waiting = torch.log1p(-uniform).neg().to(weights) / weights
    first = waiting.masked_fill(weights == 0, torch.inf).argmin(dim=2, keepdim=True)
    return torch.zeros_like(weights).scatter(2, first, 1) * (weights > 0)
