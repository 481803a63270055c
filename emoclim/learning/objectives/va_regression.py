"""Valence and arousal, predicted from each modality by itself."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from emoclim import config
from emoclim.data import NUMBERS, FeatureSpec, Split
from emoclim.errors import ConfigError
from emoclim.learning.objectives.base import VALENCE_AROUSAL, Metric
from emoclim.learning.objectives.regression import RegressionObjective
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality

LABELS = "labels"  # whose scale that of their vectors is, among those of modalities
UNSCALED = torch.tensor([[0.0, 0.0], [1.0, 1.0]])


class VaRegression(RegressionObjective):
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
    ``w2v_regression`` does the same with the vectors of words.

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
    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().prepare(split, device, dtype)
        numbers, vectors = split.numbers or {}, split.label_vectors
        given: dict[str, Tensor] = {name: numbers[name] for name in self.modalities if name in numbers}
        if len(given) < len(self.modalities):
            if vectors is None or vectors.shape[1:] != (2,):
                raise ConfigError("va_regression takes labels with two numbers each, valence and arousal; give --vad")
            given[LABELS] = vectors
        self.recall({name: self._scale_of(table.double(), name == LABELS) for name, table in given.items()})
        if LABELS in given:
            self._vectors = self._learnt(given[LABELS].to(device, dtype), LABELS)

    def _scale_of(self, table: Tensor, of_labels: bool) -> list[list[float]]:
        """Return what is subtracted from numbers and what then divides them: 1 where all are alike."""
        if self.choice("output") in self.squashes:
            low = table.new_zeros(2) if of_labels else table.amin(dim=0)
            high = table.new_ones(2) if of_labels else table.amax(dim=0)
            centre, spread = low, high - low
        else:
            centre, spread = table.mean(dim=0), table.std(dim=0, correction=0)
        return [centre.tolist(), torch.where(spread > 0, spread, 1).tolist()]

    @override
    def recall(self, learnt: Mapping[str, Any]) -> None:
        super().recall(learnt)
        self._scales = {name: torch.tensor(scale).double().view(2, 2) for name, scale in learnt.items()}

    def _scale(self, modality: str, like: Tensor) -> tuple[Tensor, Tensor]:
        centre, spread = self._scales.get(modality, self._scales.get(LABELS, UNSCALED)).to(like)
        return centre, spread

    def _learnt(self, numbers: Tensor, modality: str) -> Tensor:
        centre, spread = self._scale(modality, numbers)
        return (numbers - centre) / spread

    @override
    def width(self, split: Split) -> int:
        return 2

    @override
    def targets(self, modality: str, batch: Batch) -> Tensor:
        if modality in batch.numbers:
            return self._learnt(batch.numbers[modality].to(self._dtype), modality)
        assert self._vectors is not None
        return self._vectors[batch.labels[modality]]

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        ended = self.ended(outputs[modality])
        by_labels_alone = self._scales.keys() == {LABELS}
        return ended * self._scale(LABELS, ended)[1] if by_labels_alone else ended, "l2"

    @override
    def dimension_names(self, specs: Mapping[Modality, FeatureSpec]) -> Sequence[str]:
        return NUMBERS

    @override
    def label_vectors(self, table: Tensor, outputs: Mapping[str, Tensor]) -> Tensor | None:
        learnt = self._learnt(table, LABELS)[None]
        return learnt * self._scale(LABELS, learnt)[1] if self._scales.keys() == {LABELS} else None

    @override
    def predictions(self, modality: Modality, outputs: Mapping[str, Tensor]) -> Tensor | None:
        if modality not in self._scales:
            return None
        ended = self.ended(outputs[modality])
        centre, spread = self._scale(modality, ended)
        return centre + spread * ended
