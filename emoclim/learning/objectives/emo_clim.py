"""Emo-CLIM's objective: supervised contrastive losses across and within two modalities."""

from collections.abc import Mapping

import torch
from torch import Tensor

from emoclim.learning.contrastive import across_and_within, supcon
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import SupConSettings


class EmoClim(Objective):
    """Items of equal class attract each other, in both directions between two modalities and within each.

    References
    ----------
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024; extended version,
    Eq. 6, whose weights lambda_1 to lambda_4 are those of the terms, in this order.

    Inputs
    ------
    ===========  ============  ================================
    outputs      ``(K, N, E)``  unit rows of each modality
    labels       ``(N,)``       int64 classes of each modality
    ===========  ============  ================================

    Relations
    ---------
    ``class_similarity`` lets classes attract each other by degree.

    Examples
    --------
    >>> objective = EmoClim(("image", "audio"), [SupConSettings()])
    >>> rows = {name: torch.eye(4)[None] for name in objective.modalities}
    >>> labels = {name: torch.tensor([0, 0, 1, 1]) for name in objective.modalities}
    >>> across, *_ = objective.losses(rows, Batch(rows, labels), None)
    >>> across.shape
    torch.Size([1])
    """

    Settings = SupConSettings

    @property
    def terms(self) -> tuple[str, ...]:
        """See :attr:`Objective.terms`."""
        return tuple(f"{anchor}>{contrast}" for anchor, contrast in across_and_within(self.modalities))

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        """See :meth:`Objective.losses`."""
        del generator
        return tuple(
            supcon(
                outputs[anchor],
                outputs[contrast],
                batch.labels[anchor][:, None] == batch.labels[contrast],
                self.number("temperature"),
                skip_self=anchor == contrast,
                no_positive=self.choice("no_positive"),
            )
            for anchor, contrast in across_and_within(self.modalities)
        )
