"""Import features that other programs made into a cache that is used like that of any encoder: `emoclim cache import`.

Items are known by their ids, for the features may be at hand where the files are not. A table is surveyed from end to
end before anything is written, and a new cache is made aside: whatever is refused or stopped leaves no trace.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from emoclim.cache import (
    BY_ID,
    CacheNote,
    ItemStatus,
    kept_free,
    note_or_new,
    open_cache,
    portable_path,
    write_item_table,
)
from emoclim.config import ImportConfig
from emoclim.data import VIEWS, Features, FeatureSpec, Manifest, Setting, annotated_items, ids_of, read_manifest
from emoclim.errors import CacheError, ConfigError, name_some
from emoclim.files import atomic, partial_beside, remove
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.caches.feature_tables import NO_ID, Block, find_features, read_blocks
from emoclim.pipeline.library import split_manifest
from emoclim.pipeline.machine import provenance
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

NAME = re.compile(r"[\w][\w.+-]*")
COMMIT_ITEMS = 8192


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What one `emoclim cache import` did."""

    file: Path
    manifest: Path
    spec: FeatureSpec
    cache: Path
    items: int  # of the manifest
    imported: int  # put into the cache now
    reused: int  # which it had of this file
    missing: tuple[str, ...]  # ids of items that the file has no features of
    left_out: tuple[str, ...]  # ids in the file that the manifest does not list
    notes: tuple[str, ...]  # on the manifest and the numbers, one sentence each

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        lines = [f"{self.file}: {self.imported} items imported, {self.reused} were there -> {self.cache}"]
        if self.missing:
            lines.append(f"items of {self.manifest} without features: {len(self.missing)} ({name_some(self.missing)})")
        if self.left_out:
            lines.append(f"rows left out, as they are of no item: {len(self.left_out)} ({name_some(self.left_out)})")
        return [*lines, *self.notes]


def import_features(
    file: Path,
    modality: Modality,
    name: str,
    config: ImportConfig = ImportConfig(),
    *,
    source: Path | None = None,
    workspace: Workspace,
    track: Track = silent,
) -> ImportResult:
    """Put the features of a file into a cache called `name`, for the items of the manifest `source`."""
    own: dict[str, Setting] = {"source": "import", "keys": "ids", "array": config.values}
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for features; use letters, digits and . + - _")
    if taken := sorted(own.keys() & config.settings):
        raise ConfigError(f"setting {taken[0]!r} is set by the import itself; give yours another name")
    manifest = read_manifest(
        source or workspace.manifest(modality), modality, unlabelled=config.unlabelled, need_files=False
    )
    files, identity = find_features(file)
    ids, dim, max_segments = survey(track(read_blocks(files, config.values), f"check {file.name}"), file)
    own_ids = match_ids(ids, manifest, file, allow_extra=config.allow_extra)
    manifest = split_manifest(manifest, workspace.content_keys(), track, seed=config.seed)
    if max_segments and not MODALITIES[modality].segments:
        own[VIEWS] = max_segments
    notes = [f"{manifest.source}: {note}" for note in manifest.notes]
    if not any(ids):
        notes.append(f"{file} has no ids: its rows were taken in the order of {manifest.source}")
        own["order"] = hashlib.sha256(os.fsencode("\n".join(map(str, own_ids)))).hexdigest()[:12]
    spec = FeatureSpec(name, modality, dim, identity, {**config.settings, **own})
    cache = workspace.cache_path(spec, f".{config.backend}")
    blocks = track(read_blocks(files, config.values), f"import {file.name}")
    imported = _keep(cache, spec, _named(blocks, own_ids, spec), sum(id_ is not None for id_ in own_ids))
    missing = _note(cache, spec, manifest, portable_path(file, cache.parent), imported)
    left_out = tuple(id_ for id_, own_id in zip(ids, own_ids, strict=True) if own_id is None)
    return ImportResult(
        file=file,
        manifest=manifest.source,
        spec=spec,
        cache=cache,
        items=len(manifest.items),
        imported=imported,
        reused=len(ids) - len(left_out) - imported,
        missing=missing,
        left_out=left_out,
        notes=tuple(notes),
    )


def _named(blocks: Iterable[Block], own_ids: Sequence[str | None], spec: FeatureSpec) -> Iterator[Features]:
    """Name the items of blocks, a commit at a time, without those that have no id of their own."""
    first = 0
    for block in blocks:
        ids = own_ids[first : first + len(block.ids)]
        first += len(ids)
        keys = tuple("" if id_ is None else f"{BY_ID}{id_}" for id_ in ids)
        features = Features(spec, keys, block.values, seconds=block.seconds)
        if len(block.segments):
            starts = _numbered(block, spec.modality)
            features = replace(features, segments=block.segments, offsets=block.offsets, starts=starts)
        rows = torch.tensor([row for row, key in enumerate(keys) if key], dtype=torch.int64)
        if len(rows) == len(keys) <= COMMIT_ITEMS:
            yield features
        else:
            yield from map(features.select, torch.split(rows, COMMIT_ITEMS))


def _numbered(block: Block, modality: Modality) -> Tensor:
    """Return the starts of segments; their numbers where they have no length, and the file tells none of an item."""
    facts, counts = MODALITIES[modality], block.offsets.diff()
    if not facts.segments or facts.timed:
        return block.starts
    owners = torch.arange(len(counts)).repeat_interleave(counts)
    told = torch.zeros(len(counts), dtype=torch.bool).index_fill_(0, owners[block.starts != 0], True)
    numbers = (torch.arange(len(owners)) - block.offsets[owners]).float()
    return torch.where(told[owners], block.starts, numbers)


def survey(blocks: Iterable[Block], file: Path) -> tuple[list[str], int, int]:
    """Read all items; return ids, the width of values and the most segments of an item, if all can be imported."""
    ids, dims, max_segments = list[str](), set[int](), 0
    for block in blocks:
        ids += block.ids
        dims.add(block.values.shape[1])
        max_segments = max(max_segments, int(block.offsets.diff().max()) if block.ids else 0)
    problems = [] if ids else ["it holds no item"]
    if len(dims) > 1:
        problems.append(f"not all values are equally long ({min(dims)} to {max(dims)})")
    if twice := [id_ for id_, count in Counter(ids).items() if id_ != NO_ID and count > 1]:
        problems.append(f"{len(twice)} ids occur more than once ({name_some(twice)})")
    if problems:
        raise CacheError(f"{file} cannot be imported: {'; '.join(problems)}; correct it")
    return ids, dims.pop(), max_segments


def match_ids(ids: Sequence[str], manifest: Manifest, file: Path, *, allow_extra: bool) -> list[str | None]:
    """Find the item of each row by its id, or None; where there are no ids, rows and items are in one order."""
    own = dict.fromkeys(ids_of(manifest.items))
    if not any(ids) and len(ids) == len(own):
        return list(own)
    strangers = [id_ or "a row without id" for id_ in ids if id_ not in own]
    if len(strangers) == len(ids) or (strangers and not allow_extra):
        fault = f"{len(strangers)} of {len(ids)} rows are of no item of {manifest.source} ({name_some(strangers)})"
        raise CacheError(f"{file}: {fault}; give them ids like {next(iter(own))}, or leave them out with --allow-extra")
    return [id_ if id_ in own else None for id_ in ids]


def _keep(path: Path, spec: FeatureSpec, parts: Iterator[Features], n_items: int) -> int:
    """Put items into a cache that it does not hold yet; a new cache is made aside and then appears whole."""
    if path.exists():
        return _append(path, spec, parts)
    room = partial_beside(path)  # a folder, since a cache is opened by its suffix
    try:
        imported = _append(room / path.name, spec, parts, n_items)
        with kept_free(path) as free:
            if not free or path.exists():
                raise CacheError(f"cache {path} is being made by another process meanwhile; import again after it")
            with atomic(path, room / path.name):
                return imported
    finally:
        with suppress(OSError):  # `emoclim cache gc` finds what is left
            remove(room)


def _append(path: Path, spec: FeatureSpec, parts: Iterator[Features], n_items: int = 0) -> int:
    with open_cache(path, spec) as cache:
        before = cache.keys()
        cache.reserve(n_items)
        for part in parts:
            new = torch.tensor([row for row, key in enumerate(part.ids) if key not in before], dtype=torch.int64)
            cache.append_features(part if len(new) == len(part) else part.select(new))
        return len(cache) - len(before)


def _note(cache: Path, spec: FeatureSpec, manifest: Manifest, origin: str, imported: int) -> tuple[str, ...]:
    """Write the note and the table of items beside a cache; return the ids of the items without features."""
    note = note_or_new(CacheNote(cache, spec, origin, {}))
    if imported:
        note = note.with_run(provenance(), imported)
    note = note.with_source(manifest, not annotated_items(manifest.items))
    with open_cache(cache) as opened:
        committed, keys = opened.keys(), ((id_, f"{BY_ID}{id_}") for id_ in ids_of(manifest.items))
        states = [ItemStatus(id_, "committed" if key in committed else "missing", key) for id_, key in keys]
    write_item_table(cache, note.sources[-1].name, states)
    note.save()
    return tuple(state.id for state in states if state.state == "missing")
