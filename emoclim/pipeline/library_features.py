"""Cached features of the items of libraries, labelled and by split."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from emoclim.cache import open_cache
from emoclim.data import SPLITS, ContentKeys, Features, Item, LabelMap, Manifest, Split
from emoclim.errors import CacheError, DecodeError, ManifestError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.libraries import Library, key_of

log = logging.getLogger(__name__)


def read_features(library: Library, items: Sequence[Item], keys: ContentKeys, *, partial: bool = False) -> Features:
    """Cached features of some items of a library; those that are missing or failed to encode are left out, and told."""
    ids: list[str] = []
    rows: list[str] = []
    lacking: list[str] = []
    left_out = Counter[str]()
    with open_cache(library.note.path) as cache:
        committed, failed = cache.keys(), cache.failures()
        for item in items:
            try:
                key = key_of(item, library.note.spec, keys)
            except DecodeError:
                left_out["cannot be read any more"] += 1
                continue
            if key in committed:
                ids.append(item.id)
                rows.append(key)
            elif key in failed:
                left_out["failed to encode"] += 1
            elif library.note.spec.keyed_by_id:
                left_out["have no imported features"] += 1
            else:
                lacking.append(item.id)
        if lacking and not partial:
            folder = MODALITIES[library.manifest.modality].folder
            raise CacheError(
                f"{len(lacking)} of {len(items)} items of {library.manifest.source} are new or changed and not in "
                f"{cache.path} ({lacking[0]} first); run: emoclim extract {folder} "
                f"{library.manifest.source} --encoder {library.note.spec.name}"
            )
        left_out["were not extracted yet"] = len(lacking)
        for reason, count in (+left_out).items():
            log.warning("%d of %d items of %s %s: left out", count, len(items), library.manifest.source, reason)
        return replace(cache.read(rows), ids=tuple(ids))


def labels_of(libraries: Mapping[Modality, Library]) -> dict[Modality, set[str]]:
    """The labels that occur, by modality."""
    return {
        modality: {item.label for item in library.manifest.items if item.label is not None}
        for modality, library in libraries.items()
    }


def read_splits(
    libraries: Mapping[Modality, Library],
    label_map: LabelMap,
    names: Iterable[str],
    keys: ContentKeys,
    *,
    every_class: bool = True,
) -> dict[str, Split]:
    """Labelled features of some splits."""
    splits = {}
    for name in names:
        if name not in SPLITS:
            raise ManifestError(f"there is no split {name!r}; there are {', '.join(SPLITS)}")
        features: dict[Modality, Features] = {}
        labels: dict[Modality, torch.Tensor] = {}
        for modality, library in libraries.items():
            items = labelled_items(library.manifest, label_map, name)
            table = features[modality] = read_features(library, items, keys)
            classes = {item.id: label_map.class_of(modality, item.label) for item in items}
            labels[modality] = torch.tensor([classes[id_] for id_ in table.ids], dtype=torch.int64)
            if every_class:
                _require_all_classes(labels[modality], label_map, name, library.manifest)
        splits[name] = Split(features, labels, label_map.classes)
    return splits


def labelled_items(manifest: Manifest, label_map: LabelMap, split: str) -> list[Item]:
    """The items of a split whose labels have a class."""
    _require_known_labels(manifest, label_map)
    return [
        item
        for item in manifest.items
        if item.split == split and label_map.class_of(manifest.modality, item.label) is not None
    ]


def _require_known_labels(manifest: Manifest, label_map: LabelMap) -> None:
    known = label_map.maps[manifest.modality]
    strange = Counter(item.label for item in manifest.items if item.label is not None and item.label not in known)
    if strange:
        told = ", ".join(f"{label!r} ({count} items)" for label, count in sorted(strange.items()))
        raise ManifestError(f"{manifest.source} has labels that the label map does not know: {told}; correct them")


def _require_all_classes(labels: torch.Tensor, label_map: LabelMap, split: str, manifest: Manifest) -> None:
    counts = torch.bincount(labels, minlength=len(label_map.classes)).tolist()
    if empty := [name for name, count in zip(label_map.classes, counts, strict=True) if not count]:
        raise ManifestError(
            f"class {', '.join(empty)} has no usable {manifest.modality} in split {split!r} of {manifest.source}; "
            "add items, change the splits, or leave the class out by a label map"
        )
