"""Read queries, and embed them for a library; sums and differences of several, too. Used by the searcher."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Features
from emoclim.learning import Heads
from emoclim.modality import Modality
from emoclim.pipeline.searching.asking import Asked
from emoclim.pipeline.searching.libraries import Libraries
from emoclim.pipeline.searching.mixing import CONTENT, EMOTION, ContentBeside
from emoclim.pipeline.searching.opening.opened import Opened
from emoclim.pipeline.searching.queries import Limit, Listed, QueryReader, item_of, modality_of
from emoclim.pipeline.searching.query_kinds import LibraryItem, Part
from emoclim.pipeline.searching.spaces import JointSpace
from emoclim.progress import Track
from emoclim.stages import combine, compared, embed_query, read_emotions

Read = Mapping[Path | str, Features]


class QueryEmbedder:
    """Embeds queries in a space; not by several threads at once, as encoders are.

    A query is encoded as the library that it leads to where it is of the same modality, and else as the space says.
    """

    def __init__(
        self,
        space: JointSpace,
        beside: Callable[[], ContentBeside],
        libraries: Libraries,
        average: Average,
        device: torch.device,
        track: Track,
        limit: Limit | None,
    ) -> None:
        self._space, self._make_beside, self._libraries, self._average = space, beside, libraries, average
        self._device, self._track, self._limit = device, track, limit
        self._readers: dict[Path, QueryReader] = {}
        self._heads: dict[tuple[Path, Modality], Heads] = {}

    def reader(self, note: CacheNote) -> QueryReader:
        """Make what reads queries as the items of a cache were."""
        if note.path not in self._readers:
            opened, keys = self._libraries.open, self._libraries.keys
            self._readers[note.path] = QueryReader(note, opened, keys, self._device, self._track, self._limit)
        return self._readers[note.path]

    def encoding(self, modality: Modality, library: CacheNote) -> CacheNote:
        """Say how queries of a modality are encoded for a library."""
        return library if library.spec.modality == modality else self._space.encoding(modality)

    def readers(self, listed: Listed, library: CacheNote) -> Mapping[Path | str, QueryReader]:
        """Make what reads each of the files and words of a query."""
        return {
            part: self.reader(self.encoding(modality_of(part, self._space.modalities), library))
            for part in (*listed.plus, *listed.minus)
            if not isinstance(part, LibraryItem)
        }

    def embed(self, listed: Listed, read: Read, opened: Opened, shares: Mapping[str, float] | None) -> Asked:
        """Embed a query for a library, and for content where scores are mixed."""

        def asked(part: Part) -> Asked:
            if isinstance(part, LibraryItem):
                return self._like(part, opened, shares)
            return self._part(part, read[part], opened, shares)

        plus, minus = (list(map(asked, parts)) for parts in (listed.plus, listed.minus))
        first = plus[0]
        if len(plus) == 1 and not minus:
            return first
        embedded = {
            name: combine([one.embedded[name] for one in plus], [one.embedded[name] for one in minus])
            for name in first.embedded
        }
        return replace(first, embedded=embedded, emotions=None, own=None)

    def _part(self, part: Path | str, features: Features, opened: Opened, shares: Mapping[str, float] | None) -> Asked:
        modality, average = features.spec.modality, self._average
        note, heads = self.encoding(modality, opened.note), self._heads_of(modality, opened)
        embedded = {EMOTION: embed_query(features, heads, opened.modality, average)}
        rows, metric = compared(features, heads, average)
        emotions = read_emotions(opened.reader, rows, metric, modality)[0] if opened.reader else None
        mixed = self._beside.mix(opened, note, shares) if shares else None
        if mixed is not None:
            content = features if mixed.note.spec == features.spec else self.reader(mixed.note).read(part)
            embedded[CONTENT] = embed_query(content, mixed.heads, opened.modality, average)
        return Asked(opened.gallery, embedded, emotions, mixed, (note, item_of(part)))

    def _like(self, part: LibraryItem, opened: Opened, shares: Mapping[str, float] | None) -> Asked:
        row = opened.row_of(part.id)
        mixed = self._beside.mix(opened, opened.note, shares) if shares else None
        embedded = mixed.gallery.like(row) if mixed else {EMOTION: opened.gallery.like(row)}
        (emotions,) = opened.emotions(torch.tensor([row]))
        return Asked(opened.gallery, embedded, emotions, mixed, (opened.note, opened.items.item(row)))

    def _heads_of(self, modality: Modality, opened: Opened) -> Heads:
        """Make the heads of queries of a modality; those of the library are of the modality that led to it."""
        if modality in opened.heads.specs:
            return opened.heads
        if (known := (opened.path, modality)) not in self._heads:
            note = self.encoding(modality, opened.note)
            self._heads[known] = self._space.heads(note, opened.indexed.index.heads)
        return self._heads[known]

    @cached_property
    def _beside(self) -> ContentBeside:
        return self._make_beside()
