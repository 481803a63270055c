"""Intervals of the means of one direction, as plain values by metric."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emoclim.metrics.uncertainty import N_RESAMPLES, Estimate, bootstrap_means
from emoclim.reports.queries import QueryScores
from emoclim.seeding import generator_for

SEED = 42


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean between the ends of its interval; None where no spread was seen."""

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, estimate: Estimate, column: int) -> "Interval":
        """One column of an estimate ``(T,)``."""
        value, *ends = (float(numbers[column]) for numbers in (estimate.value, estimate.low, estimate.high))
        low, high = (None if math.isnan(end) else end for end in ends)
        return cls(value, low, high)

    @property
    def ends(self) -> str:
        """``"31.2–35.8"``, in percent; nothing where there is no interval."""
        return "" if self.low is None or self.high is None else f"{self.low * 100:.1f}–{self.high * 100:.1f}"


@dataclass(frozen=True, slots=True)
class Intervals:
    """All means of one direction.

    Attributes
    ----------
    macro, micro
        By metric.
    classes
        By name of a class that has a query, then by metric.
    """

    macro: Mapping[str, Interval]
    micro: Mapping[str, Interval]
    classes: Mapping[str, Mapping[str, Interval]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def intervals(direction: str, scores: QueryScores, *, n_resamples: int = N_RESAMPLES, seed: int = SEED) -> Intervals:
    """Means of the scores of one direction with their 95 % intervals.

    Parameters
    ----------
    direction
        Its name: each draws for itself.
    scores
        Of its queries.
    n_resamples
        Of the bootstrap; see :func:`emoclim.metrics.uncertainty.bootstrap_means`.
    seed
        Of it; the same seed gives the intervals that a comparison of runs gives.
    """
    draw = generator_for(f"bootstrap {direction}", seed)
    metrics = tuple(scores.metrics)
    found = bootstrap_means(scores.table(metrics), scores.class_numbers(), draw, n_resamples=n_resamples)

    def by_metric(estimate: Estimate) -> dict[str, Interval]:
        return {name: Interval.of(estimate, column) for column, name in enumerate(metrics)}

    rows = zip(found.classes.value, found.classes.low, found.classes.high, strict=True)
    classes = {name: by_metric(Estimate(*row)) for name, row in zip(sorted(set(scores.classes)), rows, strict=True)}
    return Intervals(by_metric(found.macro), by_metric(found.micro), classes)
