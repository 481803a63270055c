"""Hold the scores of single queries, and take means of them with bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emoclim.metrics import N_RESAMPLES, BootstrapMeans, bootstrap_group_mean, bootstrap_means
from emoclim.reports.tables import Estimate
from emoclim.seeding import generator_for

SEED = 42


@dataclass(frozen=True, slots=True)
class QueryScores:
    """The Q queries of one direction, each once."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    n_relevant: Tensor  # (Q,) int64: candidates relevant to it
    n_candidates: Tensor  # (Q,) int64: items that it ranks
    metrics: Mapping[str, Tensor]  # (Q,) float64 each

    def __post_init__(self) -> None:
        columns = (self.classes, self.n_relevant, self.n_candidates, *self.metrics.values())
        if {len(column) for column in columns} != {len(self.ids)}:
            raise ValueError(f"{len(self.ids)} queries have columns of {sorted(map(len, columns))} rows")
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("a query is there twice")

    def in_order(self, ids: Sequence[str]) -> "QueryScores":
        """Return the same queries in the order of `ids`, all of which must be there."""
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
        """Number the class of each query among those that occur, by name: ``(Q,)`` int64."""
        names = sorted(set(self.classes))
        return torch.tensor([names.index(name) for name in self.classes], dtype=torch.int64)

    def table(self, metrics: Sequence[str]) -> Tensor:
        """Put the named metrics side by side: ``(Q, T)`` float64."""
        return torch.stack([self.metrics[name].double() for name in metrics], dim=1)


@dataclass(frozen=True, slots=True)
class Intervals:
    """All means of one direction, by metric."""

    macro: Mapping[str, Estimate]
    micro: Mapping[str, Estimate]
    classes: Mapping[str, Mapping[str, Estimate]]  # by class that has a query; empty where these were not asked for


def intervals(
    direction: str,
    scores: QueryScores,
    *,
    groups: Tensor | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Intervals:
    """Average one direction with 95 % intervals; a seed gives those that a comparison of runs gives.

    With `groups` ``(Q,)``, such as pieces, queries of one are drawn together, and classes play no part.
    """
    draw = generator_for(f"bootstrap {direction}", seed)
    metrics = tuple(scores.metrics)
    if groups is not None:
        whole = bootstrap_group_mean(scores.table(metrics), groups, draw, n_resamples=n_resamples)
        means = {name: Estimate.of(whole, column) for column, name in enumerate(metrics)}
        return Intervals(means, means, {})
    found = bootstrap_means(scores.table(metrics), scores.class_numbers(), draw, n_resamples=n_resamples)

    def by_metric(means: BootstrapMeans) -> dict[str, Estimate]:
        return {name: Estimate.of(means, column) for column, name in enumerate(metrics)}

    rows = zip(found.classes.value, found.classes.low, found.classes.high, strict=True)
    names = sorted(set(scores.classes))
    classes = {name: by_metric(BootstrapMeans(*row)) for name, row in zip(names, rows, strict=True)}
    return Intervals(by_metric(found.macro), by_metric(found.micro), classes)
