"""Two modalities and the vectors of their classes in one space: three terms."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from emoclim.data import Split
from emoclim.learning import LABELS, Batch, Branch, Objective, SupConSettings, supcon


class ThreeBranches(Objective):
    """Items attract the vector of their class, and each other."""

    Settings = SupConSettings
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "label_vectors"})

    @property
    def terms(self) -> tuple[str, ...]:
        one, other = self.modalities
        return f"{one}>words", f"{other}>words", f"{one}>{other}"

    def branches(self, split: Split) -> Mapping[str, Branch]:
        return {**super().branches(split), "words": Branch(LABELS)}

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        labels, found = {**batch.labels, "words": batch.labels[LABELS]}, []
        for term in self.terms:
            a, b = term.split(">")
            positive = labels[a][:, None] == labels[b]
            found.append(supcon(outputs[a], outputs[b], positive, self.number("temperature"), skip_self=False))
        return tuple(found)
