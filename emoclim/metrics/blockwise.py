"""Measure any number of queries and candidates, one block of queries at a time, so that memory is bounded.

Convention: results depend neither on the size of the blocks nor on where a candidate stands.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.errors import ConfigError
from emoclim.metrics.counting import Layout
from emoclim.metrics.questions import Answer, Question
from emoclim.metrics.rounded import PeakCounter, error_bound

BLOCK = 1 << 28  # bytes of a block of queries where memory allows more: it would make no product faster
SORTED_PAIR = 144  # bytes that a sort takes per query and candidate
SORTED_BLOCK = 1 << 25  # bytes of a block of queries that is sorted: more would not stay near the processor
PEAKS_BLOCK = 3 << 23  # bytes of a block of queries of which only the best of each chunk is held
TILE, TILE_QUERIES = 1 << 23, 1 << 10  # bytes of float32 products that are taken at once, and queries that these are of
GRID = float(1 << 26)
ROWS, GRID_ROWS = 1 << 13, 1 << 10  # of vectors that are asked for at once, and brought to the grid at once
PLACED_ROWS = 1 << 11  # of candidates, beside which what makes them takes memory
CHECKED = 256  # products of a block that are compared with exact ones
ROUNDED_FROM = 1 << 12  # candidates for which it pays to multiply in float32 first


class Vectors(Protocol):
    """Vectors on the grid: a tensor ``(N, E)``, or what makes rows of one as they are asked for."""

    @property
    def device(self) -> torch.device:
        """Where they lie."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return the vectors of rows ``(n,)`` int64: ``(n, E)``."""


def on_grid(vectors: Tensor) -> Tensor:
    """Bring vectors ``(N, E)`` to unit length in float64, and round them to multiples of 2**-26, float32.

    Notes
    -----
    A product of two of these in float64, and each of its partial sums, is a multiple of 2**-52 of at most 53 bits:
    float64 holds it exactly, in whatever order a machine adds. So equal vectors have equal scores wherever they stand,
    and a ranking is the same on any processor. The rounding moves a cosine by some 1e-8, which is less than float32
    embeddings know.
    """
    grid = torch.empty_like(vectors, dtype=torch.float32)
    for rows, part in zip(torch.split(vectors, GRID_ROWS), torch.split(grid, GRID_ROWS), strict=True):
        part.copy_(normalize(rows.double(), dim=1)).mul_(GRID).round_().div_(GRID)
    return grid


def measure_vectors(
    queries: Vectors,
    candidates: Vectors,
    question: Question,
    *,
    memory: int,
    exclude_groups: Tensor | None = None,
    groups: tuple[Tensor, Tensor] | None = None,
) -> Answer:
    """Measure by the products of vectors, holding what is found of no more queries than fit into memory.

    A query that is all zero asks for nothing: it finds no candidate, instead of all of them tied.

    Parameters
    ----------
    queries, candidates
        ``(Q, E)`` and ``(M, E)``, of :func:`on_grid`; the answer lies on their device. Candidates are asked for once.
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
    for rows, columns in _parts(len(queries), len(candidates), groups, device):
        answer.count_candidates(question, rows, columns, exclude_groups)
        gallery = Gallery(candidates, columns, question, exclude_groups, memory)
        del columns  # of which there may be very many
        for own in torch.split(rows, ROWS):
            vectors = queries[own]
            asking = vectors.any(dim=1)
            answer.silent[own] = ~asking
            for block in _blocks(asking.nonzero()[:, 0], answer.n_candidates[own], gallery.queries_at_once):
                gallery.ask(answer, own[block], vectors[block])
    return answer


class Gallery:
    """Candidates of some columns in the order of a layout, and what is found among them; they are held once."""

    def __init__(
        self,
        candidates: Vectors,
        columns: Tensor,
        question: Question,
        exclude_groups: Tensor | None,
        memory: int,
    ) -> None:
        self._candidates, self._columns, self._question, self._memory = candidates, columns, question, memory
        # whether it pays to multiply in float32 first; some libraries of other processors can be told to do it coarsely
        enough = len(columns) >= ROUNDED_FROM * max(1, len(question.relevance) / 16)  # else chunks hold few candidates
        self._by_peaks = columns.device.type == "cpu" and enough and not question.sorts
        self._layout = layout = question.lay_out(columns, peaks=self._by_peaks)
        self._empty = layout.empty()
        self._excluded: tuple[Tensor, Tensor] | None = None  # groups of queries, and of the candidate of each column
        if exclude_groups is not None:
            self._excluded = exclude_groups, layout.spread(exclude_groups[columns], fill=-1)
        self._buffer: Tensor | None = None
        self.queries_at_once = _queries_per_block(layout, question, memory, self._by_peaks)

    def ask(self, answer: Answer, block: Tensor, vectors: Tensor) -> None:
        """Fill in some queries, at most as many as are taken at once; all have as many candidates, not none."""
        if self._by_peaks:
            peaks = self._peaks(block, vectors)
            if self._by_peaks:
                by_type = {torch.float32: vectors, torch.float64: vectors.double()}

                def read(rows: Tensor, chunk: int, dtype: torch.dtype) -> Tensor:
                    return self._chunk(block[rows], by_type[dtype][rows], chunk)

                answer.count(
                    self._question, block, PeakCounter(peaks, self._layout, read, error_bound(vectors.shape[1]))
                )
                return
            self.queries_at_once = _queries_per_block(self._layout, self._question, self._memory, False)
        for rows, own in zip(*(torch.split(table, self.queries_at_once) for table in (block, vectors)), strict=True):
            if self._buffer is None or len(self._buffer) < len(rows):
                self._buffer = own.new_empty(len(rows), self._layout.n_columns, dtype=torch.float64)
            scores = torch.mm(own.double(), self._placed_exact.T, out=self._buffer[: len(rows)])
            answer.take(self._question, rows, self._ranked(rows, scores, 0), self._layout)

    def _peaks(self, block: Tensor, vectors: Tensor) -> Tensor:
        """Compute the best float32 score of each chunk ``(len(block), n)``, unless products turn out to be coarse."""
        width, n = self._layout.width, len(self._layout.chunk_classes)
        parts = -(-len(block) // TILE_QUERIES)
        most = -(-len(block) // parts)  # queries of a part
        at_once = max(1, min(self._memory // 4, TILE) // (4 * width * most))  # chunks
        buffer = self._placed.new_empty(most * at_once * width)
        peaks = self._placed.new_empty(len(block), n)
        for first in range(0, n, at_once):
            chunks = slice(first, min(first + at_once, n))
            tile = self._placed[chunks.start * width : chunks.stop * width]
            for rows in torch.tensor_split(torch.arange(len(block)), parts):
                own = vectors[rows[0] : rows[-1] + 1]
                scores = torch.mm(own, tile.T, out=buffer[: len(own) * len(tile)].view(len(own), len(tile)))
                if not first + int(rows[0]) and not self._trusts(scores[0], own[0], tile):
                    return peaks
                self._ranked(block[rows], scores, chunks.start * width)
                peaks[rows[0] : rows[-1] + 1, chunks] = scores.view(len(own), -1, width).amax(dim=2)
        return peaks

    def _trusts(self, scores: Tensor, vector: Tensor, tile: Tensor) -> bool:
        exact = tile[:CHECKED].double() @ vector.double()
        self._by_peaks = bool(((scores[:CHECKED] - exact).abs() <= error_bound(len(vector))).all())
        return self._by_peaks

    def _chunk(self, rows: Tensor, vectors: Tensor, chunk: int) -> Tensor:
        """Compute the scores of some queries in one chunk; exact, if these are given in float64."""
        first = chunk * self._layout.width
        tile = self._placed[first : first + self._layout.width].to(vectors.dtype)
        return self._ranked(rows, torch.mm(vectors, tile.T), first)

    def _ranked(self, rows: Tensor, scores: Tensor, first: int) -> Tensor:
        """Bring to -inf whatever is no candidate of some queries, in columns from `first` on."""
        columns = slice(first, first + scores.shape[1])
        scores.index_fill_(1, self._empty[columns].nonzero()[:, 0], -torch.inf)  # few: a mask would read all scores
        if self._excluded is not None:
            groups, owners = self._excluded
            scores.masked_fill_(torch.eq(groups[rows, None], owners[columns]), -torch.inf)
        return scores

    @cached_property
    def _placed(self) -> Tensor:
        return self._place(torch.float32)

    @cached_property
    def _placed_exact(self) -> Tensor:
        return self._placed.double() if "_placed" in vars(self) else self._place(torch.float64)

    def _place(self, dtype: torch.dtype) -> Tensor:
        """Bring the candidates into the order of their columns; columns without one are zero. Done once."""
        columns, self._columns = self._columns, self._columns.new_empty(0)
        places, self._layout = self._layout.columns, self._layout.without_columns()
        placed = None
        for own, at in zip(torch.split(columns, PLACED_ROWS), torch.split(places, PLACED_ROWS), strict=True):
            vectors = self._candidates[own.long()].to(dtype)
            if placed is None:
                placed = vectors.new_zeros(self._layout.n_columns, vectors.shape[1])
            placed[at] = vectors
        assert placed is not None  # whoever asks has a candidate
        return placed


def _blocks(rows: Tensor, n_candidates: Tensor, size: int) -> Iterator[Tensor]:
    """Yield the queries `rows` that have a candidate, at most so many at once, all with as many candidates."""
    counts = n_candidates[rows]
    for count in torch.unique(counts).tolist():
        if count:
            alike = rows[counts == count]
            yield from torch.tensor_split(alike, -(-len(alike) // size))


def _parts(
    n_queries: int, n_candidates: int, groups: tuple[Tensor, Tensor] | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and columns of each group that has a query; all of them where there are no groups."""
    if groups is None:
        yield torch.arange(n_queries, device=device), torch.arange(n_candidates, dtype=torch.int32, device=device)
        return
    members = dict(_members(groups[1].to(device)))
    for group, rows in _members(groups[0].to(device)):
        yield rows, members.get(group, rows[:0])


def _members(groups: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each group and the items in it, in their order."""
    order = groups.argsort(stable=True)
    numbers, sizes = torch.unique_consecutive(groups[order], return_counts=True)
    return zip(numbers.tolist(), torch.split(order, sizes.tolist()), strict=True)


def _queries_per_block(layout: Layout, question: Question, memory: int, peaks: bool) -> int:
    """Return as many as fit into memory, or fewer where more make nothing faster."""
    each = layout.bytes_per_query(question.depth) + question.sorts * SORTED_PAIR * layout.n_columns
    most = SORTED_BLOCK if question.sorts else BLOCK
    if peaks:
        each, most = layout.bytes_of_peaks(question.depth), PEAKS_BLOCK
    if each > memory:
        raise ConfigError(
            f"ranking {layout.n_candidates} candidates takes {each / 1e6:.1f} MB of memory per query, "
            f"but {memory / 1e6:.1f} MB are allowed; allow more"
        )
    return int(max(1, min(memory, most) // each))
