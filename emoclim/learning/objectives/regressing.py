"""Train each modality by itself towards given vectors, in one term each: the base of the objectives of regression.

Used by objectives. Invariant: the modalities meet only in the space of their targets, so that one of them is enough.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from emoclim.data import FeatureSpec, Split
from emoclim.learning.branches import Branch
from emoclim.learning.objectives.base import Metric, Objective
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality


class RegressionObjective(Objective, ABC):
    """One mean squared error for each modality."""

    alone: ClassVar[bool] = True
    preset: ClassVar[Mapping[str, Any]] = {
        "batch_size": 32,
        "learning_rate": 1e-4,
        "weight_decay": 1e-4,
        "epochs": 200,
        "hidden_dim": 64,
    }
    squashes: ClassVar[frozenset[str]] = frozenset()  # values of the setting `output` that put a sigmoid behind

    @abstractmethod
    def width(self, split: Split) -> int:
        """Return how many numbers a target has."""

    @abstractmethod
    def targets(self, modality: str, batch: Batch) -> Tensor:
        """Return what the outputs ``(N, E)`` of a modality are to be."""

    @property
    @override
    def terms(self) -> tuple[str, ...]:
        return self.modalities

    @override
    def aligns(self, weights: Sequence[float]) -> bool:
        return all(weight > 0 for weight in weights)

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        width = self.width(split)
        return {modality: Branch(modality, width, unit=False) for modality in self.modalities}

    @override
    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        return tuple(
            squared_error(self.ended(outputs[modality]), self.targets(modality, batch)) for modality in self.modalities
        )

    def ended(self, outputs: Tensor) -> Tensor:
        """Return outputs behind the sigmoid, if there is one."""
        return outputs.sigmoid() if self.squashes and self.choice("output") in self.squashes else outputs


class ScaledRegression(RegressionObjective):
    """Regression on numbers of items, each column learnt in a scale of the training split's."""

    @abstractmethod
    def scale(self, table: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Return what is subtracted from numbers ``(N, E)`` of a modality, and what then divides them, in float64."""

    @override
    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().prepare(split, device, dtype)
        scales = {name: self.scale(table.double(), name) for name, table in self.tables(split).items()}
        # 1 divides where all are alike
        self.recall({name: [low.tolist(), torch.where(by > 0, by, 1).tolist()] for name, (low, by) in scales.items()})

    def tables(self, split: Split) -> Mapping[str, Tensor]:
        """Return the numbers that give each modality its scale."""
        numbers = split.numbers or {}
        return {name: numbers[name] for name in self.modalities if name in numbers}

    @override
    def recall(self, learnt: Mapping[str, Any]) -> None:
        super().recall(learnt)
        self._scales = {name: torch.tensor(scale).double() for name, scale in learnt.items()}

    def scale_of(self, modality: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale of a modality, on the device and of the type of `like`."""
        centre, spread = self._scales[modality].to(like)
        return centre, spread

    def learnt_of(self, numbers: Tensor, modality: str) -> Tensor:
        """Return numbers as they are learnt."""
        centre, spread = self.scale_of(modality, numbers)
        return (numbers - centre) / spread

    @override
    def width(self, split: Split) -> int:
        return len(self.columns)

    @override
    def dimension_names(self, specs: Mapping[Modality, FeatureSpec]) -> Sequence[str]:
        return self.columns

    @override
    def targets(self, modality: str, batch: Batch) -> Tensor:
        return self.learnt_of(batch.numbers[modality].to(self._dtype), modality)

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        return self.ended(outputs[modality]), "l2"

    @override
    def predictions(self, modality: Modality, outputs: Mapping[str, Tensor]) -> Tensor | None:
        if modality not in self._scales:
            return None
        ended = self.ended(outputs[modality])
        centre, spread = self.scale_of(modality, ended)
        return centre + spread * ended


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference ``(K,)`` of outputs ``(K, N, E)`` and targets ``(N, E)``."""
    return (outputs - targets).square().mean(dim=2).mean(dim=1)
