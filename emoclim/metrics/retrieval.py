"""Metrics of a ranking, per query, and their means over classes. Used by evaluation, and open to users.

Conventions: scores are ``(Q, M)`` of any real type, one row per query and one column per candidate, higher is better;
`relevant` is a boolean of the same shape; results are ``(Q,)`` float64. Only the order of a row matters. Candidates of
equal score have no order, so each metric is its mean over all orders of the tied ones, in closed form. A query without
a relevant candidate scores 0 and stays in the mean. Shapes that differ and scores that are NaN raise ValueError.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from emoclim.metrics.ties import TieBlock


def precision_at_k(scores: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Compute the share of relevant candidates among the `k` of highest score; the divisor is `k` in any case.

    Parameters
    ----------
    scores, relevant
        ``(Q, M)``, the latter bool.
    k
        From 1 on; it may exceed M.

    Returns
    -------
    Tensor
        ``(Q,)`` float64.

    Examples
    --------
    >>> precision_at_k(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[True, False, True]]), k=2)
    tensor([0.5000], dtype=torch.float64)
    """
    return _block_of(scores, relevant, k).precision_at(k)


def hit_at_k(scores: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Tell whether a relevant candidate is among the `k` of highest score; its mean is the top-k ratio.

    Of scores and relevance ``(Q, M)``, the result is ``(Q,)`` float64: 1, 0, or where scores are tied the chance.

    Notes
    -----
    S. Chowdhury and G. Widmer, "Expressivity-aware music performance retrieval using mid-level perceptual features and
    emotion word embeddings", FIRE 2023, section 3.5.

    Examples
    --------
    >>> hit_at_k(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[False, True, False]]), k=2)
    tensor([0.5000], dtype=torch.float64)
    """
    return _block_of(scores, relevant, k).hit_at(k)


def reciprocal_rank(scores: Tensor, relevant: Tensor) -> Tensor:
    """Compute one over the rank, from 1, of the best relevant candidate.

    Of scores and relevance ``(Q, M)``, the result is ``(Q,)`` float64.

    Examples
    --------
    >>> reciprocal_rank(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[False, True, False]]))  # tied: mean of 1/2, 1/3
    tensor([0.4167], dtype=torch.float64)
    """
    _check(scores, relevant)
    if not scores.numel():
        return scores.new_zeros(len(scores), dtype=torch.float64)
    best = torch.where(relevant, scores, scores.amin(dim=1, keepdim=True)).amax(dim=1)
    return _block_at(scores, relevant, best).reciprocal_rank()


def average_precision(scores: Tensor, relevant: Tensor) -> Tensor:
    """Compute the mean, over the relevant candidates, of the precision at the rank of each.

    Of scores and relevance ``(Q, M)``, the result is ``(Q,)`` float64.

    Examples
    --------
    >>> average_precision(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[True, False, True]]))
    tensor([0.8333], dtype=torch.float64)
    """
    return rank(scores, relevant).average_precision()


def r_precision(scores: Tensor, relevant: Tensor) -> Tensor:
    """Compute the precision at R, where R is the number of relevant candidates of each query.

    Of scores and relevance ``(Q, M)``, the result is ``(Q,)`` float64.

    Examples
    --------
    >>> r_precision(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[True, False, True]]))
    tensor([0.5000], dtype=torch.float64)
    """
    return rank(scores, relevant).r_precision()


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates of each query by descending score, for the metrics that need every relevant one's rank."""

    found: Tensor  # (Q, M + 1) int64: relevant candidates among the first j, in one of the orders that scores allow
    mixed: Tensor  # (T,) int64: queries for which these orders differ, as relevant candidates are tied with others
    blocks: TieBlock  # of tensors (T, M): entry [t, j] is the block that covers place j (from 0) of query mixed[t]

    def average_precision(self) -> Tensor:
        """See :func:`average_precision`."""
        ranks = torch.arange(1, self.found.shape[1], dtype=torch.float64, device=self.found.device)
        total = (self.found[:, 1:] / ranks * self.found.diff(dim=1)).sum(dim=1)
        blocks = self.blocks
        # Given a relevant candidate at this place, each place above it in the block is relevant with this chance.
        company = (blocks.hits - 1).double() / (blocks.size - 1).clamp(min=1)
        hits = blocks.hits_above + 1 + (ranks - 1 - blocks.above) * company
        total[self.mixed] = (blocks.hits.double() / blocks.size * hits / ranks).sum(dim=1)
        return total / self.found[:, -1].clamp(min=1)

    def r_precision(self) -> Tensor:
        """See :func:`r_precision`."""
        n_relevant = self.found[:, -1:]
        values = self.found.gather(1, n_relevant)[:, 0] / n_relevant[:, 0].clamp(min=1).double()
        last, blocks = n_relevant[self.mixed] - 1, self.blocks
        parts = (part.gather(1, last)[:, 0] for part in (blocks.above, blocks.size, blocks.hits_above, blocks.hits))
        values[self.mixed] = TieBlock(*parts).precision_at(last[:, 0] + 1)
        return values


def rank(scores: Tensor, relevant: Tensor) -> Ranking:
    """Rank the candidates of each query, by one sort."""
    _check(scores, relevant)
    ranked, order = scores.sort(dim=1, descending=True)
    hits = relevant.gather(1, order)
    found = hits.new_zeros(len(hits), hits.shape[1] + 1, dtype=torch.int64)
    torch.cumsum(hits, dim=1, out=found[:, 1:])
    tied = ranked[:, 1:] == ranked[:, :-1]
    # A block of both kinds has a relevant and an irrelevant candidate side by side, in whatever order it came.
    mixed = (tied & (hits[:, 1:] != hits[:, :-1])).any(dim=1).nonzero()[:, 0]
    return Ranking(found, mixed, _blocks(tied[mixed], found[mixed]))


def _blocks(tied: Tensor, found: Tensor) -> TieBlock:
    """Find the block of each place ``(T, M)``, given which places are tied with the next ``(T, M - 1)``."""
    n_queries, n_candidates = len(found), found.shape[1] - 1
    places = torch.arange(n_candidates, device=found.device).expand(n_queries, -1)
    start, end = places.clone(), places + 1
    start[:, 1:].masked_fill_(tied, 0)
    end[:, :-1].masked_fill_(tied, n_candidates)
    start, end = start.cummax(dim=1).values, end.flip(1).cummin(dim=1).values.flip(1)
    above = found.gather(1, start)
    return TieBlock(start, end - start, above, found.gather(1, end) - above)


def _check(scores: Tensor, relevant: Tensor) -> None:
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and relevant {tuple(relevant.shape)} must be one (Q, M)")
    refuse_nan(scores)


def refuse_nan(scores: Tensor) -> None:
    """Raise ``ValueError`` if a score is NaN."""
    if scores.isnan().any():
        raise ValueError("a score is NaN, so its candidate has no place in the ranking; leave out such candidates")


def _block_of(scores: Tensor, relevant: Tensor, k: int) -> TieBlock:
    """Gather the candidates tied at the k-th place, which is the last one where there are fewer."""
    if k < 1:
        raise ValueError(f"k of a precision must be 1 or more, not {k}")
    _check(scores, relevant)
    if not scores.numel():
        none = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
        return TieBlock(none, none, none, none)
    return _block_at(scores, relevant, scores.topk(min(k, scores.shape[1]), dim=1).values[:, -1])


def _block_at(scores: Tensor, relevant: Tensor, score: Tensor) -> TieBlock:
    """Gather the candidates of one score ``(Q,)`` per query."""
    return TieBlock.count(scores > score[:, None], scores == score[:, None], relevant)


def class_means(values: Tensor, classes: Tensor) -> Tensor:
    """Average `values` ``(Q,)`` over each class in `classes` ``(Q,)`` that occurs: ``(P,)`` float64, ascending."""
    label = classes.cpu()
    n_queries = label.bincount()
    return (label.bincount(weights=values.cpu().double()) / n_queries)[n_queries > 0]


def macro_mean(values: Tensor, classes: Tensor) -> float:
    """Average a metric over classes, so that rare classes count as much as frequent ones.

    Parameters
    ----------
    values
        ``(Q,)``: one metric, per query; at least one.
    classes
        ``(Q,)`` int64: class of each query; a class without a query is not averaged over.

    Examples
    --------
    >>> macro_mean(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([0, 0, 0, 1]))
    0.5
    """
    if not len(values):
        raise ValueError("a macro mean needs at least one query")
    return float(class_means(values, classes).mean())
