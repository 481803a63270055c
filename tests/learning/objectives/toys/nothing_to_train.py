"""Features as they are, which lie in one space already: nothing is trained, and there is no loss."""

from collections.abc import Mapping
from typing import ClassVar

from emoclim.data import Split
from emoclim.learning import Bank, IdentityBank, Objective


class NothingToTrain(Objective):
    """Items are compared by the cosines of their features."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def fit(self, split: Split) -> Mapping[str, Bank]:
        return {one: IdentityBank(len(self.settings), split.features[one].spec.dim) for one in self.modalities}
