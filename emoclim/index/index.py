"""The index of a library: what its items are compared by, as files that are mapped into memory.

A folder holds ``index.json``, which says what counts; ``vectors-*.bin`` and, where items have several passages,
``segments-*.bin``, ``offsets-*.bin`` and ``starts-*.bin``; ``items-*.arrow``, and ``others-*.arrow`` of items that have
no features; ``heads-*.safetensors`` of words that are fitted to the library; ``reader.safetensors`` of what reads
emotions; where they were asked for, ``lists-*.faiss``, by which not all is read. A commit is: the files, to the disk;
then ``index.json``, whole or not at all.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from emoclim.config import Average
from emoclim.encoders import read_own, write_own
from emoclim.errors import CacheError
from emoclim.files import read_json, remove, write_json
from emoclim.index.items import ItemTable, read_items
from emoclim.index.numbers import FileNote, is_sound, map_numbers
from emoclim.learning import Heads, Metric, load_heads
from emoclim.modality import Modality
from emoclim.stages import Embedded, EmotionReader

NOTE, READER = "index.json", "reader.safetensors"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Source:
    """What a library and its cache were when they were indexed."""

    manifest: str  # digest of what it says of its items
    content: str  # digest of its bytes, or of the names in its folder
    ledger: str  # digest of what the cache holds
    unlabelled: bool
    items: int  # of the manifest
    left_out: dict[str, int] = field(default_factory=dict)  # how many, by reason
    lacking: bool = False  # whether some were not extracted yet
    no_utf8: list[str] = field(default_factory=list)  # names of files


@dataclass(frozen=True, slots=True)
class IndexNote:
    """What ``index.json`` says."""

    key: dict[str, Any]  # of what it is an index: format, space, average, features, cache and library
    source: Source
    modality: Modality
    metric: Metric
    names: list[str]
    rows: int
    width: int
    generation: int  # of the files of numbers
    table: int  # of the files of items
    numbers: dict[str, FileNote]
    fitted: bool  # whether there is a file of heads


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is open."""

    note: IndexNote
    embedded: Embedded
    items: ItemTable
    others: ItemTable  # those without features, whose files may change
    heads: Heads | None  # of the library, where they are fitted to it
    folder: Path | None  # None where it is not kept

    @property
    def lists(self) -> Path:
        """Where lists of its vectors lie, if there are any."""
        return (self.folder or Path()) / lists_name(self.note.generation)

    def size(self) -> int:
        """Count the bytes of its files."""
        return sum(file.stat().st_size for file in self.folder.iterdir()) if self.folder else 0

    def damaged(self) -> list[str]:
        """Name the files of numbers that are not as they were written."""
        folder = self.folder
        return [one.name for one in self.note.numbers.values() if not is_sound(folder, one)] if folder else []


def read_note(folder: Path) -> IndexNote | None:
    """Read what an index says of itself; None where there is none of this version."""
    advice = f"delete {folder}, and it is made anew"
    if not (folder / NOTE).is_file():
        return None
    if read_json(folder / NOTE, CacheError, advice).get("key", {}).get("format") != FORMAT:
        return None
    return read_json(folder / NOTE, CacheError, advice, IndexNote)


def read_index(folder: Path, root: Path) -> Index | None:
    """Open the index of a library that lies in `root`; None where there is none of this version."""
    if (note := read_note(folder)) is None:
        return None
    advice = f"delete {folder}, and it is made anew"
    try:
        items, others = (read_items(folder / name, root) for name in table_names(note.table))
        vectors, segments = map_numbers(folder, note.numbers, note.width)
    except (OSError, ValueError, KeyError) as error:
        raise CacheError(f"index {folder} cannot be read ({error}); {advice}") from error
    if not len(items) == len(vectors) == note.rows:
        raise CacheError(f"index {folder} is damaged: its files do not fit each other; {advice}")
    heads = load_heads(folder / heads_name(note.table)) if note.fitted else None
    embedded = Embedded(note.modality, items.ids, vectors, note.metric, tuple(note.names), segments)
    return Index(note, embedded, items, others, heads, folder)


def write_note(folder: Path, note: IndexNote) -> None:
    """Commit an index, and remove the files of the one before."""
    write_json(folder / NOTE, to_jsonable_python(note))
    tidy(folder)


def tidy(folder: Path) -> None:
    """Remove all that a writer left which does not count; where open files cannot be removed, the next one does."""
    with suppress(OSError, CacheError):
        if (note := read_note(folder)) is None:
            remove(folder)
            return
        sizes = {one.name: one.size for one in note.numbers.values()}
        kept = {NOTE, READER, heads_name(note.table), *table_names(note.table), lists_name(note.generation), *sizes}
        for file in folder.iterdir():
            if file.name in sizes and file.stat().st_size > sizes[file.name]:
                os.truncate(file, sizes[file.name])
            elif file.name not in kept:
                file.unlink()


def table_names(number: int) -> tuple[str, str]:
    """Name the files of items with features, and of others."""
    return f"items-{number}.arrow", f"others-{number}.arrow"


def heads_name(number: int) -> str:
    """Name the file of heads that are fitted to a library."""
    return f"heads-{number}.safetensors"


def lists_name(generation: int) -> str:
    """Name the file of lists of the vectors of a generation."""
    return f"lists-{generation}.faiss"


def save_reader(folder: Path, reader: EmotionReader) -> None:
    """Keep what reads emotions, which else is fitted to the items that a run was trained on."""
    about = {"classes": reader.classes, "temperatures": reader.temperatures, "own": reader.own}
    write_own({"centroids": reader.centroids}, folder / READER, to_jsonable_python(about))


def load_reader(folder: Path, heads: Heads, average: Average) -> EmotionReader | None:
    """Return what :func:`save_reader` kept; None where that is not there, or is spoilt, for it can be made again."""

    def use(tensors: Mapping[str, Any], about: Mapping[str, Any]) -> EmotionReader:
        own = {modality: tuple(numbers) for modality, numbers in about["own"].items()}
        parts = tensors["centroids"], about["temperatures"], own
        return EmotionReader(tuple(about["classes"]), heads, average, *parts)

    with suppress(OSError, ValueError, LookupError, TypeError):
        return read_own(folder / READER, use)
    return None
