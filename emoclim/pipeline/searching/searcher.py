"""Rank a library by its likeness to files and words (`emoclim search`)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Features, Item, Setting, is_text
from emoclim.encoders import choose_device
from emoclim.errors import CacheError, ManifestError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.library import read_features
from emoclim.pipeline.searching.by_words import WordSpace
from emoclim.pipeline.searching.libraries import Libraries, Place
from emoclim.pipeline.searching.mixing import CONTENT, EMOTION, ContentBeside, Mixed
from emoclim.pipeline.searching.places import find_place
from emoclim.pipeline.searching.queries import CopyFinder, QueryReader, item_of, list_queries, modality_of
from emoclim.pipeline.searching.result import Answers, Emotions, FailedQuery, Found, SearchResult
from emoclim.pipeline.searching.spaces import JointSpace, RunSpace
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.stages import Gallery, Hit, Reason

Reasons = tuple[Reason, ...]
_Query = tuple[Path | str, Modality] | FailedQuery


@dataclass(frozen=True, slots=True)
class _Searched:
    """A library that is searched."""

    note: CacheNote
    name: str
    items: Mapping[str, Item]  # by id
    gallery: Gallery
    copies: CopyFinder
    mixed: Mixed | None  # None where scores are those of the gallery alone

    @property
    def modality(self) -> Modality:
        return self.note.spec.modality

    @property
    def ranked(self) -> frozenset[str]:
        return self.mixed.gallery.ranked if self.mixed else frozenset(self.gallery.candidates.ids)

    def copies_of(self, query: Path | str, asked: Modality) -> frozenset[str]:
        suffixes = MODALITIES[self.modality].suffixes
        alike = asked == self.modality or (isinstance(query, Path) and query.suffix.lower() in suffixes)
        return self.copies.find_ids(query) if alike else frozenset()


class Searcher:
    """Answers queries, with a run and its libraries opened once.

    `library` names one that was extracted for the run, or is a folder or manifest, of which what lacks is encoded
    first; None searches those the run was trained on, of the modality that a query is not of. `head` is the number of a
    pair; None takes the run's best. `words` are settings of a comparison by words, without a run; where no run is
    named and none is there, that is taken by itself. `mix` are the shares of ``emotion``, the score of either, and of
    ``content`` in what is ranked by. With `why`, hits say what their scores are made of.
    """

    def __init__(
        self,
        workspace: Workspace = Workspace(),
        run: str | None = None,
        *,
        head: int | None = None,
        library: str | None = None,
        average: Average = "embeddings",
        words: Mapping[str, Setting] | None = None,
        mix: Mapping[str, float] | None = None,
        why: bool = False,
        device: str = "auto",
        track: Track = silent,
    ) -> None:
        self._device, self._name, self._average, self._track = choose_device(device), library, average, track
        self._why = why
        self._libraries = Libraries(workspace, device, track)
        self._space: JointSpace = (
            RunSpace(workspace, run, head, average, self._libraries)
            if words is None and (run is not None or workspace.trained)
            else WordSpace(workspace, words or {}, average, track)
        )
        self._beside: ContentBeside | None = None
        if mix is not None:
            same = {name: value for name, value in (words or {}).items() if name == "encoder"}
            by_content = WordSpace(workspace, same, average, track, "content")
            self._beside = ContentBeside(by_content, mix, average, self._libraries)
        self._places: dict[Modality, Place] = {}
        self._readers: dict[Path, QueryReader] = {}
        self._searched: dict[Modality, _Searched] = {}

    def search(self, queries: Iterable[Path | str], *, top: int = 5) -> Answers:
        """Rank a library by its likeness to each file, file of a folder, or words; none need be part of anything."""
        listed = list(dict.fromkeys(one for query in queries for one in self._listed(query)))
        answered: dict[_Query, SearchResult | FailedQuery] = {}
        for one in listed:  # until each library is open, as long as which another bar may show how far encoding is
            if not isinstance(one, FailedQuery) and one[1] not in self._searched:
                answered[one] = self._answer(one, top)
        rest = [one for one in listed if one not in answered]
        answered |= {one: self._answer(one, top) for one in self._track(rest, "search", len(rest))}
        answers = Answers(tuple(answered[one] for one in listed))
        self._libraries.keys.save()
        if not answers.results:
            raise ManifestError(
                "; ".join(answers.failures) or "there is nothing to search with; name a file, or give words with --text"
            )
        return answers

    def _listed(self, query: Path | str) -> Iterator[_Query]:
        modalities = self._space.modalities
        try:
            files = [query] if isinstance(query, str) else list_queries(query, modalities)
        except ManifestError as error:
            yield FailedQuery(query, error)
            return
        for file in files:
            try:
                yield file, modality_of(file, modalities)
            except ManifestError as error:
                yield FailedQuery(file, error)

    def _answer(self, one: _Query, top: int) -> SearchResult | FailedQuery:
        if isinstance(one, FailedQuery):
            return one
        query, modality = one
        reader = self._reader(self._encoding(modality))
        try:
            asked = reader.read(query)
        except (ManifestError, CacheError) as error:
            return FailedQuery(query, error)
        opened = self._search_in(modality)  # only now: what lacks of it may take long to encode
        copies = opened.copies_of(query, modality)
        try:
            hits, reasons = self._hits(query, asked, opened, top, copies)
        except (ManifestError, CacheError) as error:
            return FailedQuery(query, error)
        tables = asked, opened.gallery.select(hits)
        own, *read = (one for features in tables for one in self._space.read(features, opened.gallery.heads))
        found = tuple(
            self._found(rank, hit, opened, reader, item_of(query), emotions, own_reasons)
            for rank, (hit, emotions, own_reasons) in enumerate(zip(hits, read, reasons, strict=True), start=1)
        )
        return SearchResult(
            query,
            run=self._space.name,
            head=self._space.head,
            encoders={name: spec.name for name, spec in opened.gallery.heads.specs.items()},
            why=self._space.why(opened.gallery.heads),
            mix=opened.mixed.why if opened.mixed else None,
            unexplained=self._unexplained(opened),
            library=opened.name,
            candidates=len(opened.ranked - copies),
            left_out=tuple(sorted(copies.intersection(opened.gallery.candidates.ids))),
            emotions=own,
            found=found,
        )

    def _hits(
        self, query: Path | str, asked: Features, opened: _Searched, top: int, copies: frozenset[str]
    ) -> tuple[list[Hit], list[Reasons]]:
        """Rank the library by its likeness to a query, of content too if scores are mixed; say why, if asked for."""
        if opened.mixed is None:
            hits = opened.gallery.search(asked, top=top, exclude=[copies])[0]
            return hits, opened.gallery.explain(asked, hits) if self._why else [()] * len(hits)
        note, mixed = opened.mixed.note, opened.mixed.gallery
        content = asked if note.spec == asked.spec else self._reader(note).read(query)
        both = {EMOTION: asked, CONTENT: content}
        hits = mixed.search(both, top=top, exclude=[copies])[0]
        return hits, mixed.explain(both, hits, copies) if self._why else [()] * len(hits)

    def _unexplained(self, opened: _Searched) -> str | None:
        """Say why there are no reasons, where they are asked for."""
        if not self._why or opened.mixed or opened.gallery.names:
            return None
        return f"what {self._space.told} compares has no names, dimension by dimension, so no reasons are told"

    def _found(
        self,
        rank: int,
        hit: Hit,
        opened: _Searched,
        reader: QueryReader,
        asked: Item,
        emotions: Emotions | None,
        reasons: Reasons,
    ) -> Found:
        """Say of a hit what its manifest does, and which passages of it and of the query are nearest."""
        item, several = opened.items[hit.id], hit.query_start is not None
        return Found(
            rank=rank,
            id=hit.id,
            path=item.path,
            label=item.label,
            score=hit.score,
            parts=hit.parts,
            percentile=hit.percentile,
            emotions=emotions,
            reasons=reasons,
            start=hit.start,
            place=_told(opened.modality, hit.start),
            text=self._reader(opened.note).text_of(item, hit.start) if is_text(item) else None,
            query_start=hit.query_start,
            query_place=_told(reader.modality, hit.query_start),
            query_text=reader.text_of(asked, hit.query_start) if several else None,
        )

    def _place(self, asked: Modality) -> Place:
        """Find the library that queries of a modality are searched in."""
        if asked not in self._places:
            name, space = self._name, self._space
            found = space.library(asked) if name is None else find_place(name, space, asked)
            self._places[asked] = found
        return self._places[asked]

    def _encoding(self, asked: Modality) -> CacheNote:
        """Say how queries of a modality are encoded: as a library of the same."""
        note, _ = self._place(asked)
        return note if note.spec.modality == asked else self._space.encoding(asked)

    def _reader(self, note: CacheNote) -> QueryReader:
        if note.path not in self._readers:
            libraries = self._libraries
            self._readers[note.path] = QueryReader(note, libraries.open, libraries.keys, self._device, self._track)
        return self._readers[note.path]

    def _search_in(self, asked: Modality) -> _Searched:
        """Make ready the library that queries of a modality are searched in."""
        if asked not in self._searched:
            libraries = self._libraries
            library = libraries.open(*self._place(asked))
            manifest = library.manifest
            candidates = read_features(library, manifest.items, libraries.keys, partial=True)
            if not len(candidates):
                raise CacheError(
                    f"none of {manifest.source} can be used, so there is nothing to search in; name another"
                )
            items = {item.id: item for item in manifest.items}
            gallery = Gallery(candidates, self._space.heads(self._encoding(asked), candidates), self._average)
            mixed = self._beside.mix(gallery, library, self._encoding(asked)) if self._beside else None
            copies = CopyFinder(manifest.items, libraries.keys)
            self._searched[asked] = _Searched(library.note, manifest.name, items, gallery, copies, mixed)
        return self._searched[asked]


def _told(modality: Modality, start: float | None) -> str:
    return "" if start is None else MODALITIES[modality].place(start)
