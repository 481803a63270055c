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
from itertools import islice
from pathlib import Path

from emoclim.cache import (
    BY_ID,
    CacheNote,
    EncodedItem,
    item_statuses,
    kept_free,
    note_or_new,
    open_cache,
    portable_path,
    write_item_table,
)
from emoclim.config import ImportConfig
from emoclim.data import VIEWS, FeatureSpec, Manifest, Setting, annotated_items, read_manifest
from emoclim.errors import CacheError, ConfigError, name_some
from emoclim.files import atomic, partial_beside, remove
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.caches.feature_tables import NO_ID, find_features, read_items
from emoclim.pipeline.library import split_manifest
from emoclim.pipeline.machine import provenance
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

NAME = re.compile(r"[\w][\w.+-]*")
COMMIT_ITEMS = 1024


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
    ids, dim, max_segments = survey(track(read_items(files, config.values), f"check {file.name}"), file)
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
    named = zip(own_ids, track(read_items(files, config.values), f"import {file.name}"), strict=True)
    imported = _keep(cache, spec, (_named(item, id_, modality) for id_, item in named if id_ is not None))
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


def _named(item: EncodedItem, id_: str, modality: Modality) -> EncodedItem:
    """Name an item; number its segments where they have no length, and the file tells no numbers."""
    facts, starts = MODALITIES[modality], item.starts
    if starts is not None and facts.segments and not facts.timed and not starts.any():
        starts = (starts + 1).cumsum(0) - 1
    return replace(item, key=f"{BY_ID}{id_}", starts=starts)


def survey(items: Iterable[EncodedItem], file: Path) -> tuple[list[str], int, int]:
    """Read all items; return ids, the width of values and the most segments of an item, if all can be imported."""
    ids, dims, max_segments = [], set(), 0
    for item in items:
        ids.append(item.key)
        dims.add(len(item.value))
        max_segments = max(max_segments, 0 if item.segments is None else len(item.segments))
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
    own = dict.fromkeys(item.id for item in manifest.items)
    if not any(ids) and len(ids) == len(own):
        return list(own)
    strangers = [id_ or "a row without id" for id_ in ids if id_ not in own]
    if len(strangers) == len(ids) or (strangers and not allow_extra):
        fault = f"{len(strangers)} of {len(ids)} rows are of no item of {manifest.source} ({name_some(strangers)})"
        raise CacheError(f"{file}: {fault}; give them ids like {next(iter(own))}, or leave them out with --allow-extra")
    return [id_ if id_ in own else None for id_ in ids]


def _keep(path: Path, spec: FeatureSpec, items: Iterator[EncodedItem]) -> int:
    """Put items into a cache that it does not hold yet; a new cache is made aside and then appears whole."""
    if path.exists():
        return _append(path, spec, items)
    room = partial_beside(path)  # a folder, since a cache is opened by its suffix
    try:
        imported = _append(room / path.name, spec, items)
        with kept_free(path) as free:
            if not free or path.exists():
                raise CacheError(f"cache {path} is being made by another process meanwhile; import again after it")
            with atomic(path, room / path.name):
                return imported
    finally:
        with suppress(OSError):  # `emoclim cache gc` finds what is left
            remove(room)


def _append(path: Path, spec: FeatureSpec, items: Iterator[EncodedItem]) -> int:
    with open_cache(path, spec) as cache:
        before = cache.keys()
        new = (item for item in items if item.key not in before)
        while some := list(islice(new, COMMIT_ITEMS)):
            cache.append(some)
        return len(cache) - len(before)


def _note(cache: Path, spec: FeatureSpec, manifest: Manifest, origin: str, imported: int) -> tuple[str, ...]:
    """Write the note and the table of items beside a cache; return the ids of the items without features."""
    note = note_or_new(CacheNote(cache, spec, origin, {}))
    if imported:
        note = note.with_run(provenance(), imported)
    note = note.with_source(manifest, not annotated_items(manifest.items))
    with open_cache(cache) as opened:
        states = item_statuses(manifest.items, lambda item: f"{BY_ID}{item.id}", opened.keys(), {})
    write_item_table(cache, note.sources[-1].name, states)
    note.save()
    return tuple(state.id for state in states if state.state == "missing")
