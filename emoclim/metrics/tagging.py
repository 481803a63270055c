"""Metrics of a tagger, tag by tag, and the same over resampled items. Used by tagging, and open to users.

Conventions: `scores` are ``(N, T)``, one row per item and one column per tag, higher is more likely; `relevant` is a
boolean of the same shape; results are ``(T,)`` float64. Only the order of a column matters. Items of equal score pass a
threshold together, so no metric depends on the order of items. A metric that the items do not define, for want of a
positive or a negative one, is NaN, and means leave it out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

RESAMPLES_PER_BLOCK = 128  # weights of one block of them fit a cache


@dataclass(frozen=True, slots=True)
class TagMetrics:
    """How well each of T tags is found."""

    roc_auc: Tensor  # (T,) float64: chance that a positive item scores above a negative one, ties counting half
    average_precision: Tensor  # (T,) float64: mean precision at the thresholds of the positive items
    n_positive: Tensor  # (T,) int64: items that have the tag
    n_negative: Tensor  # (T,) int64: items that have it not


@dataclass(frozen=True, slots=True)
class _Thresholds:
    """Blocks of equal scores that hold a positive item, by tag and then by descending score; G in all."""

    order: Tensor  # (T, N) int64: items by descending score
    hits: Tensor  # (T, N) bool: whether each of these is positive
    tag: Tensor  # (G,) int64
    above: Tensor  # (G,) int64: items above the block
    through: Tensor  # (G,) int64: items above the block and in it
    positive_above: Tensor  # (G,) int64: positive ones above
    positive_through: Tensor  # (G,) int64: positive ones above and in it


def tag_metrics(scores: Tensor, relevant: Tensor) -> TagMetrics:
    """Compute area under the ROC curve and average precision of each tag, exactly, from one sort.

    Parameters
    ----------
    scores
        ``(N, T)``, of any real type.
    relevant
        ``(N, T)`` bool. Without a positive item both metrics of a tag are NaN; without a negative one its ROC-AUC is.

    Raises
    ------
    ValueError
        The shapes differ, there is no item, or a score is NaN.

    Examples
    --------
    >>> found = tag_metrics(torch.tensor([[0.9], [0.6], [0.2]]), torch.tensor([[True], [False], [True]]))
    >>> found.roc_auc, found.average_precision
    (tensor([0.5000], dtype=torch.float64), tensor([0.8333], dtype=torch.float64))

    Notes
    -----
    The area is the Mann-Whitney statistic, summed in integers (J. A. Hanley and B. J. McNeil, "The meaning and use of
    the area under a receiver operating characteristic (ROC) curve", Radiology 143, 1982). Average precision is not
    interpolated; it is what the tagging literature calls PR-AUC.
    """
    found = _thresholds(scores, relevant)
    n_tags = scores.shape[1]
    positive = found.hits.sum(dim=1)
    negative = found.hits.shape[1] - positive
    hits = found.positive_through - found.positive_above
    negative_above = found.above - found.positive_above
    negative_through = found.through - found.positive_through
    lost = positive.new_zeros(n_tags).index_add(0, found.tag, hits * (negative_above + negative_through))
    precision = hits * (found.positive_through.double() / found.through)
    gained = precision.new_zeros(n_tags).index_add(0, found.tag, precision)
    # 0 / 0 is the NaN of a metric that is not defined
    roc_auc = (2 * positive * negative - lost).double() / (2 * positive * negative)
    return TagMetrics(roc_auc, gained / positive, positive, negative)


def resampled_metrics(scores: Tensor, relevant: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Compute both metrics of each tag, ``(T, B)`` float64, when items count several times or not at all.

    `counts` ``(N, B)``, of :func:`draw_counts`, says how often each item counts in each of B resamples.
    """
    if counts.ndim != 2 or len(counts) != len(scores):
        raise ValueError(f"counts {tuple(counts.shape)} must have one row for each of the {len(scores)} items")
    found = _thresholds(scores, relevant)
    blocks = [
        torch.stack([_resampled(found, tag, block) for tag in range(scores.shape[1])])
        for block in (part.contiguous() for part in torch.split(counts, RESAMPLES_PER_BLOCK, dim=1))
    ]
    roc_auc, average_precision = torch.cat(blocks, dim=2).unbind(1)
    return roc_auc, average_precision


def draw_counts(n_items: int, n_resamples: int, generator: torch.Generator, *, groups: Tensor | None = None) -> Tensor:
    """How often each item is drawn when as many are drawn as there are, with replacement.

    Parameters
    ----------
    n_items, n_resamples
        N and B.
    generator
        Source of randomness, on the CPU.
    groups
        ``(N,)`` int64 from 0 on: items that depend on each other, excerpts of one track say, and are drawn together;
        None draws each for itself.

    Returns
    -------
    Tensor
        ``(N, B)`` float32, whole numbers.

    Notes
    -----
    The bootstrap (B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979); with
    groups, that of clusters (A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application", 1997, 3.8).
    """
    units = n_items if groups is None else int(groups.max()) + 1
    drawn = torch.randint(units, (n_resamples, units), generator=generator)
    counts = torch.zeros(n_resamples, units).scatter_add_(1, drawn, torch.ones(1).expand_as(drawn)).T
    return counts if groups is None else counts[groups]


def _thresholds(scores: Tensor, relevant: Tensor) -> _Thresholds:
    if scores.ndim != 2 or scores.shape != relevant.shape or not len(scores):
        raise ValueError(f"scores {tuple(scores.shape)} and relevant {tuple(relevant.shape)} must be one (N, T), N > 0")
    if scores.isnan().any():
        raise ValueError("a score is NaN, so its item has no place in the order; leave out such items")
    n_items = len(scores)
    ranked, order = scores.T.contiguous().sort(dim=1, descending=True)
    hits = relevant.T.gather(1, order)
    ends = torch.ones_like(hits)
    torch.ne(ranked[:, 1:], ranked[:, :-1], out=ends[:, :-1])
    # Places run on from tag to tag; only blocks that hold a positive item matter, and they are few.
    places = hits.view(-1).nonzero()[:, 0]
    last = ends.view(-1).nonzero()[:, 0]
    block, positive = torch.unique_consecutive(torch.searchsorted(last, places), return_counts=True)
    tag = last[block] // n_items
    through = last[block] + 1 - tag * n_items
    # A block begins where the one before it ends; the one before a tag's first block is another tag's.
    above = torch.where(block > 0, (last[block - 1] + 1 - tag * n_items).clamp(min=0), 0)
    running = positive.cumsum(0)
    first = torch.cat([running.new_zeros(1), hits.sum(dim=1).cumsum(0)])[tag]
    return _Thresholds(order, hits, tag, above, through, running - positive - first, running - first)


def _resampled(found: _Thresholds, tag: int, counts: Tensor) -> Tensor:
    """Compute ROC-AUC and average precision ``(2, B)`` of one tag by counts ``(N, B)``."""
    own = found.tag == tag
    order, hits = found.order[tag], found.hits[tag]
    if not own.any():
        return counts.new_full((2, counts.shape[1]), torch.nan, dtype=torch.float64)
    cuts = torch.stack([found.above[own], found.through[own]], dim=1).flatten()
    between = embedding_bag(order, counts, torch.cat([cuts.new_zeros(1), cuts]), mode="sum")  # (2G + 1, B)
    positive = embedding_bag(order[hits], counts, found.positive_above[own], mode="sum").double()  # (G, B)
    items = between.double().cumsum(0)
    above, through = items[0:-1:2], items[1::2]
    positive_through = positive.cumsum(0)
    negative_through = through - positive_through
    negative_above = above - (positive_through - positive)
    n_positive = positive_through[-1]
    n_pairs = n_positive * (items[-1] - n_positive)
    lost = (positive * (negative_above + negative_through)).sum(0)
    precision = positive * positive_through / through.clamp(min=1)  # nothing is drawn through it: no positive either
    return torch.stack([(2 * n_pairs - lost) / (2 * n_pairs), precision.sum(0) / n_positive])
