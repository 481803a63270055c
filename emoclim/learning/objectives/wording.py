"""Compare by words without labels or training, one bank for each modality: the base of the objectives by words.

Used by objectives. Invariant: the bank of a modality does not depend on the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import override

from emoclim.data import Features, FeatureSpec, Split
from emoclim.learning.banks.base import Bank
from emoclim.learning.banks.direction_bank import DirectionBank
from emoclim.learning.branches import Branch
from emoclim.learning.objectives.base import Objective


class WordObjective(Objective, ABC):
    """Takes the networks as they are."""

    needs: ClassVar[frozenset[str]] = frozenset()

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        return {modality: Branch(modality, unit=False) for modality in self.modalities}

    @override
    def fit(self, split: Split) -> Mapping[str, Bank]:
        return {name: self.bank_of(split.features[name].spec, split.features[name]) for name in self.modalities}

    @override
    @abstractmethod
    def bank_of(self, spec: FeatureSpec, features: Features | None = None) -> DirectionBank:
        """Make the bank of one modality, over a library or over what stands in for one."""
