"""Measure how well numbers of items, such as valence and arousal, are predicted, and show it.

Used by `emoclim evaluate`, for runs that predict them and splits whose items have them. Items of one group are drawn
together for the intervals.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from pydantic_core import to_jsonable_python

from emoclim.config import EvaluateConfig
from emoclim.data import ContentKeys, LabelMap, Split, number_groups
from emoclim.learning import Heads
from emoclim.metrics import bootstrap_regression
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.library import Library
from emoclim.pipeline.splits import numbered_items, numbers_in, read_splits
from emoclim.reports import SEED, Estimate, Row
from emoclim.seeding import generator_for

NUMBERS_FILE = "numbers.parquet"
UNDEFINED = {"R2": "all of its values are alike", "r": "all values or all predictions are alike"}


@dataclass(frozen=True, slots=True)
class Predicted:
    """How well one number of the items of a modality is predicted."""

    modality: Modality
    name: str  # of its column, such as valence
    n_items: int
    metrics: Mapping[str, Estimate | None]  # R2, r, CCC; None where it is not defined


@dataclass(frozen=True, slots=True)
class NumbersReport:
    """How well numbers of items are predicted."""

    predicted: tuple[Predicted, ...]
    columns: Mapping[str, Sequence[Any]]  # of the single items: id, modality, what is given and what is predicted

    @classmethod
    def of(
        cls,
        config: EvaluateConfig,
        libraries: Mapping[Modality, Library],
        heads: Heads,
        label_map: LabelMap,
        keys: ContentKeys,
    ) -> Self:
        """Predict the numbers of the items of a split that have them, where the heads do."""
        if not heads.objective.needs.intersection(("targets", "numbers")):
            return cls((), {})
        names = heads.objective.columns
        split = _split(config, libraries, label_map, keys, names)
        found: list[Predicted] = []
        columns = {name: list[Any]() for name in ("id", "modality", *names, *(f"predicted_{name}" for name in names))}
        for modality, features in split.features.items():
            outputs = heads.outputs(features, average=config.average)
            predictions = heads.objective.predictions(modality, outputs)
            if predictions is not None and split.numbers is not None:
                items = {item.id: item for item in libraries[modality].manifest.items}
                groups = torch.tensor(number_groups(items[id_] for id_ in features.ids))
                given = split.numbers[modality]
                found += _measure(modality, names, predictions[0], given, groups)
                values = torch.cat([given.double(), predictions[0].cpu().double()], dim=1).T.tolist()
                for column, own in zip(columns.values(), (features.ids, [modality] * len(given), *values), strict=True):
                    column += own
        return cls(tuple(found), columns)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain values, for JSON."""
        plain: list[dict[str, Any]] = to_jsonable_python(self.predicted)
        return plain

    def table_rows(self) -> list[Row]:
        """Return column names, then by number its metrics and their intervals."""
        rows: list[Row] = [("predicted", "R²", "Pearson's r", "CCC", "items")]
        for one in self.predicted:
            title = f"{one.name} of {MODALITIES[one.modality].nouns}"
            rows.append((title, *(_value(value) for value in one.metrics.values()), str(one.n_items)))
            rows.append(("95 % interval", *(_ends(value) for value in one.metrics.values()), ""))
        return rows

    def notes(self) -> list[str]:
        """Say which metrics are not defined, and why."""
        return [
            f"{name} of {one.name} of {MODALITIES[one.modality].nouns} is not defined: {UNDEFINED[name]}"
            for one in self.predicted
            for name, value in one.metrics.items()
            if value is None and name in UNDEFINED
        ]


def _split(
    config: EvaluateConfig,
    libraries: Mapping[Modality, Library],
    label_map: LabelMap,
    keys: ContentKeys,
    names: Sequence[str],
) -> Split:
    of = numbers_in(names)
    measured = {name: one for name, one in libraries.items() if numbered_items(one.manifest, config.split, of)}
    numbered = dict.fromkeys(measured, of)
    split = read_splits(measured, label_map, (config.split,), keys, numbered=numbered)[config.split]
    return split.lasting(config.min_seconds) if config.min_seconds else split


def _measure(
    modality: Modality, names: Sequence[str], predictions: torch.Tensor, given: torch.Tensor, groups: torch.Tensor
) -> list[Predicted]:
    drawn = generator_for(f"numbers of {modality}", SEED)
    found = bootstrap_regression(predictions, given, drawn, groups=groups)
    estimates = {name: [Estimate.of(means, column) for column in range(len(names))] for name, means in found.items()}
    known = {name: [None if math.isnan(one.value) else one for one in both] for name, both in estimates.items()}
    return [
        Predicted(modality, name, len(given), {metric: both[column] for metric, both in known.items()})
        for column, name in enumerate(names)
    ]


def _value(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{estimate.value:.3f}"


def _ends(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
