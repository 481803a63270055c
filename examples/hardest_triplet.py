"""Triplet loss: an item is to lie nearer to all of its class than to any of another, by a margin."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from emoclim import config
from emoclim.learning import Batch, Objective, inner_products


class HardestTriplet(Objective):
    """The hardest positive against the hardest negative of each anchor, across two modalities.

    References
    ----------
    A. Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017, Eq. 5, with cosines.
    """

    class Settings(config.Settings):
        """Of the loss; the margin may differ between the heads of a bank."""

        margin: float = Field(default=0.2, ge=0, description="Least difference of the two cosines")

    preset: ClassVar[Mapping[str, Any]] = {"dropout": 0.1}

    @property
    def terms(self) -> tuple[str, ...]:
        """Of anchor and contrast, both ways."""
        one, other = self.modalities
        return f"{one}>{other}", f"{other}>{one}"

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        """Return one loss ``(K,)`` per term."""
        del generator
        found = []
        for term in self.terms:
            anchor, contrast = term.split(">")
            cosines = inner_products(outputs[anchor], outputs[contrast])  # (K, N, M)
            same = batch.labels[anchor][:, None] == batch.labels[contrast]
            positive = cosines.masked_fill(~same, 2).amin(dim=2)
            negative = cosines.masked_fill(same, -2).amax(dim=2)
            found.append((self.number("margin")[:, None] - positive + negative).relu().mean(dim=1))
        return tuple(found)
