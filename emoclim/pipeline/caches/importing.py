"""Import features that other programs made into a cache that is used like that of any encoder: `emoclim cache import`.

Items are known by their ids, for the features may be at hand where the files are not. A new cache is made aside, and
before one that is there gets anything, all numbers are looked at: whatever is refused or stopped leaves no trace.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.cache import (
    CacheNote,
    kept_free,
    keys_by_id,
    note_or_new,
    open_cache,
    portable_path,
    write_imported_table,
)
from emoclim.config import ImportConfig
from emoclim.data import VIEWS, Features, FeatureSpec, Manifest, Setting, Texts, annotated_items, ids_of, read_manifest
from emoclim.errors import CacheError, ConfigError, name_some
from emoclim.files import atomic, partial_beside, remove
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.caches.feature_tables import Block, find_files, identity_of
from emoclim.pipeline.caches.matching import NONE, Given, find_rows, read_numbers, survey
from emoclim.pipeline.library import split_manifest
from emoclim.pipeline.machine import provenance
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

NAME = re.compile(r"[\w][\w.+-]*")
COMMIT_ITEMS = 1 << 16


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
    given = Given(file, find_files(file), config.values)
    with ThreadPoolExecutor(1) as beside:
        identity = beside.submit(identity_of, file, given.files)
        seen, places = find_rows(given, manifest, track, allow_extra=config.allow_extra)
    ids = ids_of(manifest.items)
    if seen.max_segments and not MODALITIES[modality].segments:
        own[VIEWS] = seen.max_segments
    notes = [f"{manifest.source}: {note}" for note in manifest.notes]
    if not seen.ids.lengths().any():
        notes.append(f"{file} has no ids: its rows were taken in the order of {manifest.source}")
        own["order"] = hashlib.sha256(os.fsencode("\n".join(ids))).hexdigest()[:12]
    spec = FeatureSpec(name, modality, seen.dim, identity.result(), {**config.settings, **own})
    cache = workspace.cache_path(spec, f".{config.backend}")
    if cache.exists() and not seen.whole:
        seen = survey(given, track)
    split = partial(split_manifest, keys=workspace.content_keys(), track=track, seed=config.seed)
    manifest = split(manifest) if seen.whole else manifest
    with _made_aside(cache) as place:
        parts = _named(read_numbers(given, seen, track), ids, places, spec)
        imported = _append(place, spec, parts, n_items := int((places != NONE).sum()))
        manifest = manifest if seen.whole else split(manifest)  # which may write a file, where no number is refused
    there = np.isin(np.arange(len(ids)), places)
    _note(cache, spec, manifest, portable_path(file, cache.parent), imported, there)
    return ImportResult(
        file=file,
        manifest=manifest.source,
        spec=spec,
        cache=cache,
        items=len(manifest.items),
        imported=imported,
        reused=n_items - imported,
        missing=tuple(Texts.of(ids).take(np.flatnonzero(~there))),
        left_out=tuple(seen.ids.take(np.flatnonzero(places == NONE))),
        notes=tuple(notes),
    )


def _named(
    blocks: Iterable[Block], ids: Sequence[str], places: NDArray[np.int64], spec: FeatureSpec
) -> Iterator[Features]:
    """Name the items of blocks by their places among ids, a commit at a time, without those that have none."""
    first, known = 0, Texts.of(ids)
    for block in blocks:
        own = places[first : first + len(block.ids)]
        first += len(own)
        features = Features(spec, keys_by_id(known.take(own)), block.values, seconds=block.seconds)
        if len(block.segments):
            starts = _numbered(block, spec.modality)
            features = replace(features, segments=block.segments, offsets=block.offsets, starts=starts)
        rows = torch.from_numpy(np.flatnonzero(own != NONE))
        if len(rows) == len(own) <= COMMIT_ITEMS:
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


@contextmanager
def _made_aside(path: Path) -> Iterator[Path]:
    """Yield where to fill a cache: in its place if it is there; a new one is made aside, and appears whole."""
    if path.exists():
        yield path
        return
    begun = not path.parent.exists()
    room = partial_beside(path)  # a folder, since a cache is opened by its suffix
    try:
        yield room / path.name
        with kept_free(path) as free:
            if not free or path.exists():
                raise CacheError(f"cache {path} is being made by another process meanwhile; import again after it")
            with atomic(path, room / path.name):
                pass
    finally:
        with suppress(OSError):  # `emoclim cache gc` finds what is left
            remove(room)
            if begun and not path.exists():
                path.parent.rmdir()


def _append(path: Path, spec: FeatureSpec, parts: Iterator[Features], n_items: int) -> int:
    """Put items into a cache that it does not hold yet; return how many."""
    with open_cache(path, spec) as cache:
        before = len(cache)
        cache.reserve(n_items - before)
        for part in parts:
            new = torch.from_numpy(np.flatnonzero(~cache.holds(part.ids))) if before else part.ids
            cache.append_features(part.select(new) if isinstance(new, torch.Tensor) and len(new) < len(part) else part)
        return len(cache) - before


def _note(
    cache: Path, spec: FeatureSpec, manifest: Manifest, origin: str, imported: int, there: NDArray[np.bool_]
) -> None:
    """Write the note and the table of items beside a cache, by whether each item is `there`."""
    note = note_or_new(CacheNote(cache, spec, origin, {}))
    if imported:
        note = note.with_run(provenance(), imported)
    note = note.with_source(manifest, not annotated_items(manifest.items))
    write_imported_table(cache, note.sources[-1].name, ids_of(manifest.items), there)
    note.save()
