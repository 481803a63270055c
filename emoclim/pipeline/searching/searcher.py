"""Rank a library by its likeness to files and words (`emoclim search`)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import RLock

import torch

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Item, Setting, is_remote, is_text, shown_path
from emoclim.encoders import choose_device
from emoclim.errors import CacheError, ManifestError
from emoclim.index import Filters
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.searching.asking import Asked, Pointed, Reasons, Wish
from emoclim.pipeline.searching.by_words import WordSpace
from emoclim.pipeline.searching.libraries import Libraries, Place
from emoclim.pipeline.searching.mixing import ContentBeside, check_mix
from emoclim.pipeline.searching.opening.indexes import Indexes
from emoclim.pipeline.searching.opening.lists import open_lists
from emoclim.pipeline.searching.opening.opened import Opened
from emoclim.pipeline.searching.opening.places import find_place
from emoclim.pipeline.searching.queries import CopyFinder, Limit, Listed, list_asked
from emoclim.pipeline.searching.query_embedding import QueryEmbedder, Read
from emoclim.pipeline.searching.query_kinds import Point, Query
from emoclim.pipeline.searching.result import APPROXIMATE, Answers, Emotions, FailedQuery, Found, SearchResult
from emoclim.pipeline.searching.spaces import JointSpace, RunSpace
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.stages import Gallery, Hit

_Query = Listed | FailedQuery


class Searcher:
    """Answers queries, with a run and its libraries opened once.

    `library` names one that was extracted for the run, or is a folder or manifest, of which what lacks is encoded
    first; None searches those the run was trained on, of the modality that a query is not of. `head` is the number of a
    pair; None takes the run's best. `words` are settings of a comparison by words, without a run; where no run is
    named and none is there, that is taken by itself. `vad` is a table of valence and arousal of emotions, by default
    those that are published. `limit` makes of an encoder one that decodes queries within bounds.
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
        vad: Path | None = None,
        track: Track = silent,
        limit: Limit | None = None,
    ) -> None:
        self._name, self._average, self._vad, self._track = library, average, vad, track
        self._libraries = Libraries(workspace, device, track)
        self._space: JointSpace = (
            RunSpace(workspace, run, head, average, self._libraries)
            if words is None and (run is not None or workspace.trained)
            else WordSpace(workspace, words or {}, average, track)
        )
        same = {name: value for name, value in (words or {}).items() if name == "encoder"}
        self._indexes = Indexes(workspace, average, self._libraries, track)

        def beside() -> ContentBeside:
            return ContentBeside(WordSpace(workspace, same, average, track, "content"), self._indexes)

        on = choose_device(device)
        self._embedder = QueryEmbedder(self._space, beside, self._libraries, average, on, track, limit)
        self._places: dict[Modality, Place] = {}
        self._opened: dict[Modality, Opened] = {}
        self._lock = RLock()  # of encoders, and of what is opened once; libraries are scanned without it

    def search(
        self,
        queries: Iterable[Query],
        *,
        top: int = 5,
        mix: Mapping[str, float] | None = None,
        why: bool = False,
        only: Filters | None = None,
    ) -> Answers:
        """Rank a library by its likeness to each file, file of a folder, or words; none need be part of anything.

        Or to items of the library (:class:`LibraryItem`), sums and differences (:class:`Blend`), or by how near its
        emotions lie to a place (:class:`Point`). `mix` are the shares of ``emotion``, the score of either, and of
        ``content`` in what is ranked by. With `why`, hits say what their scores are made of. `only` says which items
        are ranked at all.
        """
        wish = Wish(top, None if mix is None else check_mix(mix), why, only)
        listed = list(dict.fromkeys(one for query in queries for one in self._listed(query)))
        answered: dict[_Query, SearchResult | FailedQuery] = {}
        for one in listed:  # until each library is open, as long as which another bar may show how far encoding is
            if not isinstance(one, FailedQuery) and one.asked not in self._opened:
                answered[one] = self._answer(one, wish)
        rest = [one for one in listed if one not in answered]
        answered |= {one: self._answer(one, wish) for one in self._track(rest, "search", len(rest))}
        answers = Answers(tuple(answered[one] for one in listed))
        self._libraries.keys.save()
        if not answers.results:
            raise ManifestError(
                "; ".join(answers.failures)
                or "there is nothing to search with; name a file, give words with --text, or a place with --at"
            )
        return answers

    @property
    def space(self) -> JointSpace:
        """Where items are compared: that of a run, or of words."""
        return self._space

    def libraries(self) -> list[Opened]:
        """Open what is searched in, by queries of any modality; each library once."""
        with self._lock:
            opened = [self._open(modality) for modality in self._space.modalities]
        return list({one.path: one for one in opened}.values())

    def _listed(self, query: Query) -> Sequence[_Query]:
        try:
            return list_asked(query, self._space.modalities)
        except ManifestError as error:
            return [FailedQuery(query, error)]

    def _answer(self, one: _Query, wish: Wish) -> SearchResult | FailedQuery:
        if isinstance(one, FailedQuery):
            return one
        with self._lock:
            note, _ = self._place(one.asked)  # what cannot be searched in fails all queries
        try:
            with self._lock:
                readers = self._embedder.readers(one, note)
            # without the lock: decoding what somebody made may take long
            read: Read = {part: reader.read(part) for part, reader in readers.items()}
        except (ManifestError, CacheError) as error:
            return FailedQuery(one.query, error)
        with self._lock:
            opened = self._open(one.asked)  # only now: what lacks of it may take long to encode
            try:
                asked = self._ask(one, read, opened, wish)
            except (ManifestError, CacheError) as error:
                return FailedQuery(one.query, error)
        copies = sorted({row for part in (*one.plus, *one.minus) for row in opened.copies_of(part)})
        included = opened.included(wish.only, copies)
        hits, reasons = asked.rank(wish, included)
        read_in = opened.emotions(torch.tensor([hit.row for hit in hits], dtype=torch.int64))
        found = tuple(
            self._found(rank, hit, opened, asked, emotions, own)
            for rank, (hit, emotions, own) in enumerate(zip(hits, read_in, reasons, strict=True), start=1)
        )
        return SearchResult(
            one.query,
            run=self._space.name,
            head=self._space.head,
            encoders={name: spec.name for name, spec in opened.heads.specs.items()},
            why=self._space.why(opened.heads),
            mix=asked.mixed.why if asked.mixed else None,
            placed=opened.coordinates.told if isinstance(asked, Pointed) else None,
            approximate=None if all(hit.exact for hit in hits) else APPROXIMATE,
            unexplained=None if asked.mixed or not wish.why else self._unexplained(opened, asked),
            library=opened.name,
            candidates=asked.count(included),
            left_out=tuple(opened.items.ids[row] for row in copies),
            emotions=asked.emotions,
            found=found,
        )

    def _ask(self, one: Listed, read: Read, opened: Opened, wish: Wish) -> Asked | Pointed:
        if not isinstance(one.query, Point):
            return self._embedder.embed(one, read, opened, wish.mix)
        if wish.mix is not None:
            raise ManifestError("a place of valence and arousal has no content to mix scores of; search without --mix")
        return Pointed(opened.plane, one.query)

    def _unexplained(self, opened: Opened, asked: Asked | Pointed) -> str | None:
        """Say why there are no reasons."""
        if isinstance(asked, Pointed):
            return "Scores are distances from that place, of which valence and arousal of each hit are the reasons"
        if opened.gallery.embedded.names:
            return None
        return f"what {self._space.told} compares has no names, dimension by dimension, so no reasons are told"

    def _found(
        self,
        rank: int,
        hit: Hit,
        opened: Opened,
        asked: Asked | Pointed,
        emotions: Emotions | None,
        reasons: Reasons,
    ) -> Found:
        """Say of a hit what its manifest does, and which passages of it and of the query are nearest."""
        item, (note, own) = opened.items.item(hit.row), asked.own or (opened.note, None)
        return Found(
            rank=rank,
            id=hit.id,
            row=hit.row,
            path=shown_path(item.path) if item.path and is_remote(item.path) else item.path,
            label=item.label,
            score=hit.score,
            parts=hit.parts,
            percentile=hit.percentile,
            emotions=emotions,
            reasons=reasons,
            start=hit.start,
            place=_told(opened.modality, hit.start),
            text=self._text(opened.note, item, hit.start),
            query_start=hit.query_start,
            query_place=_told(note.spec.modality, hit.query_start),
            query_text=None if hit.query_start is None else self._text(note, own, hit.query_start),
        )

    def _text(self, note: CacheNote, item: Item | None, start: float | None) -> str | None:
        if item is None or not is_text(item):
            return None
        with self._lock:
            return self._embedder.reader(note).text_of(item, start)

    def _place(self, asked: Modality) -> Place:
        """Find the library that queries of a modality are searched in."""
        if asked not in self._places:
            name, space = self._name, self._space
            found = space.library(asked) if name is None else find_place(name, space, asked)
            self._places[asked] = found
        return self._places[asked]

    def _open(self, asked: Modality) -> Opened:
        """Open the library that queries of a modality are searched in."""
        if asked not in self._opened:
            indexed = self._indexes.open(self._space, *self._place(asked))
            index = indexed.index
            heads = self._space.heads(self._embedder.encoding(asked, indexed.note), index.heads)
            copies, reader = CopyFinder(index.items, self._libraries.keys), self._space.reader(index.folder)
            gallery = Gallery(index.embedded, open_lists(index))
            self._opened[asked] = Opened(indexed, heads, gallery, copies, reader, self._average, self._vad)
        return self._opened[asked]


open_searcher = Searcher  # its libraries are opened when they are searched


def _told(modality: Modality, start: float | None) -> str:
    return "" if start is None else MODALITIES[modality].place(start)
