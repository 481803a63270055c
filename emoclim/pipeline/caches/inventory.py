"""Describe what caches hold and how they were made: `emoclim cache list` and `info`. Loads no torch."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from typing import Any

from pydantic_core import to_jsonable_python

from emoclim.cache import (
    BACKENDS,
    SHARDS,
    STATES,
    WAVEFORMS,
    CacheNote,
    StoreSize,
    item_table_path,
    status_columns,
    who_writes,
)
from emoclim.data import FeatureSpec
from emoclim.errors import CacheError
from emoclim.pipeline.find_caches import (
    cache_paths,
    changed_versions,
    find_cache,
    folders_of,
    listed,
    note_of,
    when_noted,
)
from emoclim.pipeline.workspace import Workspace


@dataclass(frozen=True, slots=True)
class CacheState:
    """What one cache holds."""

    name: str
    path: Path
    spec: FeatureSpec | None  # None if the cache cannot be read, and neither can its note
    items: int
    failures: int
    segments: int
    bytes: int  # on the disk
    manifests: tuple[str, ...]
    changed: str  # when anything was last put into it or noted beside it, in ISO 8601
    writer: str | None  # who is writing it
    problem: str | None  # why it cannot be read

    def row(self) -> tuple[str, ...]:
        """Return the cells of a table."""
        known = (self.spec.modality, self.spec.name, str(self.spec.dim)) if self.spec else ("", "", "")
        counts = ("", "", "") if self.problem else (self.items, self.failures, self.segments)
        state = "cannot be read" if self.problem else "writing" if self.writer else ""
        return (self.name, *known, *map(str, counts), shown_size(self.bytes), ", ".join(self.manifests), state)


@dataclass(frozen=True, slots=True)
class CacheList:
    """All caches of a workspace, the newest first, those whose shards are not merged yet, and stores of waveforms."""

    caches: tuple[CacheState, ...]
    shards: Mapping[str, int]
    waveforms: tuple[Mapping[str, Any], ...]  # of each store of decoded recordings: name, path, recordings, bytes

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per cache."""
        names = ("cache", "of", "features", "values", "items", "failed", "segments", "size", "manifests", "state")
        return [names, *(cache.row() for cache in self.caches)]

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        lines = [cache.problem for cache in self.caches if cache.problem]
        lines += [f"{cache.name} is being written by {cache.writer}" for cache in self.caches if cache.writer]
        join, remove = "join them with: emoclim cache merge", "once that is done, emoclim cache gc finds them"
        lines += [f"{name} has {count} shards; {join} {name}; {remove}" for name, count in self.shards.items()]
        for store in self.waveforms:
            held = f"{store['recordings']} decoded recordings, {shown_size(store['bytes'])}"
            lines.append(f"{store['name']}: {held}, for train-end-to-end --store")
        return lines


@dataclass(frozen=True, slots=True)
class CacheDetails:
    """Everything known of one cache."""

    state: CacheState
    note: CacheNote
    manifests: Mapping[str, Mapping[str, int]]  # by name, how many items are in each state; empty without its table
    warnings: tuple[str, ...]  # what is not as it was when the features were made

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        more = {"manifests": self.manifests, "made": self.note.made, "warnings": self.warnings}
        return dict(to_jsonable_python(self.state)) | more

    def spec_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per entry of the spec."""
        spec = self.note.spec
        plain = {"modality": spec.modality, "features": spec.name, "dim": spec.dim, "checkpoint": spec.checkpoint}
        return [("entry", "value"), *((name, str(value)) for name, value in (plain | dict(spec.settings)).items())]

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        state = self.state
        lines = [
            f"{state.path}: {state.items} items, {state.failures} failed, {state.segments} segments, "
            f"{shown_size(state.bytes)}"
        ]
        if state.writer:
            lines.append(f"it is being written by {state.writer}")
        for source in self.note.sources:
            counts = self.manifests[source.name]
            told = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no table of its items"
            lines.append(f"manifest {source.name} ({source.found_from(state.path)}): {told}")
        for run in self.note.made:
            versions = run.get("versions", {})
            told = ", ".join(f"{name} {versions[name]}" for name in ("emoclim", "python", "torch") if name in versions)
            number = "an unknown number of" if run.get("encoded") is None else run["encoded"]
            lines.append(f"{number} items made at {str(run.get('time'))[:19]} UTC with {told}")
        return [*lines, *self.warnings]


def list_caches(workspace: Workspace) -> CacheList:
    """Describe all caches of a workspace; one that cannot be read is told, and stops nothing."""
    folders = folders_of(workspace, SHARDS)
    shards = {folder.stem: sum(path.suffix in BACKENDS for path in listed(folder)) for folder in folders}
    unmerged = {name: count for name, count in shards.items() if count}
    sizes = {path: StoreSize.of(path) for path in folders_of(workspace, WAVEFORMS)}
    stores = [
        {"name": path.name, "path": path, "recordings": size.recordings, "bytes": size.n_bytes}
        for path, size in sizes.items()
    ]
    return CacheList(tuple(map(_state, cache_paths(workspace))), unmerged, tuple(stores))


def describe_cache(name: str, workspace: Workspace) -> CacheDetails:
    """Describe the one cache that is called so; one that cannot be read raises :class:`CacheError`."""
    note = find_cache(workspace, name)
    state = _state(note.path)
    if state.problem:
        raise CacheError(state.problem)
    counts: dict[str, Mapping[str, int]] = {}
    for source in note.sources:
        path = item_table_path(note.path, source.name)
        counts[source.name] = _count_states(path) if path.is_file() else {}
    return CacheDetails(state, note, counts, tuple(changed_versions(note)))


def _count_states(table: Path) -> dict[str, int]:
    counts = Counter[str]()
    for _, states, _ in status_columns(table):
        counts.update({state: int(states.are(state).sum()) for state in STATES})
    return {state: count for state, count in counts.items() if count}


def shown_size(size: float) -> str:
    """Show a number of bytes: ``"1.5 MB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def size_of(path: Path) -> int:
    """Count the bytes of a file, or of all files of a folder."""
    return sum(one.st_size for one in looked_at(path, Path.stat) if S_ISREG(one.st_mode))


def looked_at(path: Path, look: Callable[[Path], os.stat_result]) -> Iterator[os.stat_result]:
    """Look at a file or folder and at all below it, but for what cannot be looked at, or is removed meanwhile."""
    below = (Path(folder, name) for folder, folders, names in os.walk(path) for name in (*folders, *names))
    for place in chain([path], below):
        with suppress(OSError):
            yield look(place)


def _state(path: Path) -> CacheState:
    changed = datetime.fromtimestamp(when_noted(path), UTC).isoformat(timespec="seconds")
    writer = who_writes(path)
    spec: FeatureSpec | None = None
    manifests: tuple[str, ...] = ()
    held, problem = (0, 0, 0), None
    from emoclim.cache import open_cache  # which loads numpy

    try:
        note = note_of(path)
        spec, manifests = note.spec, tuple(source.name for source in note.sources)
        with open_cache(path) as cache:
            held = (len(cache), len(cache.failures()), cache.n_segments)
    except CacheError as error:
        problem = str(error)
    told = None if writer is None else str(writer)
    return CacheState(path.stem, path, spec, *held, size_of(path), manifests, changed, told, problem)
