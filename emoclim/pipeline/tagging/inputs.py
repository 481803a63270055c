"""What `emoclim evaluate --tagging` is made from: a run, and a manifest of tagged items with their features.

Convention: a tag is learnt if a training item has it; a tag that only other items have is no column of any table.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from emoclim.cache import CacheNote, SourceRef, key_of
from emoclim.data import (
    SPLITS,
    ContentKeys,
    Features,
    Item,
    Manifest,
    contents_of,
    labelled_by_rarest_tag,
    number_groups,
    read_manifest,
    with_splits,
)
from emoclim.encoders import file_hash
from emoclim.errors import CacheError, ManifestError, name_some
from emoclim.pipeline.encoders import contamination
from emoclim.pipeline.library import Library, read_features
from emoclim.pipeline.machine import digest_of
from emoclim.pipeline.tagging.config import TaggingConfig
from emoclim.pipeline.training.trained_runs import Run, trained_library
from emoclim.pipeline.workspace import Workspace, heads_file
from emoclim.stages import TagSplit

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tagged:
    """The items of a manifest that have features, with their tags."""

    manifest: Manifest  # each of its items has a split
    items: tuple[Item, ...]  # those that have features and count
    features: Features
    tags: tuple[str, ...]  # T names, the most frequent in training first
    unlearnt: tuple[str, ...]  # tags that occur in no training item
    bare: Mapping[str, int]  # by split, how many items have features and no tag

    def splits(self, inputs: Features) -> dict[str, TagSplit]:
        """Return train, val and test parts, with `inputs` of the same items in place of their features."""
        return {name: self._split(inputs, name) for name in SPLITS}

    def _split(self, inputs: Features, name: str) -> TagSplit:
        rows = torch.tensor([row for row, item in enumerate(self.items) if item.split == name], dtype=torch.int64)
        own = [self.items[row] for row in rows.tolist()]
        relevant = torch.tensor([[tag in item.tags for tag in self.tags] for item in own], dtype=torch.bool)
        groups = torch.tensor(number_groups(own)) if any(item.group for item in own) else None
        return TagSplit(inputs.select(rows), relevant.view(len(own), len(self.tags)), groups)


def read_tagged(source: Path, note: CacheNote, keys: ContentKeys, *, seed: int, untagged: bool) -> Tagged:
    """Read a manifest with tags, and the features of its items."""
    manifest = read_manifest(source, note.spec.modality, need_files=not note.spec.keyed_by_id)
    for told in manifest.notes:
        log.warning("%s: %s", source, told)
    manifest = _placed(_with_tags(manifest), keys, seed)
    library = Library(manifest, note, SourceRef(manifest.name, str(source), manifest.digest(), unlabelled=True))
    features = read_features(library, manifest.items, keys)
    items = {item.id: item for item in manifest.items}
    encoded = [items[id_] for id_ in features.ids]
    bare = {name: sum(item.split == name and not item.tags for item in encoded) for name in SPLITS}
    rows = [row for row, item in enumerate(encoded) if untagged or item.tags]
    counted = tuple(encoded[row] for row in rows)
    learnt = Counter(tag for item in counted if item.split == "train" for tag in item.tags)
    if not learnt:
        raise ManifestError(f"no training item of {source} has a tag to learn; give some, or change the splits")
    unlearnt = {tag for item in counted for tag in item.tags} - learnt.keys()
    tags = tuple(sorted(learnt, key=lambda tag: (-learnt[tag], tag)))
    return Tagged(manifest, counted, features.select(torch.tensor(rows)), tags, tuple(sorted(unlearnt)), bare)


def keys_of(items: Iterable[Item], note: CacheNote, keys: ContentKeys) -> dict[str, str]:
    """Return the cache keys, by id, of those items whose files are still there."""
    return contents_of(items, lambda item: key_of(item, note.spec, keys))


def _with_tags(manifest: Manifest) -> Manifest:
    if any(item.tags for item in manifest.items):
        return manifest
    if not any(item.label for item in manifest.items):
        raise ManifestError(f"{manifest.source} has no tags; add a column 'tags', with | between the tags of an item")
    log.warning("%s has no tags: its labels are taken as such", manifest.source)
    labelled = tuple(replace(item, tags=(item.label,)) if item.label else item for item in manifest.items)
    return replace(manifest, items=labelled)


def _placed(manifest: Manifest, keys: ContentKeys, seed: int) -> Manifest:
    """Give each item a split."""
    placed = with_splits(replace(manifest, items=labelled_by_rarest_tag(manifest.items)), seed, keys)
    both = zip(manifest.items, placed.items, strict=True)
    return replace(manifest, items=tuple(replace(item, split=other.split) for item, other in both))


@dataclass(frozen=True, slots=True)
class TaggingInputs:
    """A run, and tagged items with their features."""

    run: Run
    note: CacheNote  # of the cache of the features
    read: Tagged
    groups: Mapping[str, tuple[str, ...]]  # of tags
    contents: Mapping[str, str]  # by item, its key in the cache
    warnings: tuple[str, ...]  # why the numbers may mislead

    @property
    def noted(self) -> dict[str, Any]:
        """What a plan notes."""
        return {
            "the heads": file_hash(heads_file(self.run.folder)),
            "the features": self.note.spec.to_dict(),
            "the manifest": self.read.manifest.digest(),
            "the contents of the files": digest_of(self.contents),
            "the groups of tags": self.groups,
        }


def warnings_about(
    workspace: Workspace, run: Run, note: CacheNote, read: Tagged, config: TaggingConfig, keys: ContentKeys
) -> tuple[dict[str, str], list[str]]:
    """Return the cache key of each item, and what a reader of the numbers should know about the data behind them."""
    contents, name = keys_of(read.items, note, keys), read.manifest.source.name
    found = [told] if (told := contamination(note.spec, replace(read.manifest, source=Path(name)))) else []
    if config.split == "val":
        found.append(
            "the val items also decide when a training ends: numbers on them are better than on items never seen"
        )
    if read.unlearnt:
        found.append(left_out(read.unlearnt, "no training item"))
    by_split = {
        part: {contents[item.id] for item in read.items if item.split == part and item.id in contents}
        for part in SPLITS
    }
    both = [(len(by_split[one] & by_split[other]), one, other) for one, other in combinations(SPLITS, 2)]
    if torn := ", ".join(f"{number} in {one} and {other}" for number, one, other in both if number):
        found.append(f"{name} has the same content in several splits ({torn}): the numbers may be too good")
    asked = by_split[config.split]
    if config.on == "embeddings" and (learnt := len(asked & _learnt(workspace, run, note, keys))):
        found.append(
            f"{learnt} of {len(asked)} {config.split} items of {name} were in the training of "
            f"run {run.folder.name}: its embeddings have seen them"
        )
    return contents, found


def _learnt(workspace: Workspace, run: Run, note: CacheNote, keys: ContentKeys) -> set[str]:
    """Return the cache keys of the items that the heads of a run have seen."""
    try:
        library = trained_library(workspace, run, note.spec.modality)
    except (CacheError, ManifestError):  # the run's own manifest may be gone
        return set()
    seen = (item for item in library.manifest.items if item.split in ("train", "val"))
    return set(keys_of(seen, note, keys).values())


def left_out(tags: Sequence[str], why: str) -> str:
    """Say which tags do not count, and why."""
    return f"{len(tags)} tag{'s' * (len(tags) > 1)} left out, having {why}: {name_some(tags)}"
