"""Rank a library by its likeness to files and words (`emoclim search`)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Features, Item, Setting, is_text
from emoclim.encoders import choose_device
from emoclim.errors import CacheError, ManifestError
from emoclim.index import Filters
from emoclim.learning import Heads
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.library import Library, read_features
from emoclim.pipeline.searching.by_words import WordSpace
from emoclim.pipeline.searching.libraries import Libraries, Place
from emoclim.pipeline.searching.mixing import CONTENT, EMOTION, ContentBeside, Mixed, check_mix
from emoclim.pipeline.searching.places import find_place
from emoclim.pipeline.searching.queries import CopyFinder, Limit, QueryReader, item_of, list_queries, modality_of
from emoclim.pipeline.searching.result import Answers, Emotions, FailedQuery, Found, SearchResult
from emoclim.pipeline.searching.spaces import JointSpace, RunSpace
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.stages import Gallery, Hit, Reason, embed, embed_query

Reasons = tuple[Reason, ...]
_Query = tuple[Path | str, Modality] | FailedQuery


@dataclass(frozen=True, slots=True)
class _Searched:
    """A library that is searched."""

    note: CacheNote
    name: str
    items: Mapping[str, Item]  # by id
    library: Library
    candidates: Features
    heads: Heads
    gallery: Gallery
    copies: CopyFinder
    emotions: Callable[[], Sequence[Emotions | None]]  # of each item

    @property
    def modality(self) -> Modality:
        return self.note.spec.modality

    def outside(self, only: Filters | None) -> frozenset[str]:
        """Return the ids of items that are not asked for."""
        if only is None:
            return frozenset()
        ids, seconds = self.candidates.ids, self.candidates.seconds
        lengths = [None] * len(ids) if seconds is None else seconds.tolist()
        root = self.library.manifest.source
        facts = zip((self.items[id_] for id_ in ids), lengths, self.emotions(), strict=True)
        return frozenset(
            item.id
            for item, length, read in facts
            if not only.keeps(item, root if root.is_dir() else root.parent, length, read)
        )

    def copies_of(self, query: Path | str, asked: Modality) -> frozenset[str]:
        suffixes = MODALITIES[self.modality].suffixes
        alike = asked == self.modality or (isinstance(query, Path) and query.suffix.lower() in suffixes)
        return self.copies.find_ids(query) if alike else frozenset()


@dataclass(frozen=True, slots=True)
class _Wish:
    """How items are ranked, and what is told of them."""

    top: int
    mix: Mapping[str, float] | None
    why: bool
    only: Filters | None


class Searcher:
    """Answers queries, with a run and its libraries opened once.

    `library` names one that was extracted for the run, or is a folder or manifest, of which what lacks is encoded
    first; None searches those the run was trained on, of the modality that a query is not of. `head` is the number of a
    pair; None takes the run's best. `words` are settings of a comparison by words, without a run; where no run is
    named and none is there, that is taken by itself. `limit` makes of an
    encoder one that decodes queries within bounds.
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
        device: str = "auto",
        track: Track = silent,
        limit: Limit | None = None,
    ) -> None:
        self._limit = limit
        self._device, self._name, self._average, self._track = choose_device(device), library, average, track
        self._libraries = Libraries(workspace, device, track)
        self._space: JointSpace = (
            RunSpace(workspace, run, head, average, self._libraries)
            if words is None and (run is not None or workspace.trained)
            else WordSpace(workspace, words or {}, average, track)
        )
        same = {name: value for name, value in (words or {}).items() if name == "encoder"}
        self._content = partial(WordSpace, workspace, same, average, track, "content")
        self._places: dict[Modality, Place] = {}
        self._readers: dict[Path, QueryReader] = {}
        self._searched: dict[Modality, _Searched] = {}
        self._mixes: dict[tuple[Modality | float, ...], Mixed] = {}

    def search(
        self,
        queries: Iterable[Path | str],
        *,
        top: int = 5,
        mix: Mapping[str, float] | None = None,
        why: bool = False,
        only: Filters | None = None,
    ) -> Answers:
        """Rank a library by its likeness to each file, file of a folder, or words; none need be part of anything.

        `mix` are the shares of ``emotion``, the score of either, and of ``content`` in what is ranked by. With `why`,
        hits say what their scores are made of. `only` says which items are ranked at all.
        """
        wish = _Wish(top, None if mix is None else check_mix(mix), why, only)
        listed = list(dict.fromkeys(one for query in queries for one in self._listed(query)))
        answered: dict[_Query, SearchResult | FailedQuery] = {}
        for one in listed:  # until each library is open, as long as which another bar may show how far encoding is
            if not isinstance(one, FailedQuery) and one[1] not in self._searched:
                answered[one] = self._answer(one, wish)
        rest = [one for one in listed if one not in answered]
        answered |= {one: self._answer(one, wish) for one in self._track(rest, "search", len(rest))}
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

    def _answer(self, one: _Query, wish: _Wish) -> SearchResult | FailedQuery:
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
            mixed = self._mixed(opened, modality, wish.mix) if wish.mix else None
            left_out = copies | opened.outside(wish.only)
            hits, reasons = self._hits(query, asked, opened, mixed, wish, left_out)
        except (ManifestError, CacheError) as error:
            return FailedQuery(query, error)
        tables = asked, opened.candidates.select(torch.tensor([hit.row for hit in hits], dtype=torch.int64))
        own, *read = (one for features in tables for one in self._space.read(features, opened.heads))
        found = tuple(
            self._found(rank, hit, opened, reader, item_of(query), emotions, own_reasons)
            for rank, (hit, emotions, own_reasons) in enumerate(zip(hits, read, reasons, strict=True), start=1)
        )
        return SearchResult(
            query,
            run=self._space.name,
            head=self._space.head,
            encoders={name: spec.name for name, spec in opened.heads.specs.items()},
            why=self._space.why(opened.heads),
            mix=mixed.why if mixed else None,
            unexplained=None if mixed or not wish.why else self._unexplained(opened),
            library=opened.name,
            candidates=len((mixed.gallery.ids if mixed else frozenset(opened.candidates.ids)) - left_out),
            left_out=tuple(sorted(copies.intersection(opened.candidates.ids))),
            emotions=own,
            found=found,
        )

    def _hits(
        self,
        query: Path | str,
        asked: Features,
        opened: _Searched,
        mixed: Mixed | None,
        wish: _Wish,
        left_out: frozenset[str],
    ) -> tuple[list[Hit], list[Reasons]]:
        """Rank the library by its likeness to a query, of content too if scores are mixed; say why, if asked for."""
        included, modality = opened.gallery.without(left_out), opened.modality
        own = embed_query(asked, opened.heads, modality, self._average)
        if mixed is None:
            hits = opened.gallery.search(own, top=wish.top, included=included)
            return hits, opened.gallery.explain(own, hits) if wish.why else [()] * len(hits)
        note, gallery = mixed.note, mixed.gallery
        content = asked if note.spec == asked.spec else self._reader(note).read(query)
        both = {EMOTION: own, CONTENT: embed_query(content, mixed.heads, modality, self._average)}
        hits = gallery.search(both, top=wish.top, included=included)
        return hits, gallery.explain(both, hits, included) if wish.why else [()] * len(hits)

    def _unexplained(self, opened: _Searched) -> str | None:
        """Say why there are no reasons."""
        if opened.gallery.embedded.names:
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
            self._readers[note.path] = QueryReader(
                note, libraries.open, libraries.keys, self._device, self._track, self._limit
            )
        return self._readers[note.path]

    def _mixed(self, opened: _Searched, asked: Modality, shares: Mapping[str, float]) -> Mixed:
        """Make ready a library for scores that are mixed."""
        if (known := (asked, *shares.values())) not in self._mixes:
            beside = ContentBeside(self._content(), shares, self._average, self._libraries)
            self._mixes[known] = beside.mix(opened.gallery, opened.candidates, opened.library, self._encoding(asked))
        return self._mixes[known]

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
            heads = self._space.heads(self._encoding(asked), candidates)
            gallery = Gallery(embed(candidates, heads, self._average))
            copies = CopyFinder(manifest.items, libraries.keys)
            emotions = partial(self._space.read, candidates, heads)
            self._searched[asked] = _Searched(
                library.note, manifest.name, items, library, candidates, heads, gallery, copies, emotions
            )
        return self._searched[asked]


def open_searcher(
    workspace: Workspace = Workspace(),
    run: str | None = None,
    *,
    head: int | None = None,
    library: str | None = None,
    average: Average = "embeddings",
    words: Mapping[str, Setting] | None = None,
    device: str = "auto",
    track: Track = silent,
    limit: Limit | None = None,
) -> Searcher:
    """Open what a :class:`Searcher` needs of a run, or of words; its libraries are opened when they are searched."""
    return Searcher(
        workspace,
        run,
        head=head,
        library=library,
        average=average,
        words=words,
        device=device,
        track=track,
        limit=limit,
    )


def _told(modality: Modality, start: float | None) -> str:
    return "" if start is None else MODALITIES[modality].place(start)
