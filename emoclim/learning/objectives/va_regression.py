"""Valence and arousal, predicted from each modality by itself."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from emoclim import config
from emoclim.data import Split
from emoclim.errors import ConfigError
from emoclim.learning.objectives.base import VALENCE_AROUSAL, Metric
from emoclim.learning.objectives.regressing import ScaledRegression
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality

LABELS = "labels"  # whose scale that of their vectors is, among those of modalities


class VaRegression(ScaledRegression):
    """Each modality is brought to valence and arousal: of its items where they have them, else of their labels.

    References
    ----------
    M. Won et al., "Emotion Embedding Spaces for Matching Music to Stories", ISMIR 2021, section 3.2.3. Heads begin with
    their hidden width, batch size, epochs, learning rate and weight decay; their output is the sigmoid.

    Inputs
    ------
    ==============  ==============  ============================================================
    outputs         ``(K, N, 2)``   of each modality, not of unit length
    numbers         ``(N, 2)``      valence and arousal of items, in any scale, one a modality
    labels          ``(N,)``        int64 classes of the modalities without numbers
    label_vectors   ``(C, 2)``      valence and arousal of classes, for those
    ==============  ==============  ============================================================

    Relations
    ---------
    ``w2v_regression`` does the same with the vectors of words, ``regression`` with any columns of numbers.

    Notes
    -----
    Heads learn targets of mean 0 and spread 1 in the training split (behind a sigmoid, from 0 to 1), and predictions
    come back in the scale of the manifest. Items are compared by the distances of what is learnt, so that two manifests
    may differ in their scale; where all targets are those of labels, by distances in their own space, as in the paper.

    Examples
    --------
    >>> objective = VaRegression(("audio",), [VaRegression.Settings()])
    >>> split = Split({}, {}, (), numbers={"audio": torch.tensor([[1.0, 4.0], [5.0, 8.0]])})
    >>> objective.prepare(split, torch.device("cpu"))
    >>> objective.predictions("audio", {"audio": torch.tensor([[[0.0, 1.0]]])})
    tensor([[[3., 8.]]])
    """

    class Settings(config.Settings):
        """Of the heads."""

        output: Literal["linear", "sigmoid"] = Field(
            default="linear",
            description="What ends a head: linear, or the paper's sigmoid, which never leaves the range",
        )

    needs: ClassVar[frozenset[str]] = frozenset({"targets", "taxonomy"})
    vectors_of: ClassVar[tuple[str, ...]] = (VALENCE_AROUSAL,)
    squashes: ClassVar[frozenset[str]] = frozenset({"sigmoid"})
    _vectors: Tensor | None = None  # (C, 2), as they are learnt

    @override
    def tables(self, split: Split) -> Mapping[str, Tensor]:
        given, vectors = super().tables(split), split.label_vectors
        if len(given) == len(self.modalities):
            return given
        if vectors is None or vectors.shape[1:] != (2,):
            raise ConfigError("va_regression takes labels with two numbers each, valence and arousal; give --vad")
        return {**given, LABELS: vectors}

    @override
    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().prepare(split, device, dtype)
        if LABELS in self._scales and split.label_vectors is not None:
            self._vectors = self.learnt_of(split.label_vectors.to(device, dtype), LABELS)

    @override
    def scale(self, table: Tensor, name: str) -> tuple[Tensor, Tensor]:
        if self.choice("output") not in self.squashes:
            return table.mean(dim=0), table.std(dim=0, correction=0)
        if name == LABELS:
            return table.new_zeros(2), table.new_ones(2)
        return table.amin(dim=0), table.amax(dim=0) - table.amin(dim=0)

    @override
    def scale_of(self, modality: str, like: Tensor) -> tuple[Tensor, Tensor]:
        known = modality if modality in self._scales else LABELS
        return super().scale_of(known, like) if known in self._scales else (like.new_zeros(2), like.new_ones(2))

    @override
    def targets(self, modality: str, batch: Batch) -> Tensor:
        if modality in batch.numbers:
            return super().targets(modality, batch)
        assert self._vectors is not None
        return self._vectors[batch.labels[modality]]

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        ended, metric = super().vectors(modality, outputs)
        return self._in_space_of_labels(ended) if self._scales.keys() == {LABELS} else ended, metric

    @override
    def label_vectors(self, table: Tensor, outputs: Mapping[str, Tensor]) -> Tensor | None:
        learnt = self.learnt_of(table, LABELS)[None]
        return self._in_space_of_labels(learnt) if self._scales.keys() == {LABELS} else None

    def _in_space_of_labels(self, learnt: Tensor) -> Tensor:
        return learnt * self.scale_of(LABELS, learnt)[1]
