"""Compare systems on the same queries: means with intervals, paired differences, and tests.

A system is one run, or several runs that differ in their seed only, whose scores are averaged query by query. All
systems are compared with the first. Values are shares from 0 to 1; tables show them in percent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import Any

import torch
from pydantic_core import to_jsonable_python
from torch import Tensor

from emoclim.metrics import LEVEL, N_RESAMPLES, Mean, bootstrap_means, holm, mean_weights, sign_flip_test
from emoclim.reports.queries import SEED, QueryScores
from emoclim.reports.tables import Estimate, Row
from emoclim.seeding import generator_for

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class System:
    """One run to compare, or several that differ in their seed only."""

    name: str
    runs: tuple[str, ...]  # names, one for each seed
    directions: Mapping[str, tuple[QueryScores, ...]]  # scores of each run: the same queries in the same order

    def table(self, direction: str, metrics: Sequence[str]) -> Tensor:
        """Stack the scores of its runs, ``(runs, Q, T)`` float64."""
        return torch.stack([scores.table(metrics) for scores in self.directions[direction]])


@dataclass(frozen=True, slots=True)
class ComparisonLine:
    """What one metric says of one system in one direction."""

    direction: str
    metric: str
    system: str
    n_queries: int
    mean: Estimate  # of all its runs
    by_run: tuple[float, ...]  # mean of each
    deviation: float | None  # standard deviation over its runs; None for a single one
    difference: Estimate | None = None  # to the first system, paired by query; None for the first system itself
    p: float | None = None  # of the paired randomisation test of that difference
    p_holm: float | None = None  # corrected for all tests of the report


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What was found of systems on the same queries."""

    systems: Mapping[str, tuple[str, ...]]  # runs of each, by name
    mean: Mean  # which one is compared: macro, over classes, or micro, over queries
    n_resamples: int  # of the bootstrap, and flips of the test
    seed: int  # of both
    lines: tuple[ComparisonLine, ...]  # by direction, then metric, then system
    split: str = ""  # that was ranked
    notes: tuple[str, ...] = ()  # which runs differ in nothing but their seed

    @property
    def title(self) -> str:
        """What the table is about."""
        over = "emotions" if self.mean == "macro" else "queries"
        first, *others = self.systems
        against = f"; differences to {first}" if others else ""
        return f"Split {self.split}, means over {over} in percent{against}"

    @property
    def n_tests(self) -> int:
        """Differences that were tested."""
        return sum(line.p is not None for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"schema": SCHEMA, "level": LEVEL, "n_tests": self.n_tests, **to_jsonable_python(self)}

    def table_rows(self) -> list[Row]:
        """Return column names, then a row per line; a column for the seeds where there are several."""
        seeds = any(len(line.by_run) > 1 for line in self.lines)
        tested = self.n_tests > 0
        names = ["direction", "metric", "run", "mean", "95 % interval"]
        names += ["over seeds"] if seeds else []
        names += ["difference", "95 % interval", "p", f"p, Holm ({self.n_tests})"] if tested else []
        rows: list[Row] = [tuple(names)]
        for line in self.lines:
            gap, spread = line.difference, line.deviation
            cells = [line.direction, line.metric, line.system, f"{line.mean.value * 100:.2f}", line.mean.ends]
            if seeds:
                cells.append("" if spread is None else f"± {spread * 100:.2f} ({len(line.by_run)})")
            if tested:
                cells += ["", ""] if gap is None else [gap.signed, gap.ends]
                cells += ["" if p is None else f"{p:.4f}" if p >= 0.001 else f"{p:.1e}" for p in (line.p, line.p_holm)]
            rows.append(tuple(cells))
        return rows


def compare(
    systems: Sequence[System],
    metrics: Sequence[str],
    *,
    mean: Mean = "macro",
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> ComparisonReport:
    """Compare systems, all of the same queries in the same order, with the first of them.

    The interval of a system does not depend on what it is compared with.
    """
    lines = [
        line
        for direction in systems[0].directions
        for line in _direction(systems, direction, metrics, mean, n_resamples, seed)
    ]
    tested = [place for place, line in enumerate(lines) if line.p is not None]
    corrected = holm(torch.tensor([lines[place].p for place in tested], dtype=torch.float64)).tolist()
    for place, p_value in zip(tested, corrected, strict=True):
        lines[place] = replace(lines[place], p_holm=p_value)
    return ComparisonReport({one.name: one.runs for one in systems}, mean, n_resamples, seed, tuple(lines))


def _direction(
    systems: Sequence[System], direction: str, metrics: Sequence[str], mean: Mean, n_resamples: int, seed: int
) -> Iterator[ComparisonLine]:
    """Yield lines by metric, then system, from one bootstrap of all means and differences at once."""
    classes = systems[0].directions[direction][0].class_numbers()
    weights = mean_weights(classes, mean)
    tables = [system.table(direction, metrics) for system in systems]
    means = torch.stack([table.mean(0) for table in tables], dim=1)  # (Q, systems, T)
    gaps = means[:, 1:] - means[:, :1]
    columns = torch.cat([means, gaps], dim=1).flatten(1)
    draw = generator_for(f"bootstrap {direction}", seed)
    resampled = bootstrap_means(columns, classes, draw, n_resamples=n_resamples)
    estimate = resampled.macro if mean == "macro" else resampled.micro
    flips = generator_for(f"sign flips {direction}", seed)
    p_values = sign_flip_test(gaps.flatten(1), weights, flips, n_flips=n_resamples).tolist()
    for column, metric in enumerate(metrics):
        for place, (system, table) in enumerate(zip(systems, tables, strict=True)):
            found = Estimate.of(estimate, place * len(metrics) + column)
            by_run = tuple((table[:, :, column] @ weights).tolist())
            deviation = stdev(by_run) if len(by_run) > 1 else None
            line = ComparisonLine(direction, metric, system.name, len(classes), found, by_run, deviation)
            if place:
                gap = Estimate.of(estimate, (len(systems) + place - 1) * len(metrics) + column)
                line = replace(line, difference=gap, p=p_values[(place - 1) * len(metrics) + column])
            yield line
