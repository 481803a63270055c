"""Splits whose embeddings are known: features made by hand, and heads that leave them as they are."""

import torch
from torch import Tensor

from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.learning.objectives.base import Objective

CPU = torch.device("cpu")


class Identity:
    """Heads whose embedding is the feature itself; with ``average="features"``, its absolute value."""

    n_heads = 1
    objective = Objective()

    def select(self, *numbers: int) -> "Identity":
        return self

    def outputs(self, features: Features, *, average: str) -> dict[str, Tensor]:
        values = {"embeddings": features.values, "features": features.values.abs()}[average]
        return {features.spec.modality: values[None]}


def table(modality: str, values: Tensor) -> Features:
    spec = FeatureSpec("given", modality, values.shape[1], "none", {})
    return Features(spec, tuple(f"{modality}-{row}" for row in range(len(values))), values.float())


def make_split(classes: tuple[str, ...], **parts: tuple[Tensor, Tensor]) -> Split:
    """A split of ``modality=(embeddings, labels)``."""
    return Split(
        {modality: table(modality, values) for modality, (values, _) in parts.items()},
        {modality: labels.long() for modality, (_, labels) in parts.items()},
        classes,
    )
