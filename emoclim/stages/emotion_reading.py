"""Read emotions from embeddings by the training items near them, without labels of what is read. Used by search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from emoclim.config import Average
from emoclim.data import Features, Split
from emoclim.learning import Heads, Metric
from emoclim.modality import Modality

TEMPERATURES = torch.logspace(-2, 2, 81)  # tried on validation, in standard deviations of the logits


class EmotionSource(Protocol):
    """Tells how likely each class is for items, by what they are compared by; see :func:`compared`."""

    def names(self, modality: Modality) -> Sequence[str]:
        """Name the classes of a modality."""

    def probabilities(self, rows: Tensor, metric: Metric, modality: Modality) -> Tensor:
        """Return the probability of each of these for N items by their rows ``(N, E)``: ``(N, C)``, sums of 1."""


@dataclass(frozen=True, slots=True)
class EmotionReader:
    """Tell how likely each class is for an item, were all classes equally frequent.

    A softmax over the cosines of its embedding with the centroid of each class, or over negative squared distances
    where the heads compare by these. The centroids are means over the training items of every modality, each modality
    counted alike; where modalities keep labels of their own, an item is read as one of its modality's. One temperature
    a modality is chosen so that the likelihood of the validation labels is highest (C. Guo et al., "On Calibration of
    Modern Neural Networks", ICML 2017).
    """

    classes: tuple[str, ...]
    heads: Heads  # one pair
    average: Average
    centroids: Tensor  # (C, E)
    temperatures: Mapping[Modality, float]
    own: Mapping[Modality, tuple[int, ...]]  # which of the classes are labels of a modality

    @classmethod
    def fit(cls, train: Split, val: Split, heads: Heads, average: Average = "embeddings") -> Self:
        """Place the centroids by one split, and choose the temperatures by another; both have items of every class.

        Modalities without items, for want of labels, are read by the classes of the others, at their mean temperature.
        """
        means: dict[int, list[Tensor]] = {c: [] for c in range(len(train.classes))}
        own = {modality: train.own_classes(modality) or tuple(means) for modality in train.features}
        labelled = {modality: features for modality, features in train.features.items() if len(features)}
        for modality, features in labelled.items():
            (rows, _), labels = compared(features, heads, average), train.labels[modality]
            for c in own[modality]:
                means[c].append(rows[labels == c].mean(dim=0))
        centroids = torch.stack([torch.stack(each).mean(dim=0) for each in means.values()])
        plain = cls(train.classes, heads, average, centroids, dict.fromkeys(train.features, 1.0), own)
        fitted = {}
        for name in labelled:
            places = torch.searchsorted(torch.tensor(own[name]), val.labels[name])
            fitted[name] = _temperature(plain._logits(*compared(val.features[name], heads, average), name), places)
        return replace(plain, temperatures={**dict.fromkeys(own, fmean(fitted.values())), **fitted})

    def read(self, features: Features) -> list[dict[str, float]]:
        """Return the probability of each class, by item; they add up to 1."""
        return read_emotions(self, *compared(features, self.heads, self.average), features.spec.modality)

    def names(self, modality: Modality) -> Sequence[str]:
        """See the protocol."""
        return [self.classes[c] for c in self.own[modality]]

    def probabilities(self, rows: Tensor, metric: Metric, modality: Modality) -> Tensor:
        """See the protocol."""
        return (self._logits(rows, metric, modality) / self.temperatures[modality]).softmax(dim=1)

    def _logits(self, rows: Tensor, metric: Metric, modality: Modality) -> Tensor:
        """Return how near each of N items is to the centroid of each class of its modality, float64."""
        centroids = self.centroids[list(self.own[modality])]
        if metric == "ip":
            return rows @ normalize(centroids, dim=1).T
        return -torch.cdist(rows, centroids).square()


@dataclass(frozen=True, slots=True)
class WordReader:
    """Take the profile of an item for how likely each word is: the squares of what it is compared by."""

    words: Sequence[str]

    def names(self, modality: Modality) -> Sequence[str]:  # noqa: ARG002 - they are the same for all
        """See the protocol."""
        return self.words

    def probabilities(self, rows: Tensor, metric: Metric, modality: Modality) -> Tensor:  # noqa: ARG002
        """See the protocol."""
        return rows.square()


def read_emotions(source: EmotionSource, rows: Tensor, metric: Metric, modality: Modality) -> list[dict[str, float]]:
    """Return the probability of each class for N items by what they are compared by; see :func:`compared`."""
    names = source.names(modality)
    return [dict(zip(names, row, strict=True)) for row in source.probabilities(rows, metric, modality).tolist()]


def compared(features: Features, heads: Heads, average: Average) -> tuple[Tensor, Metric]:
    """Return what items are compared by, ``(N, E)`` float64, and how; of unit length where that is by cosines."""
    vectors, metric = heads.vectors(features, average=average)
    rows = vectors[0].double().cpu()
    return (normalize(rows, dim=1) if metric == "ip" else rows), metric


def _temperature(logits: Tensor, labels: Tensor) -> float:
    """Choose the temperature at which labels are likeliest, each class counted alike."""
    weights = 1 / labels.bincount(minlength=logits.shape[1]).clamp(min=1).double()
    tried = TEMPERATURES.double() * logits.std().clamp(min=1e-6)
    losses = [cross_entropy(logits / temperature, labels, weight=weights) for temperature in tried]
    return float(tried[int(torch.stack(losses).argmin())])


def rows_of(candidates: Tensor, metric: Metric) -> Tensor:
    """Return what items are compared by, given rows of :func:`as_candidates` that were brought to one length."""
    rows = candidates.double()
    if metric == "ip":
        return rows
    vectors = rows[:, :-2]
    squares = vectors.square().sum(dim=1, keepdim=True)
    return vectors * (-2 * rows[:, -2:-1] / squares.clamp(min=1e-300))  # by the length that they were divided by
