"""The manifests of `emoclim reproduce`: their splits, and which of their items can be used at all."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from emoclim.cache import open_cache
from emoclim.data import ContentKeys, Item, Manifest, assign_splits, read_manifest, splits_path, with_splits
from emoclim.errors import DecodeError
from emoclim.modality import Modality
from emoclim.pipeline.library import split_manifest
from emoclim.pipeline.reproduction_plan import Request
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

SPLIT_SEED = 42  # of splits that a manifest lacks


def read_manifests(request: Request, place: bool, workspace: Workspace, track: Track = silent) -> dict[str, Manifest]:
    """The manifests of a request, by name, with their splits."""
    given: Mapping[Modality, Path | None] = {"image": request.images, "audio": request.audio}
    found: dict[str, Manifest] = {}
    keys = ContentKeys(workspace.caches / "content.json")
    for modality, path in given.items():
        manifest = read_manifest(path or workspace.manifest(modality), modality)
        placed = split_manifest(manifest, keys, track, seed=SPLIT_SEED) if place else _with_kept_splits(manifest)
        found[modality] = placed
    if request.target == "table4":
        found["tagging"] = read_manifest(request.tagging or workspace.root / "data" / "tagging.csv", "audio")
    return found


def _with_kept_splits(manifest: Manifest) -> Manifest:
    """The splits that are there already; what keeps others from being made is raised, but nothing is written."""
    labelled = [item for item in manifest.items if item.label is not None]
    if any(item.split is not None for item in labelled):
        return with_splits(manifest, None)
    path = splits_path(manifest)
    if not path.exists():
        return manifest
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        ids = {row.get("id") for row in csv.DictReader(file)}
    old = tuple(item for item in labelled if item.id in ids) or tuple(labelled)
    kept = {item.id: item.split for item in with_splits(replace(manifest, items=old), None).items if item.split}
    assign_splits(labelled, SPLIT_SEED, kept)  # refuses groups that are torn
    return replace(manifest, items=tuple(replace(item, split=kept.get(item.id)) for item in manifest.items))


def usable(manifest: Manifest, caches: Iterable[Path], keys: ContentKeys) -> Manifest:
    """A manifest without the items whose file is missing, or that failed to encode into one of some caches."""
    there = [item for item in manifest.items if item.path is None or item.path.is_file()]
    made = [path for path in caches if path.exists()]
    if made:  # or nothing is known yet, and no file need be read
        failed = {key for path in made for key in _failures(path)}
        there = [item for item in there if _can_be_used(item, failed, keys)]
    return replace(manifest, items=tuple(there))


def _failures(path: Path) -> frozenset[str]:
    with open_cache(path) as cache:
        return frozenset(cache.failures())


def _can_be_used(item: Item, failed: Iterable[str], keys: ContentKeys) -> bool:
    try:
        return keys(item) not in failed
    except DecodeError:
        return False
