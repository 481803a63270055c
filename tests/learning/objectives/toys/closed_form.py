"""Ridge regression of the numbers of items: a linear map in closed form, with a penalty per head."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from emoclim import config
from emoclim.data import Split
from emoclim.learning import Bank, Batch, Branch, LinearBank, Objective
from emoclim.learning.objectives.base import Metric


class ClosedForm(Objective):
    """Items are compared by the numbers that are foretold."""

    class Settings(config.Settings):
        ridge: float = Field(default=1.0, gt=0, description="Penalty of large weights")

    needs: ClassVar[frozenset[str]] = frozenset({"numbers"})

    @property
    def terms(self) -> tuple[str, ...]:
        return self.modalities

    def branches(self, split: Split) -> Mapping[str, Branch]:
        return {one: Branch(one, unit=False) for one in self.modalities}

    def fit(self, split: Split) -> Mapping[str, Bank]:
        assert split.numbers is not None
        return {one: self._solved(split.features[one].values, split.numbers[one]) for one in self.modalities}

    def _solved(self, rows: Tensor, numbers: Tensor) -> LinearBank:
        centre, mean = rows.double().mean(dim=0), numbers.double().mean(dim=0)
        rows, numbers = rows.double() - centre, numbers.double() - mean
        gram, moments = rows.T @ rows, rows.T @ numbers
        weights = torch.stack(
            [torch.linalg.solve(gram + one.ridge * torch.eye(len(gram)), moments).T for one in self.settings]
        )
        return LinearBank(weights.float(), (mean - weights @ centre).float())

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        return tuple((outputs[one] - batch.numbers[one]).square().mean(dim=(1, 2)) for one in self.modalities)

    def vectors(self, modality: str, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        return outputs[modality], "l2"
