"""Count the candidates above a score and at it, which tells ranks without ever sorting the candidates.

Convention: a row of scores has its candidates by class, in chunks of one width that hold one class each; columns that
are left over score -inf, as does whatever a query must not rank. The best of each chunk tells which chunks can hold
what is counted, so that all but a few are read once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from emoclim.metrics.retrieval import refuse_nan

NARROWEST, WIDEST, WIDEST_OF_PEAKS = 32, 128, 512  # columns of a chunk; torch reads narrower ones slowly
READ_AT_ONCE = 1 << 18  # candidates that are read again together; some 3 MB


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of a row of scores each candidate has."""

    columns: Tensor  # (M,) int32: the column of each candidate; or none, once all are in their places
    chunk_classes: Tensor  # (n,) int64: the class of the candidates of each chunk
    width: int  # columns of a chunk; a row has n times as many
    n_classes: int  # C
    n_candidates: int  # M

    @property
    def n_columns(self) -> int:
        """Columns of a row of scores."""
        return len(self.chunk_classes) * self.width

    def bytes_per_query(self, deepest: int) -> int:
        """Return what the scores of one query, and what is found by them, take where the `deepest` best are wanted."""
        chunks = len(self.chunk_classes)
        read_again = min(deepest, chunks) * self.width
        return 9 * self.n_columns + 24 * read_again + 48 * chunks + 64 * self.n_classes

    def bytes_of_peaks(self, deepest: int) -> int:
        """Return what the best score of each chunk, and what is found by these, take for one query."""
        return 5 * len(self.chunk_classes) + 32 * deepest + 80 * self.n_classes

    def without_columns(self) -> "Layout":
        """Leave out the columns, for what is laid out already."""
        return replace(self, columns=self.columns[:0].clone())

    def spread(self, rows: Tensor, fill: float = 0) -> Tensor:
        """Bring rows of the candidates ``(M, ...)`` into the order of their columns; `fill` where a column has none."""
        spread = rows.new_full((self.n_columns, *rows.shape[1:]), fill)
        spread[self.columns] = rows
        return spread

    def empty(self) -> Tensor:
        """Tell of each column ``(P,)`` whether it has no candidate."""
        return self.spread(torch.ones_like(self.columns, dtype=torch.bool)).logical_not_()


def lay_out(classes: Tensor, n_classes: int, deepest: int, widest: int = WIDEST) -> Layout:
    """Give each candidate a column, by its class ``(M,)``; `deepest` is the greatest k, on which only speed depends."""
    # Rows of M scores are read in M / width chunks, of which the best `deepest` are read again: least for this width.
    width = NARROWEST
    while width < widest and (2 * width) ** 2 * deepest <= len(classes) and 4 * width * n_classes <= len(classes):
        width *= 2
    sizes = classes.bincount(minlength=n_classes)
    chunks = (sizes + width - 1) // width
    order = classes.argsort(stable=True)
    of_class = classes[order]
    within = torch.arange(len(classes), device=classes.device) - (sizes.cumsum(0) - sizes)[of_class]
    columns = torch.empty_like(order, dtype=torch.int32)
    columns[order] = ((chunks.cumsum(0) - chunks)[of_class] * width + within).int()
    chunk_classes = torch.arange(n_classes, device=classes.device).repeat_interleave(chunks)
    return Layout(columns, chunk_classes, width, n_classes, len(classes))


class Counts(Protocol):
    """Tells the levels of some queries, and how many candidates stand above each and at it."""

    def levels(self, k: int, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return the `k` highest scores ``(Q, k)``, and the highest one in wanted classes ``(Q,)``, or inf."""

    def counts(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Count the candidates of each class above each level ``(Q,)``, and just there: two ``(Q, C)`` for each."""


class Counter:
    """Count over the scores ``(Q, P)`` of some queries, contiguous and in the columns of a layout."""

    def __init__(self, scores: Tensor, layout: Layout) -> None:
        self._layout = layout
        self._chunks = scores.view(-1, layout.width)  # (Q * n, width)
        self._peaks = self._chunks.amax(dim=1).view(len(scores), -1)  # (Q, n)
        refuse_nan(self._peaks)

    def levels(self, k: int, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return :meth:`best` and :meth:`best_of`."""
        return self.best(k), self.best_of(wanted)

    def counts(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Count :meth:`around` each level."""
        return [self.around(level) for level in levels]

    def best(self, k: int) -> Tensor:
        """Return the `k` highest scores of each query, descending, ``(Q, k)``; `k` is at most the columns of a row."""
        n_queries, n = self._peaks.shape
        first = torch.arange(n_queries, device=self._peaks.device)[:, None] * n
        # The k best lie in those k chunks whose best are highest.
        chosen = first + self._peaks.topk(min(k, n), dim=1, sorted=False).indices
        return self._chunks[chosen].view(n_queries, -1).topk(k, dim=1).values

    def best_of(self, wanted: Tensor) -> Tensor:
        """Return the highest score in the wanted classes ``(Q, C)`` of each query, ``(Q,)``; inf if there is none."""
        best = self._peaks.masked_fill(~wanted[:, self._layout.chunk_classes], -torch.inf).amax(dim=1)
        return best.masked_fill(best == -torch.inf, torch.inf)

    def around(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """Count the candidates of each class that score more than `score` ``(Q,)``, and just that: two ``(Q, C)``."""
        n_queries, n = self._peaks.shape
        classes = self._layout.n_classes
        above, tied = self._peaks.new_zeros(2, n_queries * classes, dtype=torch.int64)
        reaching = (self._peaks >= score[:, None]).view(-1).nonzero()[:, 0]
        for part in torch.split(reaching, READ_AT_ONCE // self._layout.width):
            query = part // n
            cell = query * classes + self._layout.chunk_classes[part - query * n]
            candidates, level = self._chunks.index_select(0, part), score[query, None]
            above.index_add_(0, cell, (candidates > level).sum(dim=1))
            tied.index_add_(0, cell, (candidates == level).sum(dim=1))
        return above.view(n_queries, classes), tied.view(n_queries, classes)
