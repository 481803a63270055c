"""Say what is asked of queries and candidates that have classes, and answer it from blocks of scores.

Convention: whether a candidate is relevant follows from the classes of the two alone; answers are per query.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from emoclim.config import Measure
from emoclim.metrics.counting import WIDEST, WIDEST_OF_PEAKS, Counter, Counts, Layout, lay_out
from emoclim.metrics.retrieval import rank
from emoclim.metrics.ties import TieBlock, random_average_precision


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of queries and candidates."""

    queries: Tensor  # (Q,) int64: classes
    candidates: Tensor  # (M,) int64: classes
    relevance: Tensor  # (C, C) bool: whether candidates of class [.., c] are relevant to queries of class [q, ..]
    ks: Sequence[int] = (1, 5, 10)  # of each precision at k, at least 1
    measures: Sequence[Measure] = ("MRR",)  # what is asked besides
    hits: Sequence[int] = ()  # of each hit at k: whether a relevant candidate is among the first k

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all that is asked: ``("P@1", "P@5", "P@10", "MRR")``."""
        return (*(f"P@{k}" for k in self.ks), *(f"hit@{k}" for k in self.hits), *self.measures)

    @property
    def depth(self) -> int:
        """The greatest k."""
        return max((*self.ks, *self.hits), default=1)

    @property
    def sorts(self) -> bool:
        """Whether a measure needs the rank of every relevant candidate, which only a sort gives."""
        return not {"mAP", "R-precision"}.isdisjoint(self.measures)

    def to(self, device: torch.device) -> Self:
        """Bring the tensors to a device."""
        classes = self.queries.to(device), self.candidates.to(device)
        return type(self)(*classes, self.relevance.to(device), self.ks, self.measures, self.hits)

    def lay_out(self, columns: Tensor, *, peaks: bool = False) -> Layout:
        """Give each of some candidates its place in a row of scores, or where only the best of each chunk is held."""
        how = (max(1, self.depth // 10), WIDEST_OF_PEAKS) if peaks else (self.depth, WIDEST)
        return lay_out(self.candidates[columns], len(self.relevance), *how)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, per query."""

    values: dict[str, Tensor]  # (Q,) float64 by metric
    first: Tensor  # (C, C) float64: how many queries of class [q, ..] find class [.., c] first; zeros without P@1
    n_relevant: Tensor  # (Q,) int64: relevant candidates
    n_candidates: Tensor  # (Q,) int64: all that it ranks
    silent: Tensor  # (Q,) bool: whether it asks for nothing, and so finds nothing: all its values are 0

    @classmethod
    def blank(cls, question: Question) -> Self:
        """Make an answer of zeros, for :meth:`count_candidates` and :meth:`take` to fill in."""
        zeros = question.relevance.new_zeros(len(question.queries), dtype=torch.int64)
        first = question.relevance.new_zeros(question.relevance.shape, dtype=torch.float64)
        return cls({name: zeros.double() for name in question.metrics}, first, zeros, zeros.clone(), zeros.bool())

    def count_candidates(
        self, question: Question, rows: Tensor, columns: Tensor, exclude_groups: Tensor | None
    ) -> None:
        """Count what the queries `rows` rank: the candidates `columns` that are not of their own group ``(M,)``."""
        wanted = question.relevance[question.queries[rows]]  # (R, C)
        counts = question.candidates[columns].bincount(minlength=len(question.relevance)).expand_as(wanted)
        if exclude_groups is not None:
            cells = exclude_groups[columns] * len(question.relevance) + question.candidates[columns]
            size = (int(exclude_groups.max()) + 1) * len(question.relevance)
            counts = counts - cells.bincount(minlength=size).view(-1, len(question.relevance))[exclude_groups[rows]]
        self.n_candidates[rows] = counts.sum(dim=1)
        self.n_relevant[rows] = (wanted * counts).sum(dim=1)

    def take(self, question: Question, rows: Tensor, scores: Tensor, layout: Layout) -> None:
        """Fill in the queries `rows` from their scores ``(len(rows), P)``; all have as many candidates, not none."""
        self.count(question, rows, Counter(scores, layout))
        if question.sorts:
            wanted = question.relevance[question.queries[rows]]
            hits = wanted[:, layout.chunk_classes].repeat_interleave(layout.width, dim=1) & (scores > -torch.inf)
            ranking = rank(scores, hits)
            found = {"mAP": ranking.average_precision, "R-precision": ranking.r_precision}
            for name in found.keys() & set(question.measures):
                self.values[name][rows] = found[name]()

    def count(self, question: Question, rows: Tensor, counter: Counts) -> None:
        """Fill in what needs no sort of the queries `rows`, all of which have as many candidates, not none."""
        classes, n_candidates = question.queries[rows], int(self.n_candidates[rows[0]])
        wanted = question.relevance[classes]  # (B, C)
        depths = dict.fromkeys((*question.ks, *question.hits))
        best, relevant = counter.levels(min(question.depth, n_candidates), wanted)
        levels = [best[:, min(k, n_candidates) - 1] for k in depths] + [relevant] * ("MRR" in question.measures)
        counts = counter.counts(levels)
        found = [TieBlock.count(above, tied, wanted) for above, tied in counts]
        for k, block, (_, tied) in zip(depths, found, counts, strict=False):
            for name in (f"P@{k}", f"hit@{k}"):
                if name in self.values:
                    self.values[name][rows] = _of_level(name, block)
            if k == 1 and k in question.ks:
                self.first.index_add_(0, classes, tied / tied.sum(dim=1, keepdim=True).double())
        if "MRR" in question.measures:
            self.values["MRR"][rows] = found[-1].reciprocal_rank()

    def expected(self) -> dict[str, Tensor]:
        """Compute the values of a random order of the same candidates, exactly: ``(Q,)`` float64 by metric."""
        none = torch.zeros_like(self.n_relevant)
        level = TieBlock(none, self.n_candidates, none, self.n_relevant)
        return {name: _of_level(name, level) for name in self.values}

    def cpu(self) -> Self:
        """Bring the tensors to the CPU."""
        values = {name: found.cpu() for name, found in self.values.items()}
        counts = self.n_relevant.cpu(), self.n_candidates.cpu()
        return type(self)(values, self.first.cpu(), *counts, self.silent.cpu())


def _of_level(name: str, level: TieBlock) -> Tensor:
    """Compute one metric where all candidates are tied."""
    if name == "mAP":
        return random_average_precision(level.hits, level.size)
    if name == "MRR":
        return level.reciprocal_rank()
    if name.startswith("hit@"):
        return level.hit_at(int(name.removeprefix("hit@")))
    return level.precision_at(level.hits if name == "R-precision" else int(name.removeprefix("P@")))
