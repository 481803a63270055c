"""Train each modality by itself towards given vectors, in one term each: the base of the objectives of regression.

Used by objectives. Invariant: the modalities meet only in the space of their targets, so that one of them is enough.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from emoclim.data import Split
from emoclim.learning.branches import Branch
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch


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
        return outputs.sigmoid() if self.choice("output") in self.squashes else outputs


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference ``(K,)`` of outputs ``(K, N, E)`` and targets ``(N, E)``."""
    return (outputs - targets).square().mean(dim=2).mean(dim=1)
