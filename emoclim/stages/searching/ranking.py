"""Rank candidates exactly, at the speed of single precision. Used by galleries.

Invariant: a score is the product of two float32 vectors in double precision, rounded to single, so that equal items
score alike wherever they lie; candidates are scanned in single precision, and those near enough to the best that this
may err are compared again.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

ROWS_AT_ONCE = 65_536  # in double precision
NARROW = 16  # of candidates where fewer than one in so many are ranked, no others are read


class Ranking(NamedTuple):
    """The best candidates of one query, best first; equal scores keep their order."""

    rows: Tensor  # (T,), int64
    scores: Tensor  # (T,)
    percentiles: Tensor  # (T,), percent of the ranked candidates that score lower
    exact: bool = True  # whether no candidate may be missed, and percentiles are not estimates


class Ranker(Protocol):
    """Ranks what a gallery holds by their product with a vector ``(E,)``."""

    def __call__(self, wanted: Tensor, top: int, included: Tensor | None = None) -> Ranking:
        """Return the best of all, or of those included: flags ``(N,)``, or rows in ascending order."""


class ExactRanker:
    """Ranks vectors ``(N, E)``, which may be memory-mapped, by reading all that may be ranked."""

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors

    def __call__(self, wanted: Tensor, top: int, included: Tensor | None = None) -> Ranking:
        """See the protocol."""
        rows = as_rows(included, len(self._vectors))
        approximate = scan(self._vectors, wanted, rows)
        return rank(approximate, error(wanted), lambda some: rescore(self._vectors, wanted, some), top, rows)


def as_rows(included: Tensor | None, n: int) -> Tensor:
    """List the rows that are included of `n`, by flags ``(n,)`` or themselves; by default all."""
    if included is None:
        return torch.arange(n)
    return included.nonzero()[:, 0] if included.dtype == torch.bool else included


def error(wanted: Tensor) -> float:
    """Bound how far products of vectors of unit length in single precision may lie from those in double, rounded."""
    return (len(wanted) + 4) * 2.0**-24


def scan(vectors: Tensor, wanted: Tensor, rows: Tensor) -> Tensor:
    """Score some rows ``(n,)`` in single precision; of a narrow selection only these are read."""
    if len(rows) == len(vectors):
        return vectors @ wanted
    if len(rows) * NARROW >= len(vectors):
        return (vectors @ wanted)[rows]
    return torch.cat([vectors[some] @ wanted for some in torch.split(rows, ROWS_AT_ONCE)])


def rescore(vectors: Tensor, wanted: Tensor, rows: Tensor) -> Tensor:
    """Score some rows ``(n,)`` as the invariant says, whichever others lie beside them."""
    query = wanted.double()
    parts = [(vectors[some].double() * query).sum(dim=1).float() for some in torch.split(rows, ROWS_AT_ONCE)]
    return torch.cat(parts)


def rank(approximate: Tensor, error: float, exact: Callable[[Tensor], Tensor], top: int, rows: Tensor) -> Ranking:
    """Rank `rows` by scores ``(n,)`` that err by at most `error`, with those made exact that may be the best.

    Whatever scores no lower than one of the best is among those made exact, so that percentiles are exact, too.
    """
    if (top := min(top, len(rows))) < 1:
        return Ranking(rows[:0], torch.empty(0), torch.empty(0, dtype=torch.float64))
    least = approximate.topk(top).values[-1] - 2 * error
    near = rows[approximate >= least]
    scores = exact(near)
    order = scores.argsort(descending=True, stable=True)[:top]
    lower = len(rows) - len(near) + torch.searchsorted(scores.sort().values, scores[order])
    return Ranking(near[order], scores[order], 100 * lower.double() / len(rows))
