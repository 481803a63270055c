"""Open the library that is searched: as it was extracted, or as it is now, where what lacks is encoded first."""

import logging
from pathlib import Path

from emoclim.cache import CacheNote, SourceRef, located, open_cache, read_note
from emoclim.config import ExtractConfig
from emoclim.data import NO_UTF8, read_manifest, with_splits
from emoclim.errors import ManifestError, name_some
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.find_caches import cache_notes
from emoclim.pipeline.held import readable_key
from emoclim.pipeline.library import Library, open_library
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track

log = logging.getLogger(__name__)

Place = tuple[CacheNote, SourceRef | Path]  # of a library: as it was extracted, or a path, with how it is encoded


class Libraries:
    """Opens each library once, so that it is read, and what is told of it is told, once."""

    def __init__(self, workspace: Workspace, device: str, track: Track) -> None:
        self._workspace, self._device, self._track = workspace, device, track
        self.keys = workspace.content_keys()
        self._opened: dict[tuple[Path, Path | str], Library] = {}

    def open(self, note: CacheNote, place: SourceRef | Path) -> Library:
        """Open a library as it was extracted, or that of a path as it is now, of which what lacks is encoded first."""
        key = note.path, place if isinstance(place, Path) else place.path
        if key not in self._opened:
            opened = self._extract(note, place) if isinstance(place, Path) else open_library(note, place)
            if names := [name for name, why in opened.manifest.left_out.items() if why == NO_UTF8]:
                log.warning("%s: left out %d: %s (%s)", opened.manifest.source, len(names), NO_UTF8, name_some(names))
            self._opened[key] = opened
        return self._opened[key]

    def _extract(self, note: CacheNote, path: Path) -> Library:
        """Encode what lacks of a path, as a note says; with labels only if it was extracted with them before."""
        full, others = path.resolve(), cache_notes(self._workspace, note.spec.modality)
        before = [
            (one.path, source)
            for one in others
            for source in one.sources
            if source.found_from(one.path).resolve() == full
        ]
        own = next((source for cache, source in before if cache == note.path), None)
        there = None if own is None else self._as_extracted(path, note, own)
        return there or self._encode(path, note, unlabelled=all(source.unlabelled for _, source in before))

    def _as_extracted(self, path: Path, note: CacheNote, source: SourceRef) -> Library | None:
        """Open a library if it is what it was, and each of its items was encoded, or cannot be."""
        try:
            manifest = with_splits(read_manifest(path, note.spec.modality, unlabelled=source.unlabelled), seed=None)
        except ManifestError:  # extraction tells what is wrong, or splits what is new
            return None
        if manifest.digest() != source.digest:
            return None
        with open_cache(note.path) as cache:
            settled = cache.keys() | cache.failures().keys()
        keys = (readable_key(item, note.spec, self.keys) for item in manifest.items)
        return Library(manifest, note, source) if all(key is None or key in settled for key in keys) else None

    def _encode(self, path: Path, note: CacheNote, *, unlabelled: bool) -> Library:
        config = ExtractConfig(
            encoder=note.spec.name,
            checkpoint=None if note.checkpoint is None else located(note.checkpoint, note.path.parent),
            settings=note.settings,
            unlabelled=unlabelled,
        ).updated(backend=note.path.suffix.removeprefix("."))
        self.keys.save()
        result = extract_features(
            note.spec.modality, path, config, workspace=self._workspace, device=self._device, track=self._track
        )
        self.keys = self._workspace.content_keys()  # of what it read
        for line in result.failed():
            log.warning(line)
        filled = read_note(result.cache)
        return Library(result.manifest, filled, filled.sources[-1])
