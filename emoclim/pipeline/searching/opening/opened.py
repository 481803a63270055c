"""A library that is open for search: what its items are compared by, what is known of them, what is read in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.cache import CacheNote, ItemStatus, item_table_path, read_item_table
from emoclim.config import Average
from emoclim.data import Coordinates, class_coordinates, is_remote
from emoclim.errors import CacheError, ConfigError, ManifestError
from emoclim.index import Filters, ItemTable, select
from emoclim.learning import Heads
from emoclim.modality import MODALITIES, WRITTEN, Modality
from emoclim.pipeline.searching.opening.indexes import Indexed
from emoclim.pipeline.searching.queries import CopyFinder
from emoclim.pipeline.searching.query_kinds import LibraryItem, Part
from emoclim.pipeline.searching.result import Emotions
from emoclim.stages import Embedded, EmotionPlane, EmotionSource, Gallery, read_emotions, rows_of

ROWS = 65_536  # read at once
UNKNOWN = "it cannot be read or encoded"


@dataclass(frozen=True)
class Opened:
    """A library, and the heads that compare queries with it; read from several threads at once."""

    indexed: Indexed
    heads: Heads  # of queries of one modality, and of the library
    gallery: Gallery
    copies: CopyFinder
    reader: EmotionSource | None
    average: Average
    vad: Path | None = None  # a table of valence and arousal; None for those that are published

    @property
    def note(self) -> CacheNote:
        """The note of the cache that it was extracted into."""
        return self.indexed.note

    @property
    def path(self) -> Path:
        """The folder or manifest that it is."""
        return self.indexed.source.found_from(self.note.path)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.indexed.name

    @property
    def modality(self) -> Modality:
        """Of its items."""
        return self.embedded.modality

    @property
    def embedded(self) -> Embedded:
        """What its N items are compared by."""
        return self.indexed.index.embedded

    @property
    def items(self) -> ItemTable:
        """What is known of them, in the same order."""
        return self.indexed.index.items

    def contents(self) -> dict[str, str]:
        """Return the key of the content of each item by its id; none of those that could not be encoded."""
        others, items = self.indexed.index.others, self.items
        keys = (key for key, _ in items.keys())
        return dict.fromkeys(others.ids, "") | dict(zip(items.ids, keys, strict=True))

    def failures(self) -> dict[str, str]:
        """Say why items could not be encoded, by id."""
        told = {one.id: one.reason or UNKNOWN for one in self._statuses if one.state in ("failed", "missing")}
        return dict.fromkeys(self.indexed.index.others.ids, UNKNOWN) | told

    def left_out(self) -> dict[str, str]:
        """Say why files of its folder are no items."""
        return {one.id: one.reason for one in self._statuses if one.state == "left out"}

    @property
    def _statuses(self) -> list[ItemStatus]:
        """What the table beside the cache says of each item; nothing where that is of another library of its name."""
        try:
            table = read_item_table(item_table_path(self.note.path, self.indexed.source.name))
        except CacheError:  # features that were imported may have none
            return []
        listed = {one.id for one in table if one.state == "committed"}
        return table if listed == set(self.items.ids) else []

    @property
    def classes(self) -> list[str]:
        """The emotions that are read in them; none where no emotions are."""
        return [] if self.reader is None else list(self.reader.names(self.modality))

    def emotions(self, rows: Tensor) -> list[Emotions | None]:
        """Read the emotions of some items ``(n,)``."""
        if self.reader is None:
            return [None] * len(rows)
        embedded = self.embedded
        vectors = rows_of(embedded.vectors[rows], embedded.metric)
        return [*read_emotions(self.reader, vectors, embedded.metric, embedded.modality)]

    @cached_property
    def likeliest(self) -> NDArray[np.int16]:
        """Which of the classes is likeliest for each item, ``(N,)``; -1 where no emotions are read."""
        found = [block.argmax(dim=1).numpy().astype(np.int16) for block in self._blocks()]
        return np.concatenate(found) if found else np.full(len(self.embedded), -1, np.int16)

    @cached_property
    def coordinates(self) -> Coordinates:
        """Where the classes lie in the plane of valence and arousal."""
        if not self.classes:
            raise ManifestError(
                f"no emotions are read in {self.name}, so nothing there has a place of valence and arousal; "
                "search with a file"
            )
        return class_coordinates(self.classes, self.vad)

    @cached_property
    def plane(self) -> EmotionPlane:
        """Where the items lie there."""
        coordinates = torch.tensor(list(self.coordinates.places.values()))
        return EmotionPlane(self.embedded.ids, self._blocks(), coordinates)

    def _blocks(self) -> Iterator[Tensor]:
        """Yield how likely each class is for each item, ``(n, C)`` at once; nothing where no emotions are read."""
        embedded, reader = self.embedded, self.reader
        for first in range(0, len(embedded), ROWS) if reader is not None else ():
            vectors = rows_of(embedded.vectors[first : first + ROWS], embedded.metric)
            yield reader.probabilities(vectors, embedded.metric, embedded.modality) if reader else vectors

    def row_of(self, id_: str) -> int:
        """Find an item by its id."""
        rows = self.items.where(pc.equal(self.items.table["id"], id_))
        if not rows:
            raise ManifestError(f"{self.name} has no item {id_!r}; give an id that a search there told")
        return rows[0]

    def copies_of(self, part: Part) -> list[int]:
        """List the rows of items that a part of a query is, wholly or in part, or is equal to."""
        if isinstance(part, LibraryItem):
            row = self.row_of(part.id)
            item, contents = self.items.item(row), self.items.table["content"]
            same = self.items.where(pc.equal(contents, contents[row]))  # also where its file is gone
            content = item.path or item.text
            is_here = content and not (item.path and is_remote(item.path))
            return [row, *same, *(self.copies.find_rows(content) if content and is_here else ())]
        suffixes = MODALITIES[self.modality].suffixes
        alike = self.modality == WRITTEN if isinstance(part, str) else part.suffix.lower() in suffixes
        return self.copies.find_rows(part) if alike else []

    def included(self, only: Filters | None, without: list[int]) -> Tensor | None:
        """Flag the items that are asked for, but for some rows, ``(N,)``; None for all."""
        if only is None and not without:
            return None
        flags = torch.ones(len(self.embedded), dtype=torch.bool)
        if only is not None:
            flags = torch.from_numpy(select(only, self.items, self.name, self._of_emotion))
        flags[without] = False
        return flags

    def _of_emotion(self, name: str) -> NDArray[np.bool_]:
        """Flag the items in which an emotion is the likeliest."""
        numbers = {known.casefold(): number for number, known in enumerate(self.classes)}
        if name.casefold() not in numbers:
            there = f"those are {', '.join(self.classes)}" if numbers else "no emotions are read there"
            raise ConfigError(f"{name!r} is none of the emotions that are read in {self.name}; {there}")
        flags: NDArray[np.bool_] = self.likeliest == numbers[name.casefold()]
        return flags
