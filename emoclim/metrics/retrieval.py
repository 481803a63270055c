"""Metrics of a ranking, per query, and their macro average.

Conventions: scores are ``(Q, M)``, one row per query and one column per candidate, higher is better; `relevant` is a
boolean of the same shape; results are ``(Q,)`` float64. Only the order of a row matters. Candidates of equal score
have no order, so each metric is its mean over all orders of the tied ones, in closed form. A query without a relevant
candidate scores 0 and stays in the mean.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates of each query by descending score; equal scores form one block, without order inside.

    Entry ``[q, j]`` describes the block that covers place j (from 0) of query q's ranking.

    Attributes
    ----------
    start, end
        ``(Q, M)`` int64: the block covers the places from `start` up to, without, `end`.
    relevant
        ``(Q, M)`` int64: relevant candidates in the block.
    relevant_above
        ``(Q, M)`` int64: relevant candidates that rank strictly above the block.
    n_relevant
        ``(Q,)`` int64: relevant candidates in all.

    Notes
    -----
    Expectations over the orders of tied candidates follow F. McSherry and M. Najork, "Computing information retrieval
    performance measures efficiently in the presence of tied scores", ECIR 2008, section 2.
    """

    start: Tensor
    end: Tensor
    relevant: Tensor
    relevant_above: Tensor
    n_relevant: Tensor

    def precision_at(self, k: int) -> Tensor:
        """Share of relevant candidates among the first `k`, ``(Q,)``; see :func:`precision_at_k`."""
        if k < 1:
            raise ValueError(f"k of a precision must be 1 or more, not {k}")
        return self._chance(k).sum(dim=1) / k

    def reciprocal_rank(self) -> Tensor:
        """One over the rank of the first relevant candidate, ``(Q,)``; see :func:`reciprocal_rank`."""
        left = self.end - self._places()
        # Chance that this place holds a relevant candidate, given that no earlier one does.
        hazard = (self.relevant.double() / left).clamp(max=1.0)
        none_through = (1.0 - hazard).cumprod(dim=1)
        none_before = torch.ones_like(hazard)
        none_before[:, 1:] = none_through[:, :-1]
        return (none_before * hazard / self._ranks()).sum(dim=1)

    def average_precision(self) -> Tensor:
        """Mean precision at the ranks of the relevant candidates, ``(Q,)``; see :func:`average_precision`."""
        tied_above = self._places() - self.start
        # Given a relevant candidate at this place, each place above it in the block is relevant with this chance.
        company = (self.relevant - 1).double() / (self.end - self.start - 1).clamp(min=1)
        hits = self.relevant_above + 1 + tied_above * company
        return (self._chance() * hits / self._ranks()).sum(dim=1) / self.n_relevant.clamp(min=1)

    def _chance(self, k: int | None = None) -> Tensor:
        """Chance that each of the first `k` places holds a relevant candidate: 0 or 1 where nothing is tied."""
        return self.relevant[:, :k].double() / (self.end - self.start)[:, :k]

    def _places(self) -> Tensor:
        return torch.arange(self.start.shape[1], device=self.start.device)

    def _ranks(self) -> Tensor:
        return self._places().double() + 1.0


def rank(scores: Tensor, relevant: Tensor) -> Ranking:
    """Rank the candidates of each query: one sort, from which every metric follows.

    Parameters
    ----------
    scores
        ``(Q, M)``, of any real type.
    relevant
        ``(Q, M)`` bool.

    Raises
    ------
    ValueError
        The shapes differ, or a score is NaN, which has no place in an order.
    """
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and relevant {tuple(relevant.shape)} must be one (Q, M)")
    if scores.isnan().any():
        raise ValueError("a score is NaN, so its candidate has no place in the ranking")
    n_queries, n_candidates = scores.shape
    ranked, order = scores.sort(dim=1, descending=True)
    places = torch.arange(n_candidates, device=scores.device).expand(n_queries, -1)

    starts_block = torch.ones_like(relevant, dtype=torch.bool)
    starts_block[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    ends_block = torch.ones_like(relevant, dtype=torch.bool)
    ends_block[:, :-1] = starts_block[:, 1:]
    start = torch.where(starts_block, places, 0).cummax(dim=1).values
    end = torch.where(ends_block, places + 1, n_candidates).flip(1).cummin(dim=1).values.flip(1)

    found = scores.new_zeros(n_queries, n_candidates + 1, dtype=torch.int64)  # relevant ones above each place
    found[:, 1:] = relevant.gather(1, order).cumsum(dim=1)
    above = found.gather(1, start)
    return Ranking(start, end, found.gather(1, end) - above, above, found[:, -1])


def random_order(n_relevant: Tensor, n_candidates: int) -> Ranking:
    """The ranking of one that cannot tell candidates apart: all tied, so each metric is its mean over all orders.

    Parameters
    ----------
    n_relevant
        ``(Q,)`` int64: relevant candidates of each query.
    n_candidates
        Candidates of each query, M.
    """
    start = n_relevant.new_zeros(len(n_relevant), n_candidates)
    return Ranking(start, start + n_candidates, n_relevant[:, None].expand_as(start), start, n_relevant)


def precision_at_k(scores: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Share of relevant candidates among the `k` of highest score.

    Parameters
    ----------
    scores, relevant
        ``(Q, M)``, the second bool.
    k
        At least 1. The divisor is `k` even where there are fewer candidates.

    Returns
    -------
    Tensor
        ``(Q,)`` float64.

    Raises
    ------
    ValueError
        `k` is below 1, the shapes differ, or a score is NaN.
    """
    return rank(scores, relevant).precision_at(k)


def reciprocal_rank(scores: Tensor, relevant: Tensor) -> Tensor:
    """One over the rank, from 1, of the best relevant candidate.

    Parameters
    ----------
    scores, relevant
        ``(Q, M)``, the second bool.

    Returns
    -------
    Tensor
        ``(Q,)`` float64; 0 for a query without a relevant candidate.

    Raises
    ------
    ValueError
        The shapes differ, or a score is NaN.
    """
    return rank(scores, relevant).reciprocal_rank()


def average_precision(scores: Tensor, relevant: Tensor) -> Tensor:
    """Mean, over the relevant candidates, of the precision at the rank of each.

    Parameters
    ----------
    scores, relevant
        ``(Q, M)``, the second bool.

    Returns
    -------
    Tensor
        ``(Q,)`` float64; 0 for a query without a relevant candidate.

    Raises
    ------
    ValueError
        The shapes differ, or a score is NaN.
    """
    return rank(scores, relevant).average_precision()


def class_means(values: Tensor, classes: Tensor) -> Tensor:
    """Mean of `values` ``(Q,)`` over the queries of each class in `classes` ``(Q,)``; one per class that occurs.

    Returns
    -------
    Tensor
        ``(P,)`` float64 on the CPU, by ascending class.
    """
    label = classes.cpu()
    n_queries = label.bincount()
    return (label.bincount(weights=values.cpu().double()) / n_queries)[n_queries > 0]


def macro_mean(values: Tensor, classes: Tensor) -> float:
    """Mean over classes of the mean over the queries of each, so that rare classes count as much as frequent ones.

    Parameters
    ----------
    values
        ``(Q,)``: one metric, per query.
    classes
        ``(Q,)`` int64: class of each query; a class without a query is not averaged over.

    Raises
    ------
    ValueError
        There is no query.
    """
    if not len(values):
        raise ValueError("a macro mean needs at least one query")
    return float(class_means(values, classes).mean())
