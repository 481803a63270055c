"""Decide what an evaluation ranks: the items of a split, what of them is relevant to what, and what is no candidate."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from emoclim.config import EvaluateConfig
from emoclim.data import (
    MATCHING,
    ContentKeys,
    Item,
    LabelMap,
    Relevance,
    Split,
    contents_of,
    join_groups,
    number_groups,
)
from emoclim.errors import ConfigError
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, labels_of
from emoclim.pipeline.machine import digest_of
from emoclim.pipeline.splits import items_of, read_splits
from emoclim.pipeline.training.label_vectors import read_related
from emoclim.pipeline.training.trained_runs import Run
from emoclim.stages import FoldHeads

Numbers = Mapping[Modality, Tensor]  # (N,) int64 of each item


@dataclass(frozen=True, slots=True)
class Ranked:
    """What is ranked."""

    whole: Split  # all that has features
    split: Split  # what of it is ranked
    items: Mapping[Modality, Mapping[str, Item]]  # all of the split, by id
    label_map: LabelMap  # of the classes of the split
    relevance: Relevance | None  # None: what has the same class
    noted_map: Mapping[str, str] | None  # name and digest of what the relevance was read from
    groups: Numbers | None  # an item ranks those of its own number; None: all
    exclude_groups: Numbers | None  # but within its modality none of its own number; None: all but itself
    n_too_short: int
    n_without_group: int  # of items that would be ranked, and are left out as they have none
    by_partner: bool  # whether the one item that each belongs to is relevant to it, for want of labels

    @classmethod
    def of(cls, config: EvaluateConfig, libraries: Mapping[Modality, Library], run: Run, keys: ContentKeys) -> Self:
        """Read the features of a split; raise :class:`ConfigError` where the settings leave a modality nothing."""
        by_partner = config.relevant == "partner" or (
            config.relevant is None
            and "pairs" in run.heads.objective.needs
            and not config.label_map
            and not _labelled(libraries)
        )
        if by_partner and config.label_map:
            raise ConfigError("partners are relevant whatever their labels; leave out --label-map, or --relevant")
        if by_partner:
            libraries, label_map = _partners(libraries, config.split)
        else:
            libraries, label_map = _with_labels(config, libraries, run), run.label_map
        relevance, name, noted = None, MATCHING, None
        if not by_partner and (taxonomy := run.heads.objective.taxonomy) is not None:
            relevance, name = taxonomy.relevance, taxonomy.name
        if config.label_map is not None and libraries:
            label_map, relevance, name = read_related(config.label_map, labels_of(libraries))
        if relevance is not None:
            tables = {"_".join(pair): table.tolist() for pair, table in relevance.items()}
            noted = {"name": name, "digest": digest_of([label_map.classes, tables])}
        whole = part = read_splits(libraries, label_map, (config.split,), keys, every_class=False)[config.split]
        items = {
            name: {item.id: item for item in items_of(one.manifest, config.split)} for name, one in libraries.items()
        }
        if config.min_seconds:
            part = whole.lasting(config.min_seconds)
            _require_some(part, f"of {config.min_seconds:g} s or more; lower --min-seconds", config.split)
        long, groups = part, None
        if config.within is not None:
            part = part.select(_rows_with_group(part, items))
            _require_some(part, "with a group; leave out --within, or fill in the column group", config.split)
            groups = _own_groups(part, items)
        elif isinstance(run.heads, FoldHeads):  # whose folds never meet
            groups = {modality: run.heads.fold_numbers(features) for modality, features in part.features.items()}
        return cls(
            whole=whole,
            split=part,
            items=items,
            label_map=label_map,
            relevance=relevance,
            noted_map=noted,
            groups=groups,
            exclude_groups=_excluded(part, items, keys, own_groups=config.within is None),
            n_too_short=_n_items(whole) - _n_items(long),
            n_without_group=_n_items(long) - _n_items(part),
            by_partner=by_partner,
        )

    def is_relevant(self, query: Item, candidate: Item, asking: Modality, asked: Modality) -> bool:
        """Whether a candidate is relevant to a query."""
        wanted, found = self.label_map.class_of(asking, query.label), self.label_map.class_of(asked, candidate.label)
        return wanted == found if self.relevance is None else bool(self.relevance[asking, asked][wanted, found])

    def excluded_ids(self, query: Modality, row: int, candidate: Modality) -> list[str]:
        """Return the ids of another modality that are no candidates of a query."""
        if self.groups is None:
            return []
        others = self.groups[candidate] != self.groups[query][row]
        return [self.split.features[candidate].ids[other] for other in others.nonzero()[:, 0].tolist()]


def _labelled(libraries: Mapping[Modality, Library]) -> bool:
    return len([labels for labels in labels_of(libraries).values() if labels]) > 1


def _partners(libraries: Mapping[Modality, Library], split: str) -> tuple[dict[Modality, Library], LabelMap]:
    """Label the items of a split by what they belong to, if another modality has it too."""
    names = {
        modality: {item.pair or item.id for item in items_of(library.manifest, split)}
        for modality, library in libraries.items()
    }
    shared = set.intersection(*names.values()) if len(names) > 1 else set()
    if not shared:
        raise ConfigError(f"split {split} has neither labels nor items that belong together; choose another split")
    found = {}
    for modality, library in libraries.items():
        labelled = (
            replace(item, label=name if (name := item.pair or item.id) in shared else None)
            for item in library.manifest.items
        )
        found[modality] = replace(library, manifest=replace(library.manifest, items=tuple(labelled)))
    return found, LabelMap(tuple(sorted(shared)), {modality: {name: name for name in shared} for modality in found})


def _with_labels(config: EvaluateConfig, libraries: Mapping[Modality, Library], run: Run) -> dict[Modality, Library]:
    """Leave out modalities without labels, which can only be predicted; refuse what asks for a ranking of none."""
    known = run.label_map.maps if config.label_map is None else labels_of(libraries)
    labelled = {modality: library for modality, library in libraries.items() if known[modality]}
    if not labelled and (config.within or config.label_map):
        raise ConfigError("nothing has labels, so that nothing is ranked; leave out --within and --label-map")
    return labelled


def _n_items(split: Split) -> int:
    return sum(map(len, split.features.values()))


def _require_some(split: Split, what: str, name: str) -> None:
    if empty := [modality for modality, features in split.features.items() if not len(features)]:
        raise ConfigError(f"split {name} has no {empty[0]} {what}")


def _rows_with_group(split: Split, items: Mapping[Modality, Mapping[str, Item]]) -> dict[Modality, Tensor]:
    return {
        modality: torch.tensor(
            [row for row, id_ in enumerate(one.ids) if items[modality][id_].group], dtype=torch.int64
        )
        for modality, one in split.features.items()
    }


def _own_groups(split: Split, items: Mapping[Modality, Mapping[str, Item]]) -> Numbers:
    """Number the groups, those of one name alike in all modalities; refuse those of which none is in two."""
    names = {
        modality: [str(items[modality][id_].group) for id_ in features.ids]
        for modality, features in split.features.items()
    }
    if not set.intersection(*map(set, names.values())):
        raise ConfigError(
            f"no group is in {' and '.join(names)} alike; leave out --within, or correct the column group"
        )
    numbers = {name: number for number, name in enumerate(sorted(set().union(*names.values())))}
    return {modality: torch.tensor([numbers[name] for name in own]) for modality, own in names.items()}


def _excluded(
    split: Split, known: Mapping[Modality, Mapping[str, Item]], keys: ContentKeys, *, own_groups: bool
) -> Numbers | None:
    """Number items, those of equal content, and with `own_groups` of one group, alike; None if all differ."""
    numbers, grouped = {}, False
    for modality, features in split.features.items():
        items = [known[modality][id_] for id_ in features.ids]
        if not own_groups:
            items = [replace(item, group=None) for item in items]
        found = number_groups(join_groups(items, contents_of(items, keys)))
        numbers[modality] = torch.tensor(found, dtype=torch.int64)
        grouped |= any(item.group for item in items) or len(set(found)) < len(items)
    return numbers if grouped else None
