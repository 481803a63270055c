"""Divide the items of libraries into folds, so that items of one group, or that belong together, share one.

Used by cross-validation. Items that no fold has are in the training part of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from emoclim.data import ContentKeys, Item, Split, assign_splits, contents_of, join_groups
from emoclim.errors import ConfigError
from emoclim.modality import Modality
from emoclim.pipeline.library import Library
from emoclim.pipeline.splits import PairNumbers

VALIDATED = 0.1  # share of the training items that heads with losses stop by
Rows = dict[Modality, Tensor]
Named = tuple[Modality, str]  # modality and id


@dataclass(frozen=True, slots=True)
class Folds:
    """Which item is in which fold."""

    names: tuple[str, ...]  # of groups, or numbers from 1 on
    numbers: Mapping[Modality, Mapping[str, int]]  # by id, from 0 on; of the items that are in one
    units: Mapping[Named, Item]  # all items, in the groups that share a fold

    @classmethod
    def leaving_one_group_out(
        cls, libraries: Mapping[Modality, Library], split: Split, pairs: PairNumbers | None
    ) -> Self:
        """Make a fold of each group that is in all modalities."""
        units = _units(libraries, split)
        grouped = [(name, str(one.group)) for (name, _), one in units.items() if one.group]
        names = sorted(set.intersection(*({group for own, group in grouped if own == name} for name in libraries)))
        if len(names) < 2:
            raise ConfigError(
                f"one group at a time is left out, but {len(names)} groups are in {' and '.join(libraries)} alike; "
                "fill in the column group, or give --folds"
            )
        placed = {named: one.group for named, one in units.items() if one.group in names}
        return cls.of(names, placed, _with_partners(units, pairs))

    @classmethod
    def stratified(
        cls,
        libraries: Mapping[Modality, Library],
        split: Split,
        count: int,
        seed: int,
        keys: ContentKeys,
        pairs: PairNumbers | None,
    ) -> Self:
        """Make some folds of like labels; items of one group, of equal content, or of one pair share theirs."""
        units = _units(libraries, split)
        for name, library in libraries.items():
            own = [(name, item) for item in library.manifest.items if (name, item.id) in units]
            contents = contents_of([item for _, item in own], keys)
            units = _joined(units, {(name, id_): f"{name} {content}" for id_, content in contents.items()})
        units = _with_partners(units, pairs)
        names = [str(number + 1) for number in range(count)]
        placed = assign_splits(units.values(), seed, fractions=dict.fromkeys(names, 1 / count))
        folds = cls.of(names, {named: placed[one.id] for named, one in units.items()}, units)
        for name, numbers in folds.numbers.items():
            if (held := len(set(numbers.values()))) < count:
                raise ConfigError(f"the {name} items have groups for {held} of {count} folds; give fewer --folds")
        return folds

    @classmethod
    def of(cls, names: list[str], placed: Mapping[Named, str | None], units: Mapping[Named, Item]) -> Self:
        """Number the folds."""
        numbers: dict[Modality, dict[str, int]] = {}
        for (modality, id_), name in placed.items():
            numbers.setdefault(modality, {})[id_] = names.index(str(name))
        return cls(tuple(names), numbers, units)

    def rows(self, split: Split, held: int, *others: int) -> tuple[Rows, Rows]:
        """Return the rows of all items but those of some folds, and those of the first of them."""
        rest: Rows = {}
        own: Rows = {}
        for modality, features in split.features.items():
            folds = torch.tensor([self.numbers[modality].get(id_, -1) for id_ in features.ids])
            own[modality] = (folds == held).nonzero()[:, 0]
            rest[modality] = torch.isin(folds, torch.tensor([held, *others]), invert=True).nonzero()[:, 0]
        return rest, own

    def halves(self, split: Split, seed: int) -> dict[str, Split]:
        """Divide a split into what heads are trained on and what they stop by, by groups."""
        ids = [(name, id_) for name, features in split.features.items() for id_ in features.ids]
        placed = assign_splits(
            [self.units[named] for named in ids], seed, fractions={"train": 1 - VALIDATED, "val": VALIDATED}
        )
        return {
            part: split.select(
                {
                    name: torch.tensor(
                        [row for row, id_ in enumerate(one.ids) if placed[self.units[name, id_].id] == part],
                        dtype=torch.int64,
                    )
                    for name, one in split.features.items()
                }
            )
            for part in ("train", "val")
        }


def _units(libraries: Mapping[Modality, Library], split: Split) -> dict[Named, Item]:
    """Return the items of a split, with ids and labels that no other modality has."""
    there = {name: set(features.ids) for name, features in split.features.items()}
    return {
        (name, item.id): replace(item, id=f"{name} {item.id}", label=f"{name} {item.label or ''}")
        for name, library in libraries.items()
        for item in library.manifest.items
        if item.id in there[name]
    }


def _with_partners(units: dict[Named, Item], pairs: PairNumbers | None) -> dict[Named, Item]:
    """Put items of one pair into one group."""
    if pairs is None:
        return units
    numbers = pairs.of([unit.pair or id_ for (_, id_), unit in units.items()])
    return _joined(units, dict(zip(units, map(str, numbers.tolist()), strict=True)))


def _joined(units: Mapping[Named, Item], alike: Mapping[Named, str]) -> dict[Named, Item]:
    """Put items that are alike into one group."""
    joined = join_groups(units.values(), {units[named].id: what for named, what in alike.items()})
    return dict(zip(units, joined, strict=True))
