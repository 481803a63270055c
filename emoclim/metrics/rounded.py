"""Count over products in float32, and compute exactly whatever these are too coarse to tell apart.

Used where rows are measured block by block. Invariant: what is counted is what the exact products would give. Products
in float32 cost half of those in float64, of which only few candidates near a level need any.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from emoclim.metrics.counting import READ_AT_ONCE, Counter, Layout

NEAR = 64  # candidates of a query, on average, that are worth an exact look; where more are near, all are
UNIT = 2.0**-52  # brings products of the grid to those of unit vectors, and keeps each bit
NOTED_AT_ONCE = READ_AT_ONCE // 4  # candidates of which places may be noted, too, each in four times the memory
EXACT_AT_ONCE = 1 << 20  # numbers of candidates whose exact products are taken together; 8 MB

Exact = Callable[[Tensor, Tensor], Tensor]  # of queries and columns (n,): their exact scores (n,) float64


class TooNearError(Exception):
    """More candidates are near a level than are worth an exact look each."""


def error_bound(dim: int) -> float:
    """Bound how far a float32 product of two vectors ``(dim,)`` of unit length, rounded to float32, is from the exact.

    Notes
    -----
    N. J. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1: `dim` roundings, in whatever order
    terms are added, and one of each entry; unit vectors have products whose magnitudes add up to at most 1.
    """
    return (dim + 4) * 2.0**-24 * 1.001


class RoundedCounter(Counter):
    """Counts over float32 scores ``(Q, P)`` as if they were the exact ones; raises :class:`TooNearError`."""

    def __init__(self, scores: Tensor, layout: Layout, exact: Exact, error: float) -> None:
        super().__init__(scores, layout)
        self._exact, self._error = exact, error
        self._most = max(NEAR * len(scores), READ_AT_ONCE)

    @override
    def best(self, k: int) -> Tensor:
        """Return the `k` highest exact scores of each query, descending, ``(Q, k)``."""
        lowest = super().best(k)[:, -1]
        query, column = self._reaching(lowest, torch.ones_like(self._peaks, dtype=torch.bool))
        return _best_of_each(query, self._exact(query, column), len(lowest), k)

    @override
    def best_of(self, wanted: Tensor) -> Tensor:
        """Return the highest exact score in the wanted classes ``(Q, C)`` of each query, ``(Q,)``; inf if none."""
        best = super().best_of(wanted)
        query, column = self._reaching(best, wanted[:, self._layout.chunk_classes])
        found = torch.full_like(best, -torch.inf, dtype=torch.float64)
        found.scatter_reduce_(0, query, self._exact(query, column), "amax")
        return found.masked_fill(best == torch.inf, torch.inf)

    @override
    def around(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """Count the candidates of each class that score more than `score` ``(Q,)``, and just that: two ``(Q, C)``."""
        n_queries, n = self._peaks.shape
        low, high = _below(score - self._error), _above(score + self._error)
        above, tied = self._peaks.new_zeros(2, n_queries * self._layout.n_classes, dtype=torch.int64)
        near = []
        for part in torch.split((self._peaks >= low[:, None]).view(-1).nonzero()[:, 0], self._chunks_at_once):
            query = part // n
            candidates, cell = self._chunks.index_select(0, part), self._cell(query, part - query * n)
            over = candidates > high[query, None]
            above.index_add_(0, cell, over.sum(dim=1))
            near.append(self._places(part, (candidates >= low[query, None]) & ~over))
            self._refuse(near)
        query, column = torch.cat(near or [score.new_zeros(0, 2, dtype=torch.int64)]).unbind(dim=1)
        cell = self._cell(query, column // self._layout.width)
        found, level = self._exact(query, column), score[query]
        above.index_add_(0, cell, (found > level).long())
        tied.index_add_(0, cell, (found == level).long())
        return above.view(n_queries, -1), tied.view(n_queries, -1)

    def _reaching(self, level: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Find queries and columns ``(n,)`` of what may score exactly what the best of rounded `level` ``(Q,)`` do.

        Only in chunks ``(Q, n)`` that are allowed.
        """
        low, n = _below(level.double() - 2 * self._error), self._peaks.shape[1]
        near = []
        for part in torch.split(
            ((self._peaks >= low[:, None]) & allowed).view(-1).nonzero()[:, 0], self._chunks_at_once
        ):
            near.append(self._places(part, self._chunks.index_select(0, part) >= low[part // n, None]))
            self._refuse(near)
        query, column = torch.cat(near or [level.new_zeros(0, 2, dtype=torch.int64)]).unbind(dim=1)
        return query, column

    @property
    def _chunks_at_once(self) -> int:
        return NOTED_AT_ONCE // self._layout.width

    def _cell(self, query: Tensor, chunk: Tensor) -> Tensor:
        return query * self._layout.n_classes + self._layout.chunk_classes[chunk]

    def _places(self, chunks: Tensor, chosen: Tensor) -> Tensor:
        """Return query and column ``(n, 2)`` of what is chosen in some chunks ``(m, width)``."""
        row, within = chosen.nonzero().unbind(dim=1)
        query = chunks[row] // self._peaks.shape[1]
        column = (chunks[row] - query * self._peaks.shape[1]) * self._layout.width + within
        return torch.stack([query, column], dim=1)

    def _refuse(self, near: list[Tensor]) -> None:
        if sum(map(len, near)) > self._most:
            raise TooNearError


def exact_products(queries: Tensor, candidates: Tensor, rows: Tensor) -> Exact:
    """Make what computes exact scores of vectors on the grid; `rows` has the candidate of each column."""
    at_once = max(1, EXACT_AT_ONCE // max(1, queries.shape[1]))

    def exact(query: Tensor, column: Tensor) -> Tensor:
        found = query.new_empty(len(query), dtype=torch.float64)
        for part in torch.split(torch.arange(len(query)), at_once):
            products = queries[query[part]].double() * candidates[rows[column[part]]]
            torch.sum(products, dim=1, out=found[part[0] : part[-1] + 1])
        return found * UNIT

    return exact


def _best_of_each(query: Tensor, values: Tensor, n_queries: int, k: int) -> Tensor:
    """Return the `k` highest values of each query, descending, ``(n_queries, k)``, all of which have as many."""
    order = values.argsort(descending=True)
    order = order[query[order].argsort(stable=True)]
    owner, counts = query[order], query.bincount(minlength=n_queries)
    place = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[owner]
    kept = place < k
    best = values.new_full((n_queries, k), -torch.inf)
    best[owner[kept], place[kept]] = values[order[kept]]
    return best


def _below(level: Tensor) -> Tensor:
    """Round to float32, down."""
    return torch.nextafter(level.float(), torch.tensor(-torch.inf))


def _above(level: Tensor) -> Tensor:
    """Round to float32, up."""
    return torch.nextafter(level.float(), torch.tensor(torch.inf))
