"""Classify the items of each modality by labels of its own, and rank by probabilities: the base of classifiers.

Used by objectives. Invariant: vectors have an entry for each class of all modalities, whichever head they come from, so
that what two modalities call by the same name meets, and nothing else does.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot
from typing_extensions import override

from emoclim import config
from emoclim.data import FeatureSpec, Split, Taxonomy
from emoclim.learning.objectives.base import Metric, Objective
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality


class FocalSettings(config.Settings):
    """Of the losses; both may differ between the heads of a bank."""

    gamma_first: float = Field(
        default=2.0, ge=0, description="Focusing of the loss of the first modality of the run; 0 is cross entropy"
    )
    gamma_second: float = Field(
        default=0.0, ge=0, description="Focusing of the loss of the second modality of the run; 0 is cross entropy"
    )


class ClassifyingObjective(Objective, ABC):
    """One loss for each modality, of the probabilities of its own classes."""

    Settings = FocalSettings
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "taxonomy"})
    preset: ClassVar[Mapping[str, Any]] = {
        "batch_size": 32,
        "learning_rate": 1e-4,
        "weight_decay": 1e-4,
        "epochs": 200,
        "dropout": 0.0,
    }
    taxonomy: Taxonomy

    @abstractmethod
    def reading(self, modality: Modality, candidates: Modality) -> tuple[str, Modality]:
        """Name the branch that reads a query for candidates of a modality, and the modality whose classes it has."""

    @property
    @override
    def terms(self) -> tuple[str, ...]:
        return self.modalities

    @override
    def aligns(self, weights: Sequence[float]) -> bool:
        return all(weight > 0 for weight in weights)

    @override
    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().prepare(split, device, dtype)
        self._places = {modality: self._places_of(modality).to(device) for modality in self.modalities}

    @override
    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        return tuple(
            focal_loss(outputs[modality], self._places[modality][batch.labels[modality]], self.number(gamma))
            for modality, gamma in zip(self.modalities, ("gamma_first", "gamma_second"), strict=False)
        )

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        logits = outputs[modality]
        found = logits.new_zeros(*logits.shape[:-1], len(self.taxonomy.classes) + 1)
        found[..., list(self.taxonomy.own[modality])] = logits.softmax(dim=-1)
        # Brought to unit length by an entry that queries do not have, cosines are the probabilities themselves.
        found[..., -1] = (1 - found.double().square().sum(dim=-1)).clamp(min=0).sqrt().to(found)
        return found, "ip"

    @override
    def dimension_names(self, specs: Mapping[Modality, FeatureSpec]) -> Sequence[str]:
        return self.taxonomy.classes

    @override
    def query_vectors(
        self, modality: Modality, outputs: Mapping[str, Tensor], candidates: Modality
    ) -> tuple[Tensor, Metric]:
        branch, owner = self.reading(modality, candidates)
        best = outputs[branch].argmax(dim=-1)
        classes = torch.tensor(self.taxonomy.own[owner], device=best.device)[best]
        known = torch.zeros(len(self.taxonomy.classes) + 1, device=best.device)
        known[list(self.taxonomy.own[candidates])] = 1
        return one_hot(classes, len(known)) * known, "ip"

    def _places_of(self, modality: Modality) -> Tensor:
        """Return by number of a class its place among those of a modality, ``(C,)`` int64; of others -1."""
        places = torch.full((len(self.taxonomy.classes),), -1)
        places[list(self.taxonomy.own[modality])] = torch.arange(len(self.taxonomy.own[modality]))
        return places


def focal_loss(logits: Tensor, targets: Tensor, gamma: Tensor) -> Tensor:
    """Compute the focal loss ``(K,)`` of logits ``(K, N, C)`` and classes ``(N,)``; a gamma of 0 is cross entropy.

    Notes
    -----
    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, Eq. 4: the mean of
    ``-(1 - p) ** gamma * log(p)`` over the items, where p is the probability of an item's class.

    Examples
    --------
    >>> logits = torch.tensor([[[2.0, 0.0]]]).expand(2, 1, 2)
    >>> focal_loss(logits, torch.tensor([0]), torch.tensor([0.0, 2.0]))
    tensor([0.1269, 0.0018])
    """
    chosen = logits.log_softmax(dim=2)[:, torch.arange(len(targets), device=targets.device), targets]  # (K, N)
    # Never 0: the power of a small gamma has no finite slope there.
    rest = (-chosen.expm1()).clamp(min=torch.finfo(chosen.dtype).tiny)
    return -(rest.pow(gamma[:, None]) * chosen).mean(dim=1)
