"""Find the index of a library that is as library and cache are now, or make it so."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from emoclim.cache import CacheNote, SourceRef, WriterLock, ledger_digest, open_cache, portable_path
from emoclim.config import Average
from emoclim.data import NO_UTF8, ContentKeys, Fingerprint, Item, list_folder
from emoclim.errors import CacheError, DecodeError, name_some, reason_of
from emoclim.files import open_regular
from emoclim.index import (
    FORMAT,
    NOTHING,
    Index,
    IndexedLibrary,
    Source,
    build_index,
    file_state,
    read_index,
    tidy,
)
from emoclim.pipeline.held import find_held, tell_left_out
from emoclim.pipeline.library import Library, tell_changed
from emoclim.pipeline.searching.libraries import Libraries
from emoclim.pipeline.searching.spaces import JointSpace
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Indexed:
    """A library that was indexed as it is now."""

    index: Index
    note: CacheNote
    source: SourceRef
    name: str
    state: str  # what was done to have it


class Indexes:
    """Opens the indexes of a workspace, each once."""

    def __init__(self, workspace: Workspace, average: Average, libraries: Libraries, track: Track) -> None:
        self._workspace, self._average, self._libraries, self._track = workspace, average, libraries, track
        self._opened: dict[Path, Indexed] = {}

    def open(self, space: JointSpace, note: CacheNote, place: SourceRef | Path) -> Indexed:
        """Open the index of a library in a space; what it lacks is encoded first, and put into it."""
        path = place if isinstance(place, Path) else place.found_from(note.path)
        folder, key = self._named(space, note, path)
        if folder not in self._opened:
            content = content_digest(path)  # of what is read after it
            found = self._fresh(folder, note, place, path, content)
            if found is None:
                found = self._make(space, folder, key, self._libraries.open(note, place), content)
            self._opened[folder] = found
        return self._opened[folder]

    def _named(self, space: JointSpace, note: CacheNote, path: Path) -> tuple[Path, dict[str, Any]]:
        """Say where an index lies, and what it is of."""
        caches = self._workspace.caches
        key: dict[str, Any] = {
            "format": FORMAT,
            "space": space.identity,
            "average": self._average,
            "features": note.spec.digest(),
            "cache": note.path.name,
            "library": portable_path(path, caches),
        }
        key = json.loads(json.dumps(key))  # as it is read again
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode(errors="surrogateescape")).hexdigest()[:12]
        return caches / "index" / f"{note.spec.modality}-{note.spec.name}-{digest}", key

    def _fresh(
        self, folder: Path, note: CacheNote, place: SourceRef | Path, path: Path, content: str
    ) -> Indexed | None:
        """Open an index if all is as it was when it was made."""
        index = _read(folder, path)
        full = path.resolve()
        source = next((one for one in note.sources if one.found_from(note.path).resolve() == full), None)
        if index is None or source is None or not note.path.exists():
            return None
        was, as_is = index.note.source, isinstance(place, Path)
        if was.unlabelled != source.unlabelled or was.content != content:
            return None
        if as_is and (was.lacking or was.manifest != source.digest):  # what lacks is to be encoded
            return None
        if was.ledger != ledger_digest(note.path):
            return None
        if not note.spec.keyed_by_id and (index.items.changed_file() or index.others.changed_file()):
            return None
        if was.no_utf8:
            log.warning("%s: left out %d: %s (%s)", path, len(was.no_utf8), NO_UTF8, name_some(was.no_utf8))
        tell_changed(source, was.manifest, path, note)
        tell_left_out(path, was.items, was.left_out)
        return Indexed(index, note, source, path.stem if path.is_file() else path.name, "as it was")

    def _make(self, space: JointSpace, folder: Path, key: Mapping[str, Any], library: Library, content: str) -> Indexed:
        """Index a library as it is now, once no other process does."""
        build = partial(self._build, space, key=key, library=library, content=content)
        try:
            lock, waited = lock_index(folder)
        except OSError as error:
            return _aside(build, library, error)
        try:
            source, note = library.source, library.note
            done = self._fresh(folder, note, source, library.manifest.source, content) if waited else None
            return done or build(folder)
        except OSError as error:
            tidy(folder)
            return _aside(build, library, error)
        finally:
            lock.release()

    def _build(
        self, space: JointSpace, folder: Path, *, key: Mapping[str, Any], library: Library, content: str
    ) -> Indexed:
        note, manifest, keys = library.note, library.manifest, self._libraries.keys
        ledger = ledger_digest(note.path)
        with open_cache(note.path) as cache:
            held = find_held(note.spec, manifest.items, keys, cache)
            tell_left_out(manifest.source, len(manifest.items), held.left_out)
            if not held.items:
                raise CacheError(
                    f"none of {manifest.source} can be used, so there is nothing to search in; name another"
                )
            file = partial(_imported if note.spec.keyed_by_id else _as_read, keys)
            heads = space.fit(note, held.keys, cache.read)
            listed = root_of(manifest.source), held.items, held.keys, held.others, file
            made = IndexedLibrary(*listed, cache.read, heads, self._average, space.fitted)
            no_utf8 = [name for name, why in manifest.left_out.items() if why == NO_UTF8]
            counts = len(manifest.items), dict(held.left_out), bool(held.lacking), no_utf8
            source = Source(manifest.digest(), content, ledger, library.source.unlabelled, *counts)
            before = _read(folder, manifest.source)
            had_lists = before is not None and before.lists.is_file()
            index = build_index(folder, key, source, made, before, self._track)
        if had_lists and not index.lists.is_file():
            log.warning("the lists of %s were of items that are gone, so all of it is read; make them anew", folder)
        return Indexed(index, note, library.source, manifest.name, "brought up to date" if before else "made")


def _aside(build: Callable[[Path], Indexed], library: Library, why: OSError) -> Indexed:
    """Index a library where the workspace takes nothing, for this once."""
    told = "the index of %s cannot be kept (%s), so it is made anew at each search; make room, or let it be written"
    log.warning(told, library.manifest.source, reason_of(why))
    try:
        with tempfile.TemporaryDirectory(prefix="emoclim-", ignore_cleanup_errors=True) as room:
            return build(Path(room))  # mapped files stay until they are let go
    except OSError as error:
        raise CacheError(
            f"the index of {library.manifest.source} cannot be written, nor a temporary one ({reason_of(error)}); "
            "make room on the disk"
        ) from error


def lock_index(folder: Path) -> tuple[WriterLock, bool]:
    """Lock an index; wait for another process that does, and tell whether there was one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while True:
        try:
            return WriterLock(folder, "index"), waited
        except CacheError as error:
            if not waited:
                log.warning("waiting, as %s", error)
            waited = True


def _as_read(keys: ContentKeys, item: Item) -> Fingerprint:
    """Say what the file of an item was when it was read; of one that changed since, nothing that a file can be."""
    if item.path is None:
        return NOTHING._replace(digest=keys(item))
    try:
        return keys.fingerprint(item) or NOTHING
    except DecodeError:  # it cannot be read, so that it matters when it is another
        return Fingerprint(*file_state(item.path), "")


def _imported(keys: ContentKeys, item: Item) -> Fingerprint:
    """Say what is known of an item whose features were imported: its text, or the size of its file."""
    if item.path is None:
        return NOTHING._replace(digest=keys(item))
    return NOTHING._replace(size=file_state(item.path)[0])


def root_of(source: Path) -> Path:
    """Return the folder that paths of a manifest are relative to."""
    return source if source.is_dir() else source.parent


def content_digest(source: Path) -> str:
    """Hash a manifest, or the names of what lies in a folder."""
    if source.is_dir():
        listed = json.dumps(list_folder(source)).encode()
        return hashlib.blake2b(listed, digest_size=16).hexdigest()
    if not source.is_file():
        return ""  # whoever reads it tells
    with open_regular(source) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _read(folder: Path, source: Path) -> Index | None:
    """Open an index; one that is damaged is made anew."""
    try:
        return read_index(folder, root_of(source))
    except CacheError as error:
        log.warning("%s", error)
        return None
