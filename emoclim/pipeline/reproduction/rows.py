"""Hold what is to be done for a row of a table, and average what its seeds give. Used by plan, runner and result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from emoclim.data import Manifest
from emoclim.metrics import LEVEL
from emoclim.modality import Modality
from emoclim.pipeline.reproduction.departures import Departure, mark_of
from emoclim.pipeline.reproduction.request import EncoderChoice
from emoclim.pipeline.training.config import LabelledConfig
from emoclim.recipes import Row
from emoclim.reports import Estimate, Results
from emoclim.reports import Row as Cells

State = Literal["to do", "unfinished", "done", "not possible"]


@dataclass(frozen=True, slots=True)
class Training:
    """A run of a row: of all seeds at once, or of one."""

    config: LabelledConfig
    run: str  # its name
    state: State
    starts: "tuple[Training, ...]" = ()  # what must be there before it: the run with whose encoder it starts


@dataclass(frozen=True, slots=True)
class RowPlan:
    """What is to be done for one row."""

    row: Row
    encoders: Mapping[Modality, EncoderChoice]
    manifests: Mapping[str, Manifest]  # by modality, and that of tags
    seeds: Sequence[int]
    trainings: Sequence[Training]  # none where that is not possible
    missing: Mapping[str, str]  # what is not there, and how to get it; nothing if the row is possible
    departures: Sequence[Departure]
    source: str  # what they depart from: the paper, or its code
    min_seconds: float  # shorter recordings are not ranked

    @property
    def mark(self) -> str:
        """A few words for a table."""
        return (
            f"not made: lacks {' and '.join(self.missing)}" if self.missing else mark_of(self.departures, self.source)
        )

    @property
    def state(self) -> State:
        """How far its trainings are."""
        states = {one.state for one in self.trainings}
        return states.pop() if len(states) == 1 else "unfinished" if states else "not possible"

    @property
    def runs(self) -> list[str]:
        """Names of its runs."""
        return [one.run for one in self.trainings]

    def heads(self) -> list[tuple[Training, int | None]]:
        """Return what is measured, by seed: a run and the number of its heads, or None for the only ones."""
        if len(self.trainings) == len(self.seeds):
            return [(one, None) for one in self.trainings]
        return [(one, number) for one in self.trainings for number in range(len(self.seeds))]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "row": self.row.name,
            "title": self.row.title,
            "encoders": {modality: choice.name for modality, choice in self.encoders.items()},
            "runs": self.runs,
            "seeds": list(self.seeds),
            "mark": self.mark,
            "departures": [{"kind": one.kind, "told": one.description} for one in self.departures],
            "missing": list(self.missing),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True)
class RowTest:
    """What one number says of a row and of the one that it is held against, query by query."""

    row: str
    against: str
    metric: str  # as the table heads it
    difference: Estimate  # of the means over seeds, with the 95 % interval over queries
    p: float  # of the paired randomisation test
    p_holm: float  # corrected for all tests of the table


def tests_table(tests: Sequence[RowTest]) -> list[Cells]:
    """Make rows of text, names of the columns first."""
    names = ("row", "against", "metric", "difference", "95 % interval", "p", f"p, Holm ({len(tests)})")
    rows: list[Cells] = [names]
    for one in tests:
        found = one.difference.signed, one.difference.ends, f"{one.p:.4f}", f"{one.p_holm:.4f}"
        rows.append((one.row, one.against, one.metric, *found))
    return rows


def pooled_results(directions: Mapping[str, Any]) -> dict[str, Estimate]:
    """Read what all folds together came to from a report; hits at k are called Top-k, and hits those at the first."""
    found: dict[str, Estimate] = {}
    for name, one in directions.items():
        ends = (one["intervals"] or {"macro": {}})["macro"]
        for metric, share in one["metrics"].items():
            key = f"{name} {metric.replace('hit@', 'Top-')}"
            sure = {end: ends.get(metric, {}).get(end) for end in ("low", "high")}
            found |= {key: Estimate(share, **sure), f"{key} by chance": Estimate(one["random"][metric])}
        found[f"{name} hits"] = Estimate(round(one["n_queries"] * one["metrics"]["hit@1"]))
    return found


def over_seeds(found: Sequence[Results]) -> Results:
    """Average what each seed gave, with the interval of the mean over seeds; of a single one keep its own."""
    first, *others = found
    if not others:
        return first
    return {
        title: {key: _mean([one[title][key].value for one in found]) for key in numbers}
        for title, numbers in first.items()
    }


def _mean(values: Sequence[float]) -> Estimate:
    """Average; counts, and whatever is the same by every seed, have no interval."""
    if len(set(values)) == 1:
        return Estimate(values[0])
    from scipy import stats  # takes half a second, which only several seeds should wait for

    mean = fmean(values)
    low, high = stats.t.interval(LEVEL, len(values) - 1, mean, stats.sem(values))
    return Estimate(mean, max(0.0, float(low)), min(1.0, float(high)))
