"""Rank a cached library by its likeness to one file (`emoclim search`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic_core import to_jsonable_python

from emoclim.cache import CacheNote, MemoryCache
from emoclim.config import Average
from emoclim.data import ContentKeys, Features, Item, Manifest
from emoclim.errors import CacheError, ManifestError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.find_caches import encoder_of
from emoclim.pipeline.library import Library, open_library, read_features
from emoclim.pipeline.machine import choose_device
from emoclim.pipeline.training.trained_runs import Run, open_run, trained_library, trained_note
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.stages import extract, search


@dataclass(frozen=True, slots=True)
class Found:
    """A hit, with what its manifest says of it."""

    rank: int  # from 1
    id: str
    path: Path | None
    label: str | None
    score: float  # cosine of the two embeddings
    start: float | None  # seconds at which its best passage begins; None for what has no segments


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query."""

    query: Path
    run: str
    library: str
    candidates: int  # how many items were ranked
    found: tuple[Found, ...]  # the nearest first

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dict(to_jsonable_python(self))

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per hit."""
        rows: list[tuple[str, ...]] = [("", "path", "label", "score", "passage from")]
        for one in self.found:
            start = "" if one.start is None else f"{one.start:.1f} s"
            rows.append((str(one.rank), _shown(one.path), one.label or "", f"{one.score:.3f}", start))
        return rows


def _shown(path: Path | None) -> str:
    """Return a path as a reader would type it: relative to the current folder where it lies in it."""
    if path is None:
        return ""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def search_file(
    query: Path,
    *,
    top: int = 5,
    library: str | None = None,
    run: str | None = None,
    average: Average = "embeddings",
    workspace: Workspace = Workspace(),
    device: str = "auto",
    track: Track = silent,
) -> SearchResult:
    """Rank a library by its likeness to a file, which need not be part of anything."""
    opened, where = open_run(workspace, run), choose_device(device)
    modality = _modality_of(query, opened)
    keys = workspace.content_keys()
    searched = _library(workspace, opened, modality, library)
    note = trained_note(workspace, opened, modality)
    asked = _imported(query, note, keys) if note.spec.keyed_by_id else _encode(query, note, where, track)
    candidates = read_features(searched, searched.manifest.items, keys, partial=True)
    keys.save()
    items = {item.id: item for item in searched.manifest.items}
    hits = search(asked, candidates, opened.head(), top=top, average=average)
    found = tuple(
        Found(rank, hit.id, items[hit.id].path, items[hit.id].label, hit.score, hit.start)
        for rank, hit in enumerate(hits, start=1)
    )
    return SearchResult(query, opened.folder.name, searched.manifest.name, len(candidates), found)


def _modality_of(query: Path, run: Run) -> Modality:
    """Return which of the run's modalities a file is of, by its suffix."""
    suffixes = {modality: MODALITIES[modality].suffixes for modality in run.heads.specs}
    for modality, known in suffixes.items():
        if query.suffix.lower() in known:
            return modality
    listed = "; ".join(f"{modality}: {' '.join(sorted(known))}" for modality, known in suffixes.items())
    raise ManifestError(f"{query} is of no kind that run {run.folder.name} takes ({listed}); search with one of these")


def _library(workspace: Workspace, run: Run, asked: Modality, name: str | None) -> Library:
    """Open the library that is named, or that of the other modality that the run was trained on."""
    modalities = sorted(run.heads.specs, key=lambda modality: modality == asked)  # the other one first
    if name is None:
        return trained_library(workspace, run, modalities[0])
    notes = [trained_note(workspace, run, modality) for modality in modalities]
    for note in notes:
        for source in reversed(note.sources):
            if name == source.name or source.found_from(note.path) == Path(name).resolve():
                return open_library(note, source)
    there = ", ".join(source.name for note in notes for source in note.sources)
    raise CacheError(f"no library called {name!r} was extracted for run {run.folder.name}; there are: {there}")


def _imported(query: Path, note: CacheNote, keys: ContentKeys) -> Features:
    """Return the imported features of a file; there is no encoder to make others with."""
    for source in reversed(note.sources):
        library, wanted = open_library(note, source), query.resolve()
        # paths are only resolved, which asks the file system, where names agree
        named = [item for item in library.manifest.items if item.path is not None and item.path.name == query.name]
        same = [item for item in named if item.path is not None and item.path.resolve() == wanted]
        if same and len(features := read_features(library, same[:1], keys)):
            return features
    manifests = ", ".join(str(source.found_from(note.path)) for source in note.sources)
    raise CacheError(
        f"features {note.spec.name!r} were imported, so none can be made of {query}; "
        f"search with a file of {manifests}, or train on features of an encoder"
    )


def _encode(query: Path, note: CacheNote, device: torch.device, track: Track) -> Features:
    """Encode a file as the items of a cache were."""
    encoder = encoder_of(note, track)
    manifest = Manifest(query.name, encoder.spec.modality, query, (Item(query.name, query),))
    with MemoryCache(encoder.spec) as cache:
        extraction = extract(manifest, encoder, cache, batch_size=1, device=device)
        if extraction.failures:
            raise ManifestError(f"{query} cannot be used as a query: {extraction.failures[0].reason}")
        return cache.read(sorted(cache.keys()))
