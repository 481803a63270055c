"""Objectives as tests use them: Emo-CLIM's two, over images and music."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from emoclim.data.features import Split
from emoclim.learning.learner import weighted_sum
from emoclim.learning.objectives.base import Objective
from emoclim.learning.objectives.loading import make_objective
from emoclim.learning.sampling import Batch

JOINED = ("image", "audio")
TERMS = ("image>audio", "audio>image", "image>image", "audio>audio")
CPU = torch.device("cpu")


def emo_clim(temperatures: Sequence[float] = (0.07,), name: str = "emo_clim", **settings: Any) -> Objective:
    """With a head for each temperature."""
    return make_objective(name, JOINED, [{"temperature": value, **settings} for value in temperatures])


def by_similarity(similarity: Tensor, n_heads: int, **settings: Any) -> Objective:
    """With given similarities of classes in place of those of their vectors."""
    objective = emo_clim([0.07] * n_heads, "class_similarity", **settings)
    objective.similarity = similarity.expand(n_heads, -1, -1)
    return objective


def prepared(objective: Objective, dtype: torch.dtype = torch.float32, split: Split | None = None) -> Objective:
    objective.prepare(split or Split({}, {}, ()), CPU, dtype)
    return objective


def losses_of(
    objective: Objective, embeddings: Mapping[str, Tensor], labels: Mapping[str, Tensor]
) -> tuple[Tensor, ...]:
    return objective.losses(embeddings, Batch(embeddings, labels), None)


def total_of(
    objective: Objective, embeddings: Mapping[str, Tensor], labels: Mapping[str, Tensor], weights: Tensor
) -> Tensor:
    return weighted_sum(losses_of(objective, embeddings, labels), weights)
