"""Read the features of the splits of libraries, with the classes of their labels, or numbers of the items.

Used by everything that trains, evaluates or reads emotions. Invariant: an item that cannot be used is told, or is an
error; it is never dropped silently.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from emoclim.cache import KeyIndex, open_cache
from emoclim.data import (
    NUMBERS,
    SPLITS,
    ContentKeys,
    Item,
    LabelMap,
    Manifest,
    Split,
    different,
    partners_of,
    select_items,
    values_of,
)
from emoclim.errors import ManifestError
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, features_in

WHOLE = "all"  # in place of a split: all of them

NumbersOf = Callable[[Item], Sequence[float]]  # what is measured of an item; nothing where it is not


class PairNumbers:
    """Numbers of all items of libraries: equal for those that belong together, by the pair of each, or its id."""

    def __init__(self, libraries: Iterable[Library]) -> None:
        self._names = KeyIndex()
        names = different([partners_of(library.manifest.items) for library in libraries])
        if new := self._names.prepare(names, 0):
            self._names.add(new)

    def of(self, names: Sequence[str]) -> torch.Tensor:
        """Return the numbers ``(n,)`` of what items belong to, see :func:`partners_of`."""
        return torch.from_numpy(self._names.rows(names))


def read_splits(
    libraries: Mapping[Modality, Library],
    label_map: LabelMap,
    names: Iterable[str],
    keys: ContentKeys,
    *,
    every_class: bool = True,
    labelled: bool = True,
    numbered: Mapping[Modality, NumbersOf] = {},
    pairs: PairNumbers | None = None,
    **how: bool,
) -> dict[str, Split]:
    """Read the features of the labelled items of some splits, as :func:`features_in` does.

    Of modalities that are `numbered`, those of the items with numbers, whose class is -1 where they have no label; of
    all items alike if they need not be `labelled`, as where `pairs` number them.
    """
    names, labelled = tuple(names), labelled and pairs is None
    for name in names:
        if name not in (*SPLITS, WHOLE):
            raise ManifestError(f"there is no split {name!r}; there are {', '.join(SPLITS)}, and {WHOLE}")
    features, labels, numbers, paired = ({name: dict[Modality, Any]() for name in names} for _ in range(4))
    for modality, library in libraries.items():
        manifest, of = library.manifest, numbered.get(modality)
        with open_cache(library.note.path) as cache:  # once, as its ledger may be long
            for name in names:
                asked = taught_items(manifest, label_map, name, of) if labelled else items_of(manifest, name)
                items, table = features_in(cache, library, asked, keys, **how)
                features[name][modality] = table
                labels[name][modality], own = known_of(items, modality, label_map, of)
                if own is not None:
                    numbers[name][modality] = own
                    _require_numbers(own, name, manifest)
                elif every_class and labelled:
                    _require_all_classes(labels[name][modality], label_map, name, manifest)
                if pairs is not None:
                    paired[name][modality] = pairs.of(partners_of(items))
    return {
        name: Split(
            features[name],
            labels[name],
            label_map.classes,
            numbers=numbers[name] or None,
            pairs=None if pairs is None else paired[name],
        )
        for name in names
    }


def taught_items(manifest: Manifest, label_map: LabelMap, split: str, of: NumbersOf | None) -> Sequence[Item]:
    """Return the items of a split that teach: by the numbers `of` them, or else by their labels."""
    return numbered_items(manifest, split, of) if of else labelled_items(manifest, label_map, split)


def known_of(
    items: Sequence[Item], modality: Modality, label_map: LabelMap, of: NumbersOf | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the classes of items ``(N,)``, -1 for none, and their numbers ``(N, n)`` if they are trained on those."""
    own = values_of(items, "label")
    classes = [-1 if (one := label_map.class_of(modality, label)) is None else one for label in own.values]
    labels = torch.tensor([*classes, -1])[torch.from_numpy(own.codes).long()]
    return labels, torch.tensor([list(of(item)) for item in items], dtype=torch.float32) if of else None


def numbers_in(columns: Sequence[str]) -> NumbersOf:
    """Return what reads the numbers of an item in some columns, which are none unless it has all."""
    return partial(_values, columns)


def _values(columns: Sequence[str], item: Item) -> Sequence[float]:
    own = {**dict(zip(NUMBERS, item.numbers, strict=False)), **item.measures}
    return [own[name] for name in columns] if own.keys() >= set(columns) else ()


def measured_in(manifests: Iterable[Manifest], columns: Sequence[str], *, every: bool) -> frozenset[Modality]:
    """Return the modalities of manifests whose items have numbers in some columns; `every` one must."""
    found, of = set(), numbers_in(columns)
    for manifest in manifests:
        if any(map(of, manifest.items)):
            found.add(manifest.modality)
        elif every:
            told = ", ".join(columns)
            raise ManifestError(f"no item of {manifest.source} has numbers in {told}; add them, or name other columns")
    return frozenset(found)


def numbered_items(manifest: Manifest, split: str, of: NumbersOf) -> list[Item]:
    """Return the items of a split that have numbers, labelled or not."""
    return [item for item in items_of(manifest, split) if of(item)]


def without_numbers(libraries: Mapping[Modality, Library], numbered: Mapping[Modality, NumbersOf]) -> list[str]:
    """Say how many items teach nothing, as they lack numbers, or tags, that others of their modality have."""
    told = []
    for modality, of in numbered.items():
        items = libraries[modality].manifest.items
        if lacking := sum(not of(item) for item in items):
            told.append(f"{modality}: left out, having not all that is learnt: {lacking} of {len(items)} items")
    return told


def labelled_items(manifest: Manifest, label_map: LabelMap, split: str) -> Sequence[Item]:
    """Return the items of a split whose labels have a class."""
    _require_known_labels(manifest, label_map)
    items = items_of(manifest, split)
    labels = values_of(items, "label")
    known = (label_map.class_of(manifest.modality, label) is not None for label in labels.values)
    return select_items(items, labels.where(known))


def items_of(manifest: Manifest, split: str) -> Sequence[Item]:
    """Return all items of a split, labelled or not."""
    splits = values_of(manifest.items, "split")
    return select_items(manifest.items, splits.where(split in (one, WHOLE) for one in splits.values))


def _require_numbers(numbers: torch.Tensor, split: str, manifest: Manifest) -> None:
    if not len(numbers):
        raise ManifestError(
            f"split {split!r} of {manifest.source} has no usable {manifest.modality} with the numbers that are learnt, "
            "or with tags; add some, or change the splits"
        )


def _require_known_labels(manifest: Manifest, label_map: LabelMap) -> None:
    known = label_map.maps[manifest.modality]
    labels = values_of(manifest.items, "label").counts()
    strange = {label: count for label, count in labels.items() if label is not None and label not in known}
    if strange:
        told = ", ".join(f"{label!r} ({count} items)" for label, count in sorted(strange.items()))
        raise ManifestError(f"{manifest.source} has labels that the label map does not know: {told}; correct them")


def _require_all_classes(labels: torch.Tensor, label_map: LabelMap, split: str, manifest: Manifest) -> None:
    counts = torch.bincount(labels, minlength=len(label_map.classes)).tolist()
    named = set(label_map.maps[manifest.modality].values())
    if empty := [name for name, count in zip(label_map.classes, counts, strict=True) if name in named and not count]:
        raise ManifestError(
            f"split {split!r} of {manifest.source} has no usable {manifest.modality} of class {', '.join(empty)}; "
            "add items, change the splits, or leave the class out by a label map"
        )
