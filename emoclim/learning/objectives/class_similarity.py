"""Emo-CLIM's terms, where similar classes attract each other a little: by their valence and arousal."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from emoclim.data import Split
from emoclim.learning.losses.contrastive import similarity_supcon
from emoclim.learning.objectives.contrastive import ContrastiveObjective
from emoclim.learning.settings import SupConSettings


class ClassSimilarity(ContrastiveObjective):
    """Items attract each other by ``exp(-d^2 / (2 width^2))``, where d is the distance of the vectors of their classes.

    References
    ----------
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, names the
    relation of classes in the loss as future work; this form of it is our own.

    Inputs
    ------
    ==============  ==============  ================================
    outputs         ``(K, N, E)``   unit rows of each modality
    labels          ``(N,)``        int64 classes of each modality
    label_vectors   ``(C, V)``      of the split: valence and arousal
    ==============  ==============  ================================

    Relations
    ---------
    ``emo_clim`` is the limit of a small width.

    Examples
    --------
    >>> objective = ClassSimilarity(("image", "audio"), [ClassSimilarity.Settings(width=0.5)])
    >>> objective.prepare(Split({}, {}, ("calm", "glad"), torch.tensor([[0.5, 0.2], [0.9, 0.6]])), torch.device("cpu"))
    >>> objective.similarity[0, 0]
    tensor([1.0000, 0.5273])
    """

    class Settings(SupConSettings):
        """Of the losses."""

        width: float = Field(
            default=0.05, gt=0, description="Distance of two classes, from 0 to 1, at which they attract by 0.6 only"
        )

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "label_vectors"})
    loss = staticmethod(similarity_supcon)
    similarity: Tensor  # (K, C, C)

    @override
    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().prepare(split, device, dtype)
        assert split.label_vectors is not None
        vectors = split.label_vectors.cpu().double()
        widths = torch.tensor([dict(one)["width"] for one in self.settings], dtype=torch.float64)
        # divided before squaring, lest a small width vanish
        steps = (vectors[:, None] - vectors) / widths[:, None, None, None]
        self.similarity = steps.square().sum(dim=3).div(-2).exp().to(dtype).to(device)

    @override
    def attraction(self, anchors: Tensor, contrasts: Tensor) -> Tensor:
        return self.similarity[:, anchors[:, None], contrasts]
