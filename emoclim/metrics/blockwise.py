"""Measure any number of queries and candidates, one block of queries at a time, so that memory is bounded.

Convention: results depend neither on the size of the blocks nor on where a candidate stands.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.errors import ConfigError
from emoclim.metrics.counting import Layout
from emoclim.metrics.questions import Answer, Question
from emoclim.metrics.rounded import Exact, RoundedCounter, TooNearError, error_bound, exact_products

BLOCK = 1 << 28  # bytes of a block of queries where memory allows more: it would make no product faster
SORTED_PAIR = 144  # bytes that a sort takes per query and candidate
SORTED_BLOCK = 1 << 25  # bytes of a block of queries that is sorted: more would not stay near the processor
GRID = float(1 << 26)
ROWS = 1 << 14  # brought to the grid at once
CHECKED = 256  # products of a block that are compared with exact ones
ROUNDED_FROM = 1 << 12  # candidates for which it pays to multiply in float32 first


def on_grid(vectors: Tensor) -> Tensor:
    """Scale vectors ``(N, E)`` to the length 2**26 in float64, and round them to whole numbers, int32.

    Notes
    -----
    A product of two of these, and each of its partial sums, is a whole number of at most 53 bits: float64 holds it
    exactly, in whatever order a machine adds. So equal vectors have equal scores wherever they stand, and a ranking is
    the same on any processor. The rounding moves a cosine by some 1e-8, which is less than float32 embeddings know.
    """
    grid = torch.empty_like(vectors, dtype=torch.int32)
    for rows, part in zip(torch.split(vectors, ROWS), torch.split(grid, ROWS), strict=True):
        part.copy_((normalize(rows.double(), dim=1) * GRID).round_())
    return grid


def measure_vectors(
    queries: Tensor,
    candidates: Tensor,
    question: Question,
    *,
    memory: int,
    exclude_groups: Tensor | None = None,
    groups: tuple[Tensor, Tensor] | None = None,
) -> Answer:
    """Measure by the products of vectors, holding the scores of no more queries than fit into memory.

    A query that is all zero asks for nothing: it finds no candidate, instead of all of them tied.

    Parameters
    ----------
    queries, candidates
        ``(Q, E)`` and ``(M, E)`` int32, of :func:`on_grid`; the answer lies on their device.
    question
        What is measured.
    memory
        Bytes that the scores of a block of queries, and all that is found by them, may take.
    exclude_groups
        ``(Q,)`` int64 from 0 on, where the candidates are the queries: those of one number, and so
        an item itself, are no candidates of each other.
    groups
        ``(Q,)`` and ``(M,)`` int64: only the candidates of a query's own group are candidates.
        None: all are.

    Raises
    ------
    ConfigError
        Not even one query fits.
    """
    device = queries.device
    question = question.to(device)
    exclude_groups = None if exclude_groups is None else exclude_groups.to(device)
    answer = Answer.blank(question)
    answer.silent.copy_(~queries.any(dim=1))
    for rows, columns in _parts(len(queries), len(candidates), groups, device):
        answer.count_candidates(question, rows, columns, exclude_groups)
        layout = question.lay_out(columns)
        size = _queries_per_block(layout, question, memory)
        products = Products(queries, candidates, columns, layout, exclude_groups, min(size, len(rows)))
        coarse = products.can_round and not question.sorts
        for block in _blocks(rows[~answer.silent[rows]], answer.n_candidates, size * (2 if coarse else 1)):
            with suppress(TooNearError):
                if coarse and products.can_round:
                    answer.take(
                        question, block, scores := products.rounded(block), layout, products.counter(block, scores)
                    )
                    continue
            for part in torch.split(block, size):
                answer.take(question, part, products.exact(part), layout)
    return answer


class Products:
    """Scores of the candidates of some columns, in rows that are laid out, which all take the same memory."""

    def __init__(
        self,
        queries: Tensor,
        candidates: Tensor,
        columns: Tensor,
        layout: Layout,
        exclude_groups: Tensor | None,
        most: int,
    ) -> None:
        self._queries, self._candidates, self._layout, self._empty = queries, candidates, layout, layout.empty()
        self._rows = layout.spread(columns)  # the candidate of each column
        self._excluded: tuple[Tensor, Tensor] | None = None  # groups of queries, and of the candidate of each column
        if exclude_groups is not None:
            self._excluded = exclude_groups, layout.spread(exclude_groups[columns], fill=-1)
        self._buffer = queries.new_empty(most, layout.n_columns, dtype=torch.float64)
        # whether it pays to multiply in float32 first; some libraries of other processors can be told to do it coarsely
        self.can_round = queries.device.type == "cpu" and len(columns) >= ROUNDED_FROM

    def exact(self, block: Tensor) -> Tensor:
        """Compute the scores of some queries in float64, as many as one block may have."""
        products = torch.mm(self._queries[block].double(), self._placed, out=self._buffer[: len(block)])
        return self._ranked(block, products)

    def rounded(self, block: Tensor) -> Tensor:
        """Compute the scores of twice as many queries, brought to cosines, in float32."""
        buffer = self._buffer.view(torch.float32).view(-1, self._layout.n_columns)[: len(block)]
        scores = torch.mm(rounded(self._queries[block]), self._placed_rounded, out=buffer)
        checked = torch.arange(min(CHECKED, self._layout.n_columns))
        exact = self._exact_of(block)(torch.zeros_like(checked), checked)
        if bool(((scores[0, checked] - exact).abs() > error_bound(self._queries.shape[1])).any()):
            self.can_round = False
            raise TooNearError
        return self._ranked(block, scores)

    def counter(self, block: Tensor, rounded: Tensor) -> RoundedCounter:
        """Make what counts over rounded scores."""
        return RoundedCounter(rounded, self._layout, self._exact_of(block), error_bound(self._queries.shape[1]))

    def _exact_of(self, block: Tensor) -> Exact:
        return exact_products(self._queries[block], self._candidates, self._rows)

    def _ranked(self, block: Tensor, scores: Tensor) -> Tensor:
        scores.index_fill_(1, self._empty, -torch.inf)
        if self._excluded is not None:
            groups, owners = self._excluded
            scores.masked_fill_(torch.eq(groups[block, None], owners), -torch.inf)
        return scores

    @cached_property
    def _placed(self) -> Tensor:
        return self._candidates[self._rows].double().T

    @cached_property
    def _placed_rounded(self) -> Tensor:
        placed = self._candidates.new_empty(len(self._rows), self._candidates.shape[1], dtype=torch.float32)
        for rows, part in zip(torch.split(self._rows, ROWS), torch.split(placed, ROWS), strict=True):
            part.copy_(rounded(self._candidates[rows]))
        return placed.T


def rounded(grid: Tensor) -> Tensor:
    """Bring vectors on the grid to unit length, in float32."""
    return grid.float().div_(GRID)


def _blocks(rows: Tensor, n_candidates: Tensor, size: int) -> Iterator[Tensor]:
    """Yield the queries `rows` that have a candidate, at most so many at once, all with as many candidates."""
    counts = n_candidates[rows]
    for count in torch.unique(counts).tolist():
        if count:
            yield from torch.split(rows[counts == count], size)


def _parts(
    n_queries: int, n_candidates: int, groups: tuple[Tensor, Tensor] | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and columns of each group that has a query; all of them where there are no groups."""
    if groups is None:
        yield torch.arange(n_queries, device=device), torch.arange(n_candidates, device=device)
        return
    members = dict(_members(groups[1].to(device)))
    for group, rows in _members(groups[0].to(device)):
        yield rows, members.get(group, rows[:0])


def _members(groups: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each group and the items in it, in their order."""
    order = groups.argsort(stable=True)
    numbers, sizes = torch.unique_consecutive(groups[order], return_counts=True)
    return zip(numbers.tolist(), torch.split(order, sizes.tolist()), strict=True)


def _queries_per_block(layout: Layout, question: Question, memory: int) -> int:
    """Return as many as fit into memory, or fewer where more make nothing faster."""
    each = layout.bytes_per_query(max(question.ks, default=1)) + question.sorts * SORTED_PAIR * layout.n_columns
    if each > memory:
        raise ConfigError(
            f"ranking {len(layout.columns)} candidates takes {each / 1e6:.1f} MB of memory per query, "
            f"but {memory / 1e6:.1f} MB are allowed; allow more"
        )
    return int(max(1, min(memory, SORTED_BLOCK if question.sorts else BLOCK) // each))
