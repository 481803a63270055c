"""Hold what a retrieval evaluation found, and show it as plain values for JSON and as rows of text for tables.

A direction is an ordered pair of modalities, (query, candidate), called ``image_audio``; all directions between the
modalities present come first, then each modality with itself. Values are shares from 0 to 1; tables show percent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from pydantic_core import to_jsonable_python
from torch import Tensor

from emoclim.metrics import Mean
from emoclim.modality import MODALITIES, Modality
from emoclim.reports.queries import Intervals, QueryScores, intervals
from emoclim.reports.tables import Row, percent, shorten

Direction = tuple[Modality, Modality]


def directions(modalities: Iterable[Modality]) -> tuple[Direction, ...]:
    """Return every ordered pair of the given modalities, in the order of all reports."""
    present = set(modalities)
    ordered = [modality for modality in MODALITIES if modality in present]
    across = [pair for first, second in combinations(ordered, 2) for pair in ((first, second), (second, first))]
    return (*across, *((modality, modality) for modality in ordered))


@dataclass(frozen=True, slots=True)
class ClassReport:
    """The queries of one class in one direction."""

    n_queries: int
    n_relevant: float  # candidates relevant to one of them, on average; an item is no candidate of its own
    metrics: Mapping[str, float]  # mean over these queries; empty without a query
    random: Mapping[str, float]  # the same for a random order of the same candidates, exactly


@dataclass(frozen=True, slots=True)
class DirectionReport:
    """Queries of one modality, candidates of another or the same; what it holds by query is not in its plain form."""

    query: Modality
    candidate: Modality
    n_queries: int
    n_candidates: int  # items that each of them ranks, at the most
    n_without_relevant: int  # queries that no candidate is relevant to; they score 0 and are in the means
    n_finding_nothing: int  # queries for which the heads retrieve nothing; they score 0 and are in the means, too
    metrics: Mapping[str, float]  # macro mean over the classes that have a query
    random: Mapping[str, float]  # the same for a random order of the same candidates, exactly
    per_class: Mapping[str, ClassReport]  # in the order of the report's classes
    micro: Mapping[str, float]  # mean over the queries
    random_micro: Mapping[str, float]
    # By class of the query, then of the candidate: share of the queries that find it first, where tied candidates
    # share; empty unless P@1 was asked for.
    confusion: Mapping[str, Mapping[str, float]]
    scores: QueryScores = field(repr=False, compare=False)  # of the single queries, in the items' order
    intervals: Intervals | None = None  # the means with their 95 % intervals, where these were asked for

    @property
    def name(self) -> str:
        """``"image_audio"``."""
        return f"{self.query}_{self.candidate}"

    @property
    def title(self) -> str:
        """``"image → music"``."""
        return f"{MODALITIES[self.query].name} → {MODALITIES[self.candidate].name}"


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """One pair of heads on one split, in every direction."""

    classes: tuple[str, ...]
    average: str  # what stands for an item of several segments: mean of "embeddings", or embedding of mean "features"
    directions: Mapping[str, DirectionReport]  # by name, in the order of directions()
    provenance: Mapping[str, Any] = field(default_factory=dict)  # what the numbers depend on, as plain values

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics: ``("P@1", "P@5", "MRR", "mAP")``."""
        return tuple(next(iter(self.directions.values())).metrics) if self.directions else ()

    @property
    def encoders(self) -> Mapping[Modality, str]:
        """Name of the features of each modality, as far as the provenance tells."""
        return {modality: spec["name"] for modality, spec in self.provenance.get("features", {}).items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; the same report gives the same text."""
        plain = {name: to_jsonable_python(one, exclude={"scores"}) for name, one in self.directions.items()}
        return {**to_jsonable_python(self, exclude={"directions"}), "directions": plain}

    def of_partners(self) -> "RetrievalReport":
        """Take all queries as one class, where each has one of its own: the class of its partner."""
        found = {
            name: replace(
                one,
                metrics=one.micro,
                random=one.random_micro,
                per_class={},
                confusion={},
                scores=replace(one.scores, classes=("",) * len(one.scores.ids)),
            )
            for name, one in self.directions.items()
        }
        return replace(self, classes=(), directions=found)

    def with_intervals(self, groups: Mapping[Modality, Tensor] | None = None) -> "RetrievalReport":
        """Add the 95 % intervals of all means; with `groups` ``(N,)`` of items, queries of one are drawn together."""
        ends = {
            name: intervals(name, one.scores, groups=None if groups is None else groups[one.query])
            for name, one in self.directions.items()
        }
        found = {name: replace(one, intervals=ends[name]) for name, one in self.directions.items()}
        return replace(self, directions=found)

    def table_rows(self, mean: Mean = "macro") -> list[Row]:
        """Return column names, then by direction its means, their intervals if known, and those of a random order."""
        rows: list[Row] = [("direction", *self.metrics, "queries", "candidates")]
        for direction in self.directions.values():
            counts = str(direction.n_queries), str(direction.n_candidates)
            macro, micro = (direction.metrics, direction.random), (direction.micro, direction.random_micro)
            values, random = macro if mean == "macro" else micro
            rows.append((direction.title, *map(percent, values.values()), *counts))
            if found := direction.intervals:
                ends = found.macro if mean == "macro" else found.micro
                rows.append(("95 % interval", *(ends[metric].ends for metric in self.metrics), "", ""))
            rows.append(("random order", *map(percent, random.values()), "", ""))
        return rows

    def per_class_rows(self, metric: str, labels: Mapping[Modality, Mapping[str, str]] | None = None) -> list[Row]:
        """Return column names, then by class `metric` in each direction and the items of each modality; means last.

        `labels` says what the taxonomy of each modality calls a class, in place of its name. The layout is that of
        S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, table 5.
        """
        shown = list(self.directions.values())
        within = [direction for direction in shown if direction.query == direction.candidate]
        called = {f"{MODALITIES[modality].name} emotion": names for modality, names in (labels or {}).items()}
        called = called or {"emotion": dict(zip(self.classes, self.classes, strict=True))}
        sizes = (f"{MODALITIES[direction.query].name} items" for direction in within)
        rows: list[Row] = [(*called, *(direction.title for direction in shown), *sizes)]
        for name in self.classes:
            values = (percent(direction.per_class[name].metrics.get(metric)) for direction in shown)
            counts = (str(direction.per_class[name].n_queries) for direction in within)
            rows.append((*(shorten(names.get(name, "–")) for names in called.values()), *values, *counts))
        means = (percent(direction.metrics[metric]) for direction in shown)
        totals = (str(sum(one.n_queries for one in direction.per_class.values())) for direction in within)
        rows.append(("macro mean", *[""] * (len(called) - 1), *means, *totals))
        return rows
