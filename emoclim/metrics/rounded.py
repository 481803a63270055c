"""Count over the best of each chunk in float32, and compute exactly whatever chunk can hold what is counted.

Used where scores are not held. Invariant: what is counted is what the exact products would give. Products in float32
cost half of those in float64, and of all chunks only few can hold what is among the best.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from emoclim.metrics.counting import Layout
from emoclim.metrics.retrieval import refuse_nan

PAIRS_AT_ONCE = 1 << 18  # of queries and chunks that are looked through together
QUERIES_AT_ONCE = 1 << 8  # for which a chunk is read together

Read = Callable[
    [Tensor, int, torch.dtype], Tensor
]  # of some queries (m,) and a chunk: scores (m, width); exact in float64


def error_bound(dim: int) -> float:
    """Bound how far a float32 product of two vectors ``(dim,)`` on the grid is from the exact one.

    Notes
    -----
    N. J. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1: `dim` roundings, in whatever order
    terms are added; unit vectors have products whose magnitudes add up to at most 1, but for how they were rounded.
    """
    return (dim + 4) * 2.0**-24 * 1.001


class PeakCounter:
    """Counts as :class:`~emoclim.metrics.counting.Counter` does, from the best float32 score of chunks ``(Q, n)``."""

    def __init__(self, peaks: Tensor, layout: Layout, read: Read, error: float) -> None:
        refuse_nan(peaks)
        self._peaks, self._layout, self._scores, self._error = peaks, layout, read, error

    def levels(self, k: int, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return the `k` highest scores ``(Q, k)``, and the highest one in wanted classes ``(Q,)``, or inf."""
        best = self._peaks.new_full((len(self._peaks), k), -torch.inf, dtype=torch.float64)
        relevant = best.new_full((len(best),), -torch.inf)
        for chunk, of, rows in self._reaching(self._lowest(k, wanted)):
            scores = self._scores(rows, chunk, torch.float64)
            best[rows] = torch.cat([best[rows], scores], dim=1).topk(k, dim=1).values
            relevant[rows] = torch.where(wanted[rows, of], relevant[rows].maximum(scores.amax(dim=1)), relevant[rows])
        return best, relevant.masked_fill(relevant == -torch.inf, torch.inf)

    def counts(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Count the candidates of each class above each level ``(Q,)``, and just there: two ``(Q, C)`` for each.

        The last level may be far below the others.
        """
        if not levels:
            return []
        level = torch.stack(list(levels), dim=1)
        above, tied = level.new_zeros(2, *level.shape, self._layout.n_classes, dtype=torch.int64)
        last, others = level[:, -1], torch.cat([level[:, :-1], torch.full_like(level[:, :1], torch.inf)], 1).amin(dim=1)
        for chunk, of, rows in self._reaching(_below(others - self._error)[:, None]):
            scores, own = self._scores(rows, chunk, torch.float64)[:, None], level[rows, :, None]
            above[rows, :, of] += (scores > own).sum(dim=2)
            tied[rows, :, of] += (scores == own).sum(dim=2)
        deep = last < others
        above[deep, -1], tied[deep, -1] = 0, 0
        self._count_deep(torch.where(deep, last, torch.inf), above[:, -1], tied[:, -1])
        return list(zip(above.unbind(dim=1), tied.unbind(dim=1), strict=True))

    def _count_deep(self, level: Tensor, above: Tensor, tied: Tensor) -> None:
        """Count around levels that many chunks reach, exactly only where float32 does not tell."""
        low, high = _below(level - self._error), -_below(-level - self._error)
        for chunk, of, rows in self._reaching(low[:, None]):
            scores = self._scores(rows, chunk, torch.float32)
            over = scores > high[rows, None]
            counts = over.sum(dim=1)
            near = ((scores >= low[rows, None]) ^ over).any(dim=1)
            if len(close := rows[near]):
                exact, own = self._scores(close, chunk, torch.float64), level[close, None]
                counts[near] = (exact > own).sum(dim=1)
                tied[close, of] += (exact == own).sum(dim=1)
            above[rows, of] += counts

    def _lowest(self, k: int, wanted: Tensor) -> Tensor:
        """Return how good the best of a chunk must be, ``(Q, C)``, for it may hold one of the `k` or wanted best."""
        found = []
        for peaks, own in zip(
            *(torch.split(table, self._queries_at_once) for table in (self._peaks, wanted)), strict=True
        ):
            few = k > peaks.shape[1]
            best = peaks.new_full((len(peaks), 1), -torch.inf) if few else peaks.topk(k, dim=1).values[:, -1:]
            relevant = peaks.masked_fill(~own[:, self._layout.chunk_classes], -torch.inf).amax(dim=1, keepdim=True)
            relevant = relevant.masked_fill(relevant == -torch.inf, torch.inf)
            found.append(torch.where(own, best.minimum(relevant), best))
        return _below(torch.cat(found).double() - 2 * self._error)

    def _reaching(self, lowest: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """Yield each chunk whose best reaches `lowest` ``(Q, C)`` or ``(Q, 1)``, its class, and whose it does."""
        classes = self._layout.chunk_classes
        for chunks in torch.split(torch.arange(len(classes)), max(1, PAIRS_AT_ONCE // max(1, len(lowest)))):
            own = lowest[:, classes[chunks]] if lowest.shape[1] > 1 else lowest
            chunk, query = (self._peaks[:, chunks[0] : chunks[-1] + 1] >= own).T.nonzero().unbind(dim=1)
            numbers, sizes = torch.unique_consecutive(chunks[chunk], return_counts=True)
            for number, rows in zip(numbers.tolist(), torch.split(query, sizes.tolist()), strict=True):
                for some in torch.split(rows, QUERIES_AT_ONCE):
                    yield number, int(classes[number]), some

    @property
    def _queries_at_once(self) -> int:
        return max(1, PAIRS_AT_ONCE // max(1, self._peaks.shape[1]))


def _below(level: Tensor) -> Tensor:
    """Round to float32, down."""
    return torch.nextafter(level.float(), torch.tensor(-torch.inf))
