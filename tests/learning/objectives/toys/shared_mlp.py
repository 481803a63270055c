"""One MLP per modality with two heads, of which one says the class and one two numbers: multi-task learning."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from emoclim.data import Split
from emoclim.learning import Batch, Branch, Objective
from emoclim.learning.objectives.base import Metric


class SharedMlp(Objective):
    """Items are compared by what both heads say of them."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "numbers"})

    @property
    def terms(self) -> tuple[str, ...]:
        return tuple(f"{one} {task}" for one in self.modalities for task in ("class", "numbers"))

    def branches(self, split: Split) -> Mapping[str, Branch]:
        found: dict[str, Branch] = {}
        for one in self.modalities:
            found[f"{one} class"] = Branch(one, len(split.classes), unit=False)
            found[f"{one} numbers"] = Branch(one, 2, shares=f"{one} class", unit=False)
        return found

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        found = []
        for one in self.modalities:
            logs = outputs[f"{one} class"].log_softmax(dim=2)
            found.append(-logs[:, range(len(batch.labels[one])), batch.labels[one]].mean(dim=1))
            found.append((outputs[f"{one} numbers"] - batch.numbers[one]).square().sum(dim=2).mean(dim=1))
        return tuple(found)

    def vectors(self, modality: str, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        parts = [outputs[f"{modality} {task}"] for task in ("class", "numbers")]
        return torch.cat([parts[0].softmax(dim=2), parts[1]], dim=2), "l2"
