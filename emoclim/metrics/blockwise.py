"""Measure any number of queries and candidates, one block of queries at a time, so that memory is bounded.

Convention: results depend neither on the size of the blocks nor on where a candidate stands.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.errors import ConfigError
from emoclim.metrics.counting import Layout
from emoclim.metrics.questions import Answer, Question

BLOCK = 1 << 28  # bytes of a block of queries where memory allows more: it would make no product faster
SORTED_PAIR = 144  # bytes that a sort takes per query and candidate
SORTED_BLOCK = 1 << 25  # bytes of a block of queries that is sorted: more would not stay near the processor
GRID = float(1 << 26)


def on_grid(vectors: Tensor) -> Tensor:
    """Scale vectors ``(N, E)`` to the length 2**26 in float64, and round them to whole numbers.

    Notes
    -----
    A product of two of these, and each of its partial sums, is a whole number of at most 53 bits: float64 holds it
    exactly, in whatever order a machine adds. So equal vectors have equal scores wherever they stand, and a ranking is
    the same on any processor. The rounding moves a cosine by some 1e-8, which is less than float32 embeddings know.
    """
    return (normalize(vectors.double(), dim=1) * GRID).round_()


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
        ``(Q, E)`` and ``(M, E)`` float64, of :func:`on_grid`; the answer lies on their device.
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
        placed, empty = layout.spread(candidates[columns]).T, layout.empty()
        owners = empty if exclude_groups is None else layout.spread(exclude_groups[columns], fill=-1)
        size = _queries_per_block(layout, question, memory)
        buffer = placed.new_empty(min(size, len(rows)), layout.n_columns)
        for block in _blocks(rows[~answer.silent[rows]], answer.n_candidates, size):
            scores = torch.mm(queries[block], placed, out=buffer[: len(block)]).index_fill_(1, empty, -torch.inf)
            if exclude_groups is not None:
                scores.masked_fill_(torch.eq(exclude_groups[block, None], owners), -torch.inf)
            answer.take(question, block, scores, layout)
    return answer


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
