"""Emo-CLIM's objective: supervised contrastive losses across and within two modalities."""

from torch import Tensor
from typing_extensions import override

from emoclim.learning.losses.contrastive import supcon
from emoclim.learning.objectives.contrastive import ContrastiveObjective


class EmoClim(ContrastiveObjective):
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
    >>> import torch
    >>> from emoclim.learning.sampling import Batch
    >>> objective = EmoClim(("image", "audio"), [EmoClim.Settings()])
    >>> rows = {name: torch.eye(4)[None] for name in objective.modalities}
    >>> labels = {name: torch.tensor([0, 0, 1, 1]) for name in objective.modalities}
    >>> across, *_ = objective.losses(rows, Batch(rows, labels), None)
    >>> across.shape
    torch.Size([1])
    """

    loss = staticmethod(supcon)

    @override
    def attraction(self, anchors: Tensor, contrasts: Tensor) -> Tensor:
        return anchors[:, None] == contrasts
