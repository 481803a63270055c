"""Scores of single queries: what means are taken of, and what intervals and tests resample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class QueryScores:
    """The queries of one direction.

    Attributes
    ----------
    ids
        Q names of items, each once.
    classes
        Name of the class of each query.
    n_relevant
        ``(Q,)`` int64: candidates relevant to it.
    n_candidates
        ``(Q,)`` int64: items that it ranks.
    metrics
        ``(Q,)`` float64 by metric.

    Raises
    ------
    ValueError
        The lengths differ, or an id occurs twice.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    n_relevant: Tensor
    n_candidates: Tensor
    metrics: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        lengths = {
            len(self.classes),
            *(len(one) for one in (self.n_relevant, self.n_candidates, *self.metrics.values())),
        }
        if lengths != {len(self.ids)}:
            raise ValueError(f"{len(self.ids)} queries have columns of {sorted(lengths)} rows")
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("a query is there twice")

    def in_order(self, ids: Sequence[str]) -> "QueryScores":
        """The same queries in the order of `ids`, all of which must be there."""
        rows = {id_: row for row, id_ in enumerate(self.ids)}
        order = torch.tensor([rows[id_] for id_ in ids], dtype=torch.int64)
        return QueryScores(
            tuple(ids),
            tuple(self.classes[row] for row in order.tolist()),
            self.n_relevant[order],
            self.n_candidates[order],
            {name: values[order] for name, values in self.metrics.items()},
        )

    def class_numbers(self) -> Tensor:
        """``(Q,)`` int64: place of the class of each query among those that occur, by name."""
        numbers = {name: number for number, name in enumerate(sorted(set(self.classes)))}
        return torch.tensor([numbers[name] for name in self.classes], dtype=torch.int64)

    def table(self, metrics: Sequence[str]) -> Tensor:
        """``(Q, T)`` float64: the named metrics side by side."""
        return torch.stack([self.metrics[name].double() for name in metrics], dim=1)
