"""Caches and the manifests that were extracted into them.

Beside each cache ``<name>.h5`` lies a note ``<name>.h5.json``: the encoder that filled it, and the manifests it was
filled from, oldest first. The cache whose note was written last is the newest.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emoclim.data import FeatureSpec, Manifest, Setting
from emoclim.errors import CacheError
from emoclim.files import read_json, write_json
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.workspace import Workspace, provenance

log = logging.getLogger(__name__)

SHARDS = ".shards"  # suffix of the folder with the shards of a cache
WRITE_ANEW = "extract or import its manifest again to write it anew"


@dataclass(frozen=True, slots=True)
class Source:
    """A manifest that was extracted into a cache; its path is relative to the cache if both are in one workspace."""

    name: str
    path: str
    digest: str
    unlabelled: bool

    def found_from(self, cache: Path) -> Path:
        """Where the manifest lies, given where the cache does."""
        return (cache.parent / self.path).resolve()


@dataclass(frozen=True, slots=True)
class NoteContent:
    """What a note holds as JSON."""

    spec: dict[str, Any]
    checkpoint: str | None
    settings: dict[str, Any]
    sources: list[Source]
    made: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CacheNote:
    """What lies beside a cache."""

    path: Path
    spec: FeatureSpec
    checkpoint: str | None  # file of the encoder's parameters, as it was given; None for the published one, or for none
    settings: Mapping[str, Setting]
    sources: tuple[Source, ...] = ()
    # time, command, versions and number of items of each run that encoded any, the newest last
    made: tuple[Mapping[str, Any], ...] = ()

    def save(self) -> None:
        """Write the note; this makes its cache the newest."""
        content = {
            "spec": self.spec.to_dict(),
            "checkpoint": self.checkpoint,
            "settings": dict(self.settings),
            "sources": [asdict(source) for source in self.sources],
            "made": list(self.made),
        }
        write_json(note_path(self.path), content)

    def with_run(self, encoded: int | None) -> "CacheNote":
        """The note with this process as the newest run, which encoded so many items; None while it has not ended."""
        return replace(self, made=(*self.made, provenance() | {"encoded": encoded}))

    def with_source(self, manifest: Manifest, unlabelled: bool) -> "CacheNote":
        """The note with a manifest as its newest source."""
        path = portable_path(manifest.source, self.path)
        others = tuple(known for known in self.sources if known.path != path)
        known_as = next((known.name for known in self.sources if known.path == path), manifest.name)
        if any(known.name == known_as for known in others):  # two files of one name, in different folders
            known_as = f"{manifest.name}-{hashlib.sha256(path.encode()).hexdigest()[:6]}"
        source = Source(known_as, path, manifest_digest(manifest), unlabelled)
        return replace(self, sources=(*others, source))


def note_path(cache: Path) -> Path:
    """Where the note of a cache lies."""
    return cache.with_name(f"{cache.name}.json")


def portable_path(path: Path, cache: Path) -> str:
    """How a note beside a cache names a file: relative to the cache's folder within the workspace, else absolute."""
    folder, full = cache.parent.resolve(), path.resolve()
    workspace = folder.parent.parent if folder.suffix == SHARDS else folder.parent
    return os.path.relpath(full, folder) if full.is_relative_to(workspace) else str(full)


def manifest_digest(manifest: Manifest) -> str:
    """12 hex digits of what a manifest says of its items."""
    rows = [(item.id, item.label, item.tags, item.split, item.group) for item in manifest.items]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def read_note(cache: Path) -> CacheNote:
    """Read the note beside a cache."""
    content = read_json(note_path(cache), CacheError, WRITE_ANEW, NoteContent)
    try:
        spec = FeatureSpec.from_dict(content.spec)
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"the spec in {note_path(cache)} is none ({error}); {WRITE_ANEW}") from error
    return CacheNote(cache, spec, content.checkpoint, content.settings, tuple(content.sources), tuple(content.made))


def note_or_new(new: CacheNote) -> CacheNote:
    """Read the note beside a cache that is about to be filled; a missing or damaged one is begun anew as `new`."""
    if not note_path(new.path).exists():
        return new
    try:
        return read_note(new.path)
    except CacheError:
        log.warning("%s is damaged, and is begun anew without other manifests and runs", note_path(new.path))
        return new


def notes(workspace: Workspace, modality: Modality) -> list[CacheNote]:
    """Notes of all caches of a modality, the newest first."""
    found = [path for suffix in (".h5", ".zarr") for path in workspace.caches.glob(f"{modality}-*{suffix}")]
    noted = [path for path in found if note_path(path).is_file()]
    noted.sort(key=lambda path: note_path(path).stat().st_mtime_ns, reverse=True)
    return [read_note(path) for path in noted]


def find_note(workspace: Workspace, modality: Modality, name: str | None) -> CacheNote:
    """The newest cache of a modality, or the newest whose stem, encoder or manifest is called `name`."""
    found = notes(workspace, modality)
    for note in found:
        names = {
            note.path.stem,
            note.path.name,
            str(note.path),
            note.spec.name,
            *(source.name for source in note.sources),
        }
        if name is None or name in names:
            return note
    what = f"{modality} cache" if name is None else f"{modality} cache called {name!r}"
    there = f" (there are: {', '.join(note.path.stem for note in found)})" if found else ""
    raise CacheError(
        f"there is no {what} in {workspace.caches}{there}; make one with: emoclim extract {MODALITIES[modality].folder}"
    )
