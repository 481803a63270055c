"""The vectors of label words, predicted from each modality by itself."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from emoclim import config
from emoclim.data import Split
from emoclim.learning.objectives.base import WORDS, Metric
from emoclim.learning.objectives.regressing import RegressionObjective
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality


class W2vRegression(RegressionObjective):
    """Each modality is brought to the vector of its label's word, and items are compared by their cosines.

    References
    ----------
    M. Won et al., "Emotion Embedding Spaces for Matching Music to Stories", ISMIR 2021, section 3.2.3. Heads begin with
    their hidden width, batch size, epochs, learning rate and weight decay.

    Inputs
    ------
    ==============  ==============  ========================================
    outputs         ``(K, N, V)``   of each modality, not of unit length
    labels          ``(N,)``        int64 classes of each modality
    label_vectors   ``(C, V)``      vectors of the words of the classes
    numbers         ``(N, V)``      of items with tags in place of a label, the
                                    mean of the vectors of their tags
    ==============  ==============  ========================================

    Relations
    ---------
    ``va_regression`` does the same with valence and arousal, or with those of the items themselves.

    Notes
    -----
    The published code ends a head with a sigmoid, which reaches no negative component of a vector: ``paper-code``.

    Examples
    --------
    >>> objective = W2vRegression(("text",), [W2vRegression.Settings()])
    >>> vectors, metric = objective.vectors("text", {"text": torch.tensor([[[3.0, -4.0]]])})
    >>> vectors, metric
    (tensor([[[ 0.6000, -0.8000]]]), 'ip')
    """

    class Settings(config.Settings):
        """Of the heads."""

        output: Literal["linear", "paper-code"] = Field(
            default="linear",
            description="What ends a head: linear, or paper-code, a sigmoid that reaches no negative component",
        )

    needs: ClassVar[frozenset[str]] = frozenset({"targets", "taxonomy"})
    vectors_of: ClassVar[tuple[str, ...]] = (WORDS,)
    squashes: ClassVar[frozenset[str]] = frozenset({"paper-code"})
    _words: Tensor | None  # (C, V)

    @override
    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().prepare(split, device, dtype)
        self._words = None if split.label_vectors is None else split.label_vectors.to(device, dtype)

    @override
    def width(self, split: Split) -> int:
        tables = [*(split.numbers or {}).values(), split.label_vectors]
        return next(table.shape[1] for table in tables if table is not None and table.shape[1])

    @override
    def targets(self, modality: str, batch: Batch) -> Tensor:
        if modality in batch.numbers:
            return batch.numbers[modality]
        assert self._words is not None
        return self._words[batch.labels[modality]]

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        return normalize(self.ended(outputs[modality]), dim=-1), "ip"

    @override
    def label_vectors(self, table: Tensor, outputs: Mapping[str, Tensor]) -> Tensor:
        return normalize(table, dim=-1)[None]
