"""Pairs of items without labels: each is to find its own partner among those of the batch (InfoNCE, both ways)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from emoclim.learning import Batch, Objective, SupConSettings, supcon


class Pairs(Objective):
    """What belongs together attracts each other."""

    Settings = SupConSettings
    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})

    @property
    def terms(self) -> tuple[str, ...]:
        one, other = self.modalities
        return f"{one}>{other}", f"{other}>{one}"

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        one, other = self.modalities
        same = batch.pairs[one][:, None] == batch.pairs[other]
        temperature = self.number("temperature")
        return (
            supcon(outputs[one], outputs[other], same, temperature, skip_self=False),
            supcon(outputs[other], outputs[one], same.T, temperature, skip_self=False),
        )
