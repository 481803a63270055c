"""Compare the items of two modalities across and within, in four terms: the base of the contrastive objectives.

Used by objectives. Invariant: each says only what attracts what, and by which loss.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import SupConSettings
from emoclim.modality import Modality


class ContrastiveObjective(Objective, ABC):
    """Four losses: across two modalities in both directions, then within each."""

    Settings = SupConSettings
    loss: ClassVar[Callable[..., Tensor]]  # a function of :mod:`emoclim.learning.losses.contrastive`

    @abstractmethod
    def attraction(self, anchors: Tensor, contrasts: Tensor) -> Tensor:
        """Return what attracts what, as `loss` takes it, of rows of these classes: ``(N,)`` and ``(M,)``."""

    @property
    @override
    def terms(self) -> tuple[str, ...]:
        return tuple(f"{anchor}>{contrast}" for anchor, contrast in self._compared())

    @override
    def aligns(self, weights: Sequence[float]) -> bool:
        return any(
            weight > 0 and anchor != contrast
            for weight, (anchor, contrast) in zip(weights, self._compared(), strict=True)
        )

    @override
    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        return tuple(
            self.loss(
                outputs[anchor],
                outputs[contrast],
                self.attraction(batch.labels[anchor], batch.labels[contrast]),
                self.number("temperature"),
                skip_self=anchor == contrast,
                no_positive=self.choice("no_positive"),
            )
            for anchor, contrast in self._compared()
        )

    def _compared(self) -> list[tuple[Modality, Modality]]:
        """List anchor and contrast of each term."""
        one, other = self.modalities
        return [(one, other), (other, one), (one, one), (other, other)]
