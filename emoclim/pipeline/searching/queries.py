"""Read the files that are searched with, and find the items of a library that are equal to them. Used by search."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc
import torch

from emoclim.cache import CacheNote, MemoryCache
from emoclim.data import ContentKeys, Features, Item, Manifest, is_text, list_files, read_prose
from emoclim.encoders import Encoder, TextEncoder
from emoclim.errors import CacheError, DecodeError, ManifestError, name_some, reason_of
from emoclim.index import ItemTable, content_number
from emoclim.modality import MODALITIES, WRITTEN, Modality, modality_by_suffix
from emoclim.pipeline.find_caches import encoder_of
from emoclim.pipeline.library import OpenLibrary, read_features
from emoclim.pipeline.searching.query_kinds import Blend, LibraryItem, Part, Point, Query, shown_query
from emoclim.progress import Track
from emoclim.stages import extract

log = logging.getLogger(__name__)

Limit = Callable[[Encoder], Encoder]  # makes one that decodes within bounds


def list_queries(path: Path, modalities: Sequence[Modality]) -> list[Path]:
    """List the files that a path stands for: itself, or of a folder those of some modalities that lie in it."""
    if not path.is_dir():
        return [path]
    suffixes = frozenset[str]().union(*(MODALITIES[modality].suffixes for modality in modalities))
    try:
        files = [path / name for name in list_files(path)]
    except OSError as error:
        raise ManifestError(f"{path} cannot be listed ({reason_of(error)}); check its permissions") from error
    usable = [file for file in files if file.suffix.lower() in suffixes]
    if not usable:
        raise ManifestError(f"{path} holds no {' or '.join(modalities)}; name a folder with files of these")
    if left_out := [str(file.relative_to(path)) for file in files if file.suffix.lower() not in suffixes]:
        log.warning("%s: left out %s, by suffix no %s", path, name_some(left_out), " or ".join(modalities))
    return usable


def modality_of(query: Path | str, modalities: Sequence[Modality]) -> Modality:
    """Return which of some modalities a query is of: a file by its suffix, words are a text."""
    if isinstance(query, str):
        if WRITTEN in modalities:
            return WRITTEN
        raise ManifestError(f"the run joins {' and '.join(modalities)}, and takes no words; name another with --run")
    if modality := modality_by_suffix(query.suffix, modalities):
        return modality
    listed = "; ".join(f"{one}: {' '.join(sorted(MODALITIES[one].suffixes))}" for one in modalities)
    raise ManifestError(f"{query} is of no kind that can be searched with here ({listed}); search with one of these")


@dataclass(frozen=True, slots=True)
class Listed:
    """A query with all that is named in it."""

    query: Query
    asked: Modality  # what leads to the library that is searched
    plus: tuple[Part, ...]  # none of a point
    minus: tuple[Part, ...] = ()


def list_asked(query: Query, modalities: Sequence[Modality]) -> list[Listed]:
    """List the queries that one stands for: of a folder each file; a blend is one, with the files of its folders."""
    match query:
        case Path():
            return [Listed(one, modality_of(one, modalities), (one,)) for one in list_queries(query, modalities)]
        case Blend():
            plus, minus = (_parts(parts, modalities) for parts in (query.plus, query.minus))
            kinds = [modality_of(one, modalities) for one in (*plus, *minus) if not isinstance(one, LibraryItem)]
            return [Listed(query, kinds[0] if kinds else modalities[0], plus, minus)]
        case LibraryItem():
            return [Listed(query, modalities[0], (query,))]
        case Point():
            return [Listed(query, modalities[0], ())]
        case _:
            return [Listed(query, modality_of(query, modalities), (query,))]


def _parts(parts: Sequence[Part], modalities: Sequence[Modality]) -> tuple[Part, ...]:
    lists = [list_queries(one, modalities) if isinstance(one, Path) else [one] for one in parts]
    return tuple(one for each in lists for one in each)


def item_of(query: Path | str) -> Item:
    """Make an item of a file or of words."""
    return Item(query.name, query) if isinstance(query, Path) else Item(shown_query(query), text=query)


class QueryReader:
    """Reads queries as the items of a cache were read; of an imported cache, the features that it holds of files."""

    def __init__(
        self,
        note: CacheNote,
        opened: OpenLibrary,
        keys: ContentKeys,
        device: torch.device,
        track: Track,
        limit: Limit | None = None,
    ) -> None:
        self._note, self._opened, self._keys, self._device = note, opened, keys, device
        self.modality = note.spec.modality
        self._encoder = None if note.spec.keyed_by_id else encoder_of(note, track)
        self._limited = limit(self._encoder) if limit and self._encoder else self._encoder
        # Decoders and what cuts texts are not for several threads; where they are limited, each has a process
        self._turn = nullcontext() if limit and self._encoder else Lock()

    def read(self, query: Path | str) -> Features:
        """Return the features of a file or of words, as those of one item; may be called by several threads."""
        with self._turn:
            return self._imported(query) if self._limited is None else self._encoded(query, self._limited)

    def _encoded(self, query: Path | str, encoder: Encoder) -> Features:
        shown = shown_query(query)
        manifest = Manifest(shown, self.modality, Path(), (item_of(query),))
        with MemoryCache(encoder.spec) as cache:
            extraction = extract(manifest, encoder, cache, batch_size=1, device=self._device)
            if extraction.failures:
                raise ManifestError(f"{shown} cannot be used as a query: {extraction.failures[0].reason}")
            for about, examples in extraction.remarks.items():
                told = f" ({', '.join(filter(None, examples.values()))})"
                log.warning("%s is one of the %s that %s%s", shown, MODALITIES[self.modality].nouns, about, told)
            return cache.read(sorted(cache.keys()))

    def text_of(self, item: Item, start: float | None) -> str | None:
        """Return the passage of a text that features note with a number, or all of it; None for what is no text."""
        if not is_text(item):
            return None
        try:
            if start is not None and isinstance(self._encoder, TextEncoder):
                return self._encoder.passages(item)[int(start)]
            return read_prose(item)[0]
        except (DecodeError, IndexError):  # it is gone, or another than it was
            return None

    def _imported(self, path: Path | str) -> Features:
        note = self._note
        if isinstance(path, str):
            raise CacheError(f"features {note.spec.name!r} were imported, so none can be made of words; name a file")
        wanted = path.resolve()
        for source in reversed(note.sources):
            library = self._opened(note, source)
            # paths are only resolved, which asks the file system, where names agree
            named = [item for item in library.manifest.items if item.path is not None and item.path.name == path.name]
            same = [item for item in named if item.path is not None and item.path.resolve() == wanted]
            if same and len(features := read_features(library, same[:1], self._keys)):
                return features
        manifests = ", ".join(str(source.found_from(note.path)) for source in note.sources)
        raise CacheError(
            f"features {note.spec.name!r} were imported, so none can be made of {path}; "
            f"search with a file of {manifests}, or train on features of an encoder"
        )


class CopyFinder:
    """Finds which items of a library lie in a file, wholly or in part, or in one of equal content."""

    def __init__(self, items: ItemTable, keys: ContentKeys) -> None:
        self._items, self._keys = items, keys

    def find_rows(self, query: Path | str) -> list[int]:
        """Return the rows of those items."""
        asked, items, table = item_of(query), self._items, self._items.table
        content = _content_of(asked, ContentKeys())
        if content is None:  # features may be there without their files
            wanted = asked.path and asked.path.resolve()
            named = items.where(pc.ends_with(table["path"], asked.path.name)) if asked.path else []
            return [row for row in named if (path := items.item(row).path) and path.resolve() == wanted]
        found = items.where(pc.equal(table["content"], pa.scalar(content_number(content), pa.uint64())))
        if table["content"].null_count and asked.path:  # only those of equal size are read and compared
            alike = pc.and_(pc.is_null(table["content"]), pc.equal(table["size"], asked.path.stat().st_size))
            found += [row for row in items.where(alike) if _content_of(items.item(row), self._keys) == content]
        return found


def _content_of(item: Item, keys: ContentKeys) -> str | None:
    """Return the hash of an item's whole file or text; None where it cannot be read."""
    try:
        return keys(item).partition("@")[0]
    except DecodeError:
        return None
