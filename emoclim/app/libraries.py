"""Hold the libraries that are open, each with what searches it. Used by every route, and by jobs that open more."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from emoclim.app.decoded import Decoded
from emoclim.app.guard.decoding import Decoders
from emoclim.app.settings import ServiceSettings
from emoclim.data import Item
from emoclim.encoders import Encoder
from emoclim.errors import ManifestError
from emoclim.index import ItemTable
from emoclim.modality import Modality
from emoclim.pipeline import Opened as OpenedLibrary
from emoclim.pipeline import Searcher
from emoclim.progress import Track, silent

Limit = Callable[[Encoder], Encoder]
Make = Callable[[str | None, Track, Limit], Searcher]


@dataclass(frozen=True)
class ServedLibrary:
    """A library that is searched, and whose files are served."""

    id: str  # of letters, digits and hyphens, as addresses have it
    name: str
    modality: Modality
    source: Path  # the folder or manifest that it was read from
    items: ItemTable  # by row
    searcher: Searcher
    mapping: threading.Lock = field(default_factory=threading.Lock)  # held while it is laid out

    @property
    def opened(self) -> OpenedLibrary:
        """What is known of its items and of what could not be encoded."""
        return self.searcher.libraries()[0]

    @cached_property
    def roots(self) -> tuple[Path, ...]:
        """Folders in which its files must lie: its own, and what links in it led to as it was opened; of a table none.

        A table names each of its files; a folder holds whatever somebody put there, such as links to other files.
        """
        if not self.source.is_dir():
            return ()
        links = (path for path in self.source.iterdir() if path.is_symlink() and path.is_dir())
        return (self.source.resolve(), *(path.resolve() for path in links))

    @cached_property
    def folders(self) -> Sequence[str]:
        """The folders that its items lie in, sorted."""
        return self.items.folders

    @cached_property
    def formats(self) -> Sequence[str]:
        """Suffixes of its files, without dots, sorted."""
        return self.items.formats

    def item(self, row: int) -> Item:
        """Return an item; tell that there is none."""
        if not 0 <= row < len(self.items):
            raise HTTPException(404, f"library {self.name!r} has no item {row}; it has {len(self.items):,}, from 0 on")
        return self.items.item(row)

    def format(self, row: int) -> str:
        """The suffix of an item's file, without its dot."""
        path = self.items.item(row).path
        return path.suffix[1:].lower() if path else ""

    def about(self) -> dict[str, Any]:
        """Return plain values: what there is to search and to filter by."""
        return {
            "id": self.id,
            "name": self.name,
            "modality": self.modality,
            "items": len(self.items),
            "formats": list(self.formats),
            "folders": list(self.folders),
        }


class Libraries:
    """The libraries that are open, by id; jobs add to them while requests are answered.

    `make` makes what searches a library, by its name or path; None is the one that a run or the workspace suggests.
    What it is given last limits what decoding a query takes.
    """

    def __init__(self, make: Make, settings: ServiceSettings = ServiceSettings()) -> None:  # noqa: B008
        self._make = make
        self._decoders = Decoders(settings.decoders, settings.decode_seconds, settings.decode_bytes)
        self.decoded = Decoded(self._decoders)
        self._opened: dict[str, ServedLibrary] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[ServedLibrary]:
        return iter(tuple(self._opened.values()))

    def __getitem__(self, id_: str) -> ServedLibrary:
        try:
            return self._opened[id_]
        except KeyError:
            there = ", ".join(self._opened) or "none is open"
            raise HTTPException(404, f"no library {id_!r:.80} is open; name one of: {there}") from None

    def suggested(self, track: Track = silent) -> list[str]:
        """List the paths of those that are searched if none is named: that of each kind of queries."""
        return [str(one.path) for one in self._make(None, track, self._decoders.limit).libraries()]

    def open(self, name: str | None, track: Track = silent) -> ServedLibrary:
        """Open a library, or open it anew; what lacks of it is encoded first."""
        searcher = self._make(name, track, self._decoders.limit)
        opened = searcher.libraries()[0]  # of the kinds of queries that there are, that of the first
        with self._lock:
            id_ = self._id_for(opened.name, opened.path)
            served = ServedLibrary(id_, opened.name, opened.modality, opened.path, opened.items, searcher)
            self._opened[id_] = served
        return served

    def close(self) -> None:
        """End what decodes, and remove what was decoded."""
        self._decoders.close()
        self.decoded.close()

    def _id_for(self, name: str, source: Path) -> str:
        """Return the id of the library of that source, which keeps it, or a new one like its name."""
        for one in self._opened.values():
            if one.source == source:
                return one.id
        stem = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "library"
        names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, len(self._opened) + 2))
        return next(one for one in names if one not in self._opened)


def _opened(request: Request) -> Libraries:
    """Return the libraries that are open in the service that was asked."""
    libraries: Libraries = request.app.state.libraries
    return libraries


Opened = Annotated[Libraries, Depends(_opened)]


def about(library: ServedLibrary) -> dict[str, Any]:
    """Return plain values: by what the searcher of a library compares, and the emotions that it reads."""
    space, opened = library.searcher.space, library.opened
    places = None
    with suppress(ManifestError):  # some emotions have no place that is published
        places = opened.coordinates.places
    return {
        "space": {"name": space.name, "told": space.told},
        "encoders": {modality: space.encoding(modality).spec.name for modality in space.modalities},
        "modalities": list(space.modalities),
        "classes": opened.classes,
        "coordinates": places,
    }
