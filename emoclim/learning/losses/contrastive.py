"""Compute contrastive losses, by classes or pairs, for K heads at once; several objectives share them.

Conventions: K heads at once, axis 0; embeddings have unit rows; the order in ``(anchor, contrast)`` is the direction.
Every operation treats each head by itself and in the same way whatever K is, and adds terms one after another, so that
head k of many is computed exactly as it would be alone.
"""

from typing import get_args

import torch
from torch import Tensor

from emoclim.learning.banks.base import CACHE_LINE, filled, whole_lines
from emoclim.learning.settings import NoPositive


def supcon(
    anchor: Tensor,
    contrast: Tensor,
    positive: Tensor,
    temperature: float | Tensor,
    *,
    skip_self: bool,
    no_positive: NoPositive = "count",
) -> Tensor:
    """Compute the supervised contrastive loss of K sets of embeddings.

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

    Examples
    --------
    >>> rows = torch.nn.functional.normalize(torch.eye(3), dim=-1)[None]  # (K, N, E)
    >>> classes = torch.tensor([0, 0, 1])
    >>> supcon(rows, rows, classes[:, None] == classes, 1.0, skip_self=True)
    tensor([0.4621])
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
        ``(N, M)``, or ``(K, N, M)``, from 0 (a negative) to 1 (a positive). Where it is 0 or 1 throughout, the loss is
        :func:`supcon`.
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
    log_weight = torch.log1p(similarity * (similarity - 1))  # (N, M) or (K, N, M), from log(3/4) to 0
    log_probability = (logits + log_weight).log_softmax(dim=2) - log_weight
    pulled = (torch.where(similarity > 0, log_probability, 0) * similarity).sum(dim=2)  # (K, N)
    return _mean_over_anchors(-pulled, similarity.sum(dim=-1), no_positive)


def nt_xent(
    first: Tensor,
    second: Tensor,
    pairs: tuple[Tensor, Tensor],
    temperature: float | Tensor,
    *,
    within: bool = True,
) -> Tensor:
    r"""Compute the normalised temperature-scaled cross entropy (NT-Xent) of K sets of pairs of embeddings.

    Parameters
    ----------
    first, second
        ``(K, N, E)`` and ``(K, M, E)``: the two views of items, or the items of two modalities.
    pairs
        ``(N,)`` and ``(M,)`` int64: rows of equal number are each other's positives, wherever they stand.
    temperature
        Divides every similarity; one for all, or ``(K,)``.
    within
        Whether rows of the same side are negatives too, as in SimCLR; else each row is told from those of the other
        side alone, as in CLIP.

    Returns
    -------
    Tensor
        ``(K,)``, the mean over the rows that have a positive; 0 if none has.

    Notes
    -----
    T. Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, Eq. 1, over all
    2N rows z of a batch of N pairs (i, j), with the temperature t:

    .. math:: l_{i,j} = - \log \frac{\exp(z_i \cdot z_j / t)}{\sum_{k \ne i} \exp(z_i \cdot z_k / t)}

    Without `within`, k runs over the N rows of the other side, and the loss is that of A. Radford et al., "Learning
    transferable visual models from natural language supervision", ICML 2021. The number of negatives differs, 2N - 2
    against N - 1, so that the two are not to be compared: of rows that are all alike they are log(2N - 1) and log N.
    Where one pair has several rows on a side, the mean over the positives of an anchor is taken.

    Examples
    --------
    >>> rows, numbers = torch.eye(2)[None], torch.arange(2)
    >>> nt_xent(rows, rows, (numbers, numbers), 1.0), nt_xent(rows, rows, (numbers, numbers), 1.0, within=False)
    (tensor([0.5514]), tensor([0.3133]))
    """
    one, other = pairs
    if within:
        rows, numbers = torch.cat([first, second], dim=1), torch.cat([one, other])
        matched = numbers[:, None] == numbers
        return supcon(rows, rows, matched, temperature, skip_self=True, no_positive="skip")
    matched = one[:, None] == other
    there = supcon(first, second, matched, temperature, skip_self=False, no_positive="skip")
    return (there + supcon(second, first, matched.T, temperature, skip_self=False, no_positive="skip")) / 2


def _compared(
    anchor: Tensor, contrast: Tensor, pull: Tensor, temperature: float | Tensor, skip_self: bool
) -> tuple[Tensor, Tensor]:
    """Compute logits ``(K, N, M)``; leave each row's own similarity out of them and of what pulls each pair."""
    scale = temperature[:, None, None] if isinstance(temperature, Tensor) else temperature
    logits = inner_products(anchor, contrast) / scale
    if skip_self:
        # A self-similarity of 1 / temperature would push every other term out of float32 at small temperatures:
        # it goes before the softmax subtracts the maximum.
        itself = torch.eye(pull.shape[-1], dtype=torch.bool, device=pull.device)
        logits, pull = logits.masked_fill(itself, float("-inf")), pull.masked_fill(itself, 0)
    return logits, pull


def _mean_over_anchors(summed: Tensor, mass: Tensor, no_positive: NoPositive) -> Tensor:
    """Average over anchors, from the sum ``(K, N)`` over the positives of each and their number ``(.., N)``."""
    by_anchor = summed / mass.clamp(min=1)
    if no_positive == "count":
        return by_anchor.mean(dim=1)
    if no_positive != "skip":
        raise ValueError(f"no_positive is {' or '.join(get_args(NoPositive))}, not {no_positive!r}")
    divisor = mass.clamp(max=1).sum(dim=-1).to(summed.dtype)
    return by_anchor.sum(dim=1) / divisor.clamp(min=torch.finfo(summed.dtype).tiny)


def inner_products(anchor: Tensor, contrast: Tensor) -> Tensor:
    """Compute inner products ``(K, N, M)`` of rows ``(K, N, E)`` and ``(K, M, E)``, each head's as if it were alone.

    Where the part of a head would not begin on a cache line, in these or in their gradients, rows and columns of zeros
    fill it up.
    """
    (n, width), m = anchor.shape[1:], contrast.shape[1]
    if not any(size % CACHE_LINE for size in (n * width, m * width, n * m)):
        return torch.bmm(anchor, contrast.mT)
    full = [filled(rows, (len(rows), *map(whole_lines, rows.shape[1:]))) for rows in (anchor, contrast)]
    return torch.bmm(full[0], full[1].mT)[:, :n, :m]
