"""Hold heads of several folds, each of which embeds the items that it was trained without.

Used by cross-validation. Convention: what is compared is of one fold; vectors of different folds do not meet.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from typing_extensions import override

from emoclim.config import Average
from emoclim.data import Features
from emoclim.learning import Heads, Metric, Objective
from emoclim.modality import Modality

FOLD = "fold"  # among the outputs: the number of the fold of each item, (1, N, 1)
Outputs = Mapping[str, Tensor]


class FoldObjective(Objective):
    """What the heads of each fold were trained for, with what they learnt of their own training items."""

    def __init__(self, folds: Sequence[Objective]) -> None:
        super().__init__(folds[0].modalities)
        self.folds, self.taxonomy = folds, folds[0].taxonomy
        object.__setattr__(self, "name", folds[0].name)

    @property
    @override
    def needs(self) -> frozenset[str]:
        return self.folds[0].needs

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return self.folds[0].columns

    @override
    def aligns(self, weights: Sequence[float]) -> bool:
        return self.folds[0].aligns(weights)

    @override
    def vectors(self, modality: Modality, outputs: Outputs) -> tuple[Tensor, Metric]:
        metric = self.folds[0].vectors(modality, outputs)[1]
        return _each(self.folds, outputs, lambda one, own: one.vectors(modality, own)[0]), metric

    @override
    def query_vectors(self, modality: Modality, outputs: Outputs, candidates: Modality) -> tuple[Tensor, Metric]:
        metric = self.folds[0].query_vectors(modality, outputs, candidates)[1]
        return _each(self.folds, outputs, lambda one, own: one.query_vectors(modality, own, candidates)[0]), metric

    @override
    def predictions(self, modality: Modality, outputs: Outputs) -> Tensor | None:
        if self.folds[0].predictions(modality, outputs) is None:
            return None

        def predicted(one: Objective, own: Outputs) -> Tensor:
            found = one.predictions(modality, own)
            assert found is not None
            return found

        return _each(self.folds, outputs, predicted)


def _each(folds: Sequence[Objective], outputs: Outputs, make: Callable[[Objective, Outputs], Tensor]) -> Tensor:
    """Join what the objective of each fold makes of the outputs of its items."""
    numbers = outputs[FOLD][0, :, 0].long()
    rows = [(numbers == number).nonzero()[:, 0] for number in range(len(folds))]
    found = [
        make(one, {name: table[:, own] for name, table in outputs.items() if name != FOLD})
        for one, own in zip(folds, rows, strict=True)
        if len(own)
    ]
    return torch.cat(found, dim=1)[:, torch.cat(rows).argsort()]


@dataclass(frozen=True)
class FoldHeads(Heads):
    """One pair of heads for each fold, for the items of that fold alone."""

    folds: Sequence[Heads] = ()  # of K = 1
    numbers: Mapping[Modality, Mapping[str, int]] = field(default_factory=dict)  # by id: the fold of each item

    @classmethod
    def of(cls, folds: Sequence[Heads], numbers: Mapping[Modality, Mapping[str, int]]) -> "FoldHeads":
        """Join the heads of all folds."""
        objective = FoldObjective([one.objective for one in folds])
        return cls(folds[0].banks, folds[0].specs, objective, folds, numbers)

    @override
    def outputs(self, features: Features, *, average: Average = "embeddings") -> dict[str, Tensor]:
        numbers = self.fold_numbers(features)
        rows = [(numbers == number).nonzero()[:, 0] for number in range(len(self.folds))]
        found = [
            one.outputs(features.select(own), average=average)
            for one, own in zip(self.folds, rows, strict=True)
            if len(own)
        ]
        order = torch.cat(rows).argsort()
        outputs = {name: torch.cat([one[name] for one in found], dim=1) for name in found[0]}
        told = numbers.double()[None, :, None]
        return {name: table[:, order.to(table.device)] for name, table in outputs.items()} | {FOLD: told}

    def fold_numbers(self, features: Features) -> Tensor:
        """Return the fold of each item, ``(N,)`` int64."""
        known = self.numbers[features.spec.modality]
        return torch.tensor([known[id_] for id_ in features.ids], dtype=torch.int64)

    @override
    def select(self, *numbers: int) -> "FoldHeads":
        return self


def by_fold(heads: Heads, features: Features) -> list[tuple[Heads, Tensor]]:
    """Return which heads take which rows: for heads that are not of folds, all."""
    if not isinstance(heads, FoldHeads):
        return [(heads, torch.arange(len(features)))]
    numbers = heads.fold_numbers(features)
    rows = [(numbers == number).nonzero()[:, 0] for number in range(len(heads.folds))]
    return [(one, own) for one, own in zip(heads.folds, rows, strict=True) if len(own)]
