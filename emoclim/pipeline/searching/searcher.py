"""Rank a library by its likeness to files and words (`emoclim search`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from threading import RLock

import torch

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Features, Item, Setting, is_text
from emoclim.encoders import choose_device
from emoclim.errors import CacheError, ManifestError
from emoclim.index import Filters
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.searching.asking import Asked, Reasons, Wish
from emoclim.pipeline.searching.by_words import WordSpace
from emoclim.pipeline.searching.libraries import Libraries, Place
from emoclim.pipeline.searching.mixing import CONTENT, EMOTION, ContentBeside, check_mix
from emoclim.pipeline.searching.opening.indexes import Indexes
from emoclim.pipeline.searching.opening.opened import Opened
from emoclim.pipeline.searching.places import find_place
from emoclim.pipeline.searching.queries import CopyFinder, Limit, QueryReader, item_of, list_queries, modality_of
from emoclim.pipeline.searching.result import Answers, Emotions, FailedQuery, Found, SearchResult
from emoclim.pipeline.searching.spaces import JointSpace, RunSpace
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.stages import Gallery, Hit, compared, embed_query, read_emotions

_Query = tuple[Path | str, Modality] | FailedQuery


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
        self._indexes = Indexes(workspace, average, self._libraries, track)
        self._by_content = partial(WordSpace, workspace, same, average, track, "content")
        self._places: dict[Modality, Place] = {}
        self._readers: dict[Path, QueryReader] = {}
        self._opened: dict[Modality, Opened] = {}
        self._lock = RLock()  # of encoders, and of what is opened once; libraries are scanned without it

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
        wish = Wish(top, None if mix is None else check_mix(mix), why, only)
        listed = list(dict.fromkeys(one for query in queries for one in self._listed(query)))
        answered: dict[_Query, SearchResult | FailedQuery] = {}
        for one in listed:  # until each library is open, as long as which another bar may show how far encoding is
            if not isinstance(one, FailedQuery) and one[1] not in self._opened:
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

    @property
    def told(self) -> str:
        """What sentences call the space that items are compared in."""
        return self._space.told

    @property
    def modalities(self) -> Sequence[Modality]:
        """Those that queries may be of."""
        return self._space.modalities

    def libraries(self) -> list[Opened]:
        """Open what is searched in, by queries of any modality; each library once."""
        with self._lock:
            opened = [self._open(modality) for modality in self._space.modalities]
        return list({one.path: one for one in opened}.values())

    @cached_property
    def _beside(self) -> ContentBeside:
        return ContentBeside(self._by_content(), self._indexes)

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

    def _answer(self, one: _Query, wish: Wish) -> SearchResult | FailedQuery:
        if isinstance(one, FailedQuery):
            return one
        query, modality = one
        with self._lock:
            reader = self._reader(self._encoding(modality))
            try:
                features = reader.read(query)
            except (ManifestError, CacheError) as error:
                return FailedQuery(query, error)
            opened = self._open(modality)  # only now: what lacks of it may take long to encode
            try:
                asked = self._embed(query, features, opened, wish)
            except (ManifestError, CacheError) as error:
                return FailedQuery(query, error)
        copies = opened.copies_of(query, modality)
        included = opened.included(wish.only, copies)
        hits, reasons = asked.rank(wish, included)
        read = opened.emotions(torch.tensor([hit.row for hit in hits], dtype=torch.int64))
        found = tuple(
            self._found(rank, hit, opened, reader, item_of(query), emotions, own)
            for rank, (hit, emotions, own) in enumerate(zip(hits, read, reasons, strict=True), start=1)
        )
        return SearchResult(
            query,
            run=self._space.name,
            head=self._space.head,
            encoders={name: spec.name for name, spec in opened.heads.specs.items()},
            why=self._space.why(opened.heads),
            mix=asked.mixed.why if asked.mixed else None,
            unexplained=None if asked.mixed or not wish.why else self._unexplained(opened),
            library=opened.name,
            candidates=asked.count(included),
            left_out=tuple(sorted(opened.items.ids[row] for row in copies)),
            emotions=asked.emotions,
            found=found,
        )

    def _embed(self, query: Path | str, features: Features, opened: Opened, wish: Wish) -> Asked:
        """Embed a query for a library, and for content where scores are mixed."""
        modality, average = opened.modality, self._average
        own = embed_query(features, opened.heads, modality, average)
        rows = compared(features, opened.heads, average)
        emotions = read_emotions(opened.reader, *rows, features.spec.modality)[0] if opened.reader else None
        if wish.mix is None:
            return Asked(opened.gallery, {EMOTION: own}, emotions, None)
        mixed = self._beside.mix(opened, self._encoding(features.spec.modality), wish.mix)
        content = features if mixed.note.spec == features.spec else self._reader(mixed.note).read(query)
        both = {EMOTION: own, CONTENT: embed_query(content, mixed.heads, modality, average)}
        return Asked(opened.gallery, both, emotions, mixed)

    def _unexplained(self, opened: Opened) -> str | None:
        """Say why there are no reasons."""
        if opened.gallery.embedded.names:
            return None
        return f"what {self._space.told} compares has no names, dimension by dimension, so no reasons are told"

    def _found(
        self,
        rank: int,
        hit: Hit,
        opened: Opened,
        reader: QueryReader,
        asked: Item,
        emotions: Emotions | None,
        reasons: Reasons,
    ) -> Found:
        """Say of a hit what its manifest does, and which passages of it and of the query are nearest."""
        item, several = opened.items.item(hit.row), hit.query_start is not None
        return Found(
            rank=rank,
            id=hit.id,
            row=hit.row,
            path=item.path,
            label=item.label,
            score=hit.score,
            parts=hit.parts,
            percentile=hit.percentile,
            emotions=emotions,
            reasons=reasons,
            start=hit.start,
            place=_told(opened.modality, hit.start),
            text=self._text(self._reader(opened.note), item, hit.start) if is_text(item) else None,
            query_start=hit.query_start,
            query_place=_told(reader.modality, hit.query_start),
            query_text=self._text(reader, asked, hit.query_start) if several else None,
        )

    def _text(self, reader: QueryReader, item: Item, start: float | None) -> str | None:
        with self._lock:
            return reader.text_of(item, start)

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

    def _open(self, asked: Modality) -> Opened:
        """Open the library that queries of a modality are searched in."""
        if asked not in self._opened:
            indexed = self._indexes.open(self._space, *self._place(asked))
            index = indexed.index
            heads = self._space.heads(self._encoding(asked), index.heads)
            copies, reader = CopyFinder(index.items, self._libraries.keys), self._space.reader(index.folder)
            self._opened[asked] = Opened(indexed, heads, Gallery(index.embedded), copies, reader, self._average)
        return self._opened[asked]


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
