"""Describe caches for `emoclim cache list` and `info`: what each holds, and how it was made."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emoclim.cache import BACKENDS, SHARDS, SUFFIX, CacheManifest, StoreSize, item_table_path, read_item_table
from emoclim.errors import CacheError
from emoclim.pipeline.caches.find import cache_paths, changed_versions, find_cache, note_of, when_noted
from emoclim.pipeline.workspace import Workspace


@dataclass(frozen=True, slots=True)
class CacheState:
    """What one cache holds."""

    path: Path
    note: CacheManifest | None  # None if it cannot be read either
    items: int
    failures: int
    segments: int
    size: int  # bytes on the disk
    changed: datetime  # when anything was last put into it or noted beside it
    writer: str | None  # who is writing it
    problem: str | None  # why it cannot be read

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        sources = () if self.note is None else self.note.sources
        return {
            "name": self.path.stem,
            "path": str(self.path),
            "spec": None if self.note is None else self.note.spec.to_dict(),
            "items": self.items,
            "failures": self.failures,
            "segments": self.segments,
            "bytes": self.size,
            "manifests": [source.name for source in sources],
            "changed": self.changed.isoformat(timespec="seconds"),
            "writer": self.writer,
            "problem": self.problem,
        }

    def row(self) -> tuple[str, ...]:
        """Cells of a table."""
        note = self.note
        known = ("", "", "") if note is None else (note.spec.modality, note.spec.name, str(note.spec.dim))
        counts = (self.items, self.failures, self.segments) if self.problem is None else ("", "", "")
        manifests = "" if note is None else ", ".join(source.name for source in note.sources)
        state = "cannot be read" if self.problem else "writing" if self.writer else ""
        return (self.path.stem, *known, *map(str, counts), shown_size(self.size), manifests, state)


@dataclass(frozen=True, slots=True)
class CacheList:
    """All caches of a workspace, the newest first, those whose shards are not merged yet, and stores of waveforms."""

    caches: tuple[CacheState, ...]
    shards: Mapping[str, int]
    stores: Mapping[Path, StoreSize]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "caches": [cache.to_dict() for cache in self.caches],
            "shards": dict(self.shards),
            "waveforms": [
                {"name": path.name, "path": str(path), "recordings": held.recordings, "bytes": held.n_bytes}
                for path, held in self.stores.items()
            ],
        }

    def table_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one row per cache."""
        names = ("cache", "of", "features", "values", "items", "failed", "segments", "size", "manifests", "state")
        return [names, *(cache.row() for cache in self.caches)]

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = [cache.problem for cache in self.caches if cache.problem]
        lines += [f"{cache.path.stem} is being written by {cache.writer}" for cache in self.caches if cache.writer]
        lines += [
            f"{name} has {count} shards; join them with: emoclim cache merge {name}"
            for name, count in self.shards.items()
        ]
        for path, (recordings, size) in self.stores.items():
            lines.append(
                f"{path.name}: {recordings} decoded recordings, {shown_size(size)}, for train-end-to-end --store"
            )
        return lines


@dataclass(frozen=True, slots=True)
class CacheDetails:
    """Everything known of one cache."""

    state: CacheState
    note: CacheManifest
    manifests: Mapping[str, Mapping[str, int]]  # by name, how many items are in each state; empty without its table
    warnings: tuple[str, ...]  # what is not as it was when the features were made

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        made = [dict(run) for run in self.note.made]
        return self.state.to_dict() | {
            "manifests": {name: dict(counts) for name, counts in self.manifests.items()},
            "made": made,
            "warnings": list(self.warnings),
        }

    def spec_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one row per entry of the spec."""
        spec = self.note.spec
        plain = {"modality": spec.modality, "features": spec.name, "dim": spec.dim, "checkpoint": spec.checkpoint}
        return [("entry", "value"), *((name, str(value)) for name, value in (plain | dict(spec.settings)).items())]

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        state = self.state
        lines = [
            f"{state.path}: {state.items} items, {state.failures} failed, {state.segments} segments, "
            f"{shown_size(state.size)}"
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


def list_caches(workspace: Workspace = Workspace()) -> CacheList:  # noqa: B008 - immutable
    """Describe all caches of a workspace; one that cannot be read is told, and stops nothing."""
    folders = sorted(workspace.caches.glob(f"*{SHARDS}"))
    shards = {folder.stem: sum(path.suffix in BACKENDS for path in folder.iterdir()) for folder in folders}
    unmerged = {name: count for name, count in shards.items() if count}
    stores = {path: StoreSize.of(path) for path in sorted(workspace.caches.glob(f"*{SUFFIX}"))}
    return CacheList(tuple(map(_state, cache_paths(workspace))), unmerged, stores)


def describe_cache(name: str, workspace: Workspace = Workspace()) -> CacheDetails:  # noqa: B008 - immutable
    """Describe the one cache that is called so; one that cannot be read raises :class:`CacheError`."""
    note = find_cache(workspace, name)
    state = _state(note.path)
    if state.problem:
        raise CacheError(state.problem)
    counts: dict[str, Mapping[str, int]] = {}
    for source in note.sources:
        path = item_table_path(note.path, source.name)
        counts[source.name] = Counter(item.state for item in read_item_table(path)) if path.is_file() else {}
    return CacheDetails(state, note, counts, tuple(changed_versions(note)))


def shown_size(size: float) -> str:
    """A number of bytes for a reader: ``"1.5 MB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _state(path: Path) -> CacheState:
    from emoclim.cache import open_cache, who_writes  # where there is no cache, listing them takes no numpy

    changed = datetime.fromtimestamp(when_noted(path), UTC)
    writer = who_writes(path)
    told = None if writer is None else str(writer)
    note, held, problem = None, (0, 0, 0), None
    try:
        note = note_of(path)
        with open_cache(path) as cache:
            held = (len(cache), len(cache.failures()), cache.n_segments)
    except CacheError as error:
        problem = str(error)
    return CacheState(path, note, *held, size_of(path), changed, told, problem)
