"""Rank a cached library by its likeness to files (`emoclim search`)."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from emoclim.cache import CacheNote, SourceRef
from emoclim.config import Average
from emoclim.data import Features, Item, is_text
from emoclim.encoders import choose_device
from emoclim.errors import CacheError, ManifestError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.library import Library, open_library, read_features
from emoclim.pipeline.searching.emotions import fit_emotion_reader
from emoclim.pipeline.searching.queries import CopyFinder, QueryReader, item_of, list_queries, modality_of
from emoclim.pipeline.searching.result import Answers, Emotions, FailedQuery, Found, SearchResult
from emoclim.pipeline.training.trained_runs import open_run, trained_library, trained_note
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.stages import EmotionReader, Gallery, Hit

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Searched:
    """A library that is searched."""

    name: str
    modality: Modality
    items: Mapping[str, Item]  # by id
    gallery: Gallery
    copies: CopyFinder


class Searcher:
    """Answers queries, with a run and its libraries opened once.

    `library` names one that was extracted for the run; None searches those the run was trained on, of the modality that
    a query is not of. `head` is the number of a pair; None takes the run's best.
    """

    def __init__(
        self,
        workspace: Workspace = Workspace(),
        run: str | None = None,
        *,
        head: int | None = None,
        library: str | None = None,
        average: Average = "embeddings",
        device: str = "auto",
        track: Track = silent,
    ) -> None:
        self._run, self._device = open_run(workspace, run), choose_device(device)
        self._heads, self._head = self._run.head(head), self._run.chosen if head is None else head
        self._workspace, self._name, self._average, self._track = workspace, library, average, track
        self._keys = workspace.content_keys()
        self._readers: dict[Modality, QueryReader] = {}
        self._searched: dict[Modality, _Searched] = {}
        self._libraries: dict[tuple[Path, str], Library] = {}
        if caution := self._run.caution(self._head):
            log.warning(caution)

    def search(self, queries: Iterable[Path | str], *, top: int = 5) -> Answers:
        """Rank a library by its likeness to each file, file of a folder, or words; none need be part of anything."""
        listed = list(dict.fromkeys(one for query in queries for one in self._listed(query)))
        tracked = self._track(listed, "search", len(listed)) if len(listed) > 1 else listed
        answers = Answers(tuple(self._answer(one, top) for one in tracked))
        self._keys.save()
        if not answers.results:
            raise ManifestError(
                "; ".join(answers.failures) or "there is nothing to search with; name a file, or give words with --text"
            )
        return answers

    def _listed(self, query: Path | str) -> Sequence[Path | str | FailedQuery]:
        try:
            return [query] if isinstance(query, str) else list_queries(query, list(self._heads.specs))
        except ManifestError as error:
            return [FailedQuery(query, error)]

    def _answer(self, query: Path | str | FailedQuery, top: int) -> SearchResult | FailedQuery:
        if isinstance(query, FailedQuery):
            return query
        try:
            modality = modality_of(query, list(self._heads.specs))
        except ManifestError as error:
            return FailedQuery(query, error)
        reader, opened = self._reader(modality), self._search_in(modality)
        try:
            asked = reader.read(query)
        except (ManifestError, CacheError) as error:
            return FailedQuery(query, error)
        alike = modality == opened.modality or (
            isinstance(query, Path) and query.suffix.lower() in MODALITIES[opened.modality].suffixes
        )
        copies = opened.copies.find_ids(query) if alike else frozenset[str]()
        hits = opened.gallery.search(asked, top=top, exclude=[copies])[0]
        (own, *read) = self._read([asked, opened.gallery.select(hits)])
        found = tuple(
            self._found(rank, hit, opened, item_of(query), modality, emotions)
            for rank, (hit, emotions) in enumerate(zip(hits, read, strict=True), start=1)
        )
        left_out = sorted(copies.intersection(opened.gallery.candidates.ids))
        ranked = len(opened.gallery.candidates) - len(left_out)
        return SearchResult(
            query,
            run=self._run.folder.name,
            head=self._head,
            library=opened.name,
            candidates=ranked,
            left_out=tuple(left_out),
            emotions=own,
            found=found,
        )

    def _found(
        self, rank: int, hit: Hit, opened: _Searched, asked: Item, modality: Modality, emotions: Emotions | None
    ) -> Found:
        """Say of a hit what its manifest does, and which passages of it and of the query are nearest."""
        item, several = opened.items[hit.id], hit.query_start is not None
        return Found(
            rank=rank,
            id=hit.id,
            path=item.path,
            label=item.label,
            score=hit.score,
            percentile=hit.percentile,
            emotions=emotions,
            start=hit.start,
            place=_place(opened.modality, hit.start),
            text=self._reader(opened.modality).text_of(item, hit.start) if is_text(item) else None,
            query_start=hit.query_start,
            query_place=_place(modality, hit.query_start),
            query_text=self._reader(modality).text_of(asked, hit.query_start) if several else None,
        )

    def _read(self, tables: Iterable[Features]) -> list[Emotions | None]:
        """Read the emotions of each item of some features."""
        if self._emotions is None:
            return [None for features in tables for _ in features.ids]
        return [emotions for features in tables for emotions in self._emotions.read(features)]

    def _reader(self, modality: Modality) -> QueryReader:
        if modality not in self._readers:
            note = trained_note(self._workspace, self._run, modality)
            self._readers[modality] = QueryReader(note, self._open, self._keys, self._device, self._track)
        return self._readers[modality]

    def _search_in(self, asked: Modality) -> _Searched:
        """Make ready the library that queries of a modality are searched in."""
        if asked not in self._searched:
            library = self._library(asked)
            manifest = library.manifest
            candidates = read_features(library, manifest.items, self._keys, partial=True)
            items = {item.id: item for item in manifest.items}
            gallery = Gallery(candidates, self._heads, self._average)
            copies = CopyFinder(manifest.items, self._keys)
            self._searched[asked] = _Searched(manifest.name, manifest.modality, items, gallery, copies)
        return self._searched[asked]

    @cached_property
    def _emotions(self) -> EmotionReader | None:
        return fit_emotion_reader(self._run, self._trained_on, self._heads, self._average, self._keys)

    def _library(self, asked: Modality) -> Library:
        """Open the library that is named, or that of the other modality that the run was trained on."""
        run, name = self._run, self._name
        modalities = sorted(run.heads.specs, key=lambda modality: modality == asked)  # the other one first
        if name is None:
            return self._trained_on(modalities[0])
        notes = [trained_note(self._workspace, run, modality) for modality in modalities]
        for note in notes:
            for source in reversed(note.sources):
                if name == source.name or source.found_from(note.path).resolve() == Path(name).resolve():
                    return self._open(note, source)
        there = ", ".join(source.name for note in notes for source in note.sources)
        raise CacheError(f"no library called {name!r} was extracted for run {run.folder.name}; there are: {there}")

    def _trained_on(self, modality: Modality) -> Library:
        """Open the library that the run was trained on."""
        return trained_library(self._workspace, self._run, modality, self._open)

    def _open(self, note: CacheNote, source: SourceRef) -> Library:
        """Open a library once, so that it is read, and what is told of it is told, once."""
        key = note.path, source.path
        if key not in self._libraries:
            self._libraries[key] = open_library(note, source)
        return self._libraries[key]


def _place(modality: Modality, start: float | None) -> str:
    return "" if start is None else MODALITIES[modality].place(start)
