"""Keep what is known of the items of a library in columns on the disk, so that a million take no million objects."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
from numpy.typing import NDArray

from emoclim.data import Fingerprint, Item, is_remote, path_within, shown_path

BATCH = 16_384  # rows that are Python objects at once
NONE = -1  # size and time of a file that is not there
NOTHING = Fingerprint(NONE, NONE, "")

SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("key", pa.large_string()),  # of its content, or of its id where features were imported
        ("path", pa.large_string()),  # see :func:`_place`; or null
        ("text", pa.large_string()),
        ("label", pa.large_string()),
        ("start", pa.float64()),  # seconds
        ("duration", pa.float64()),
        ("seconds", pa.float32()),  # decoded length; 0 where it has none, or none is known
        ("content", pa.uint64()),  # the first half of the hash of its whole file or text; null where it is not known
        ("size", pa.int64()),  # of its file, in bytes
        ("changed", pa.int64()),  # when its file was, in nanoseconds
    ]
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a table says of one item."""

    item: Item
    key: str
    file: Fingerprint  # of its file when it was read, or of its text; NOTHING where that is not known
    seconds: float = 0.0


class Column(Sequence[str]):
    """A column of texts, each made when it is asked for."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[str]: ...
    def __getitem__(self, row: int | slice) -> str | Sequence[str]:
        return Column(self._column[row]) if isinstance(row, slice) else str(self._column[row].as_py())

    def __iter__(self) -> Iterator[str]:
        for chunk in self._column.chunks:
            for first in range(0, len(chunk), BATCH):
                yield from chunk.slice(first, BATCH).to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Column):
            return bool(self._column.equals(other._column))
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]


class ItemTable:
    """Items of a library in its folder `root`, in the order of the rows that they are compared by."""

    def __init__(self, table: pa.Table, root: Path) -> None:
        self.table, self.root = table, root
        self.ids: Sequence[str] = Column(table["id"])

    def __len__(self) -> int:
        return len(self.table)

    def item(self, row: int) -> Item:
        """Return what the manifest says of one item, but for what only training needs."""
        facts = {name: self.table[name][row].as_py() for name in ("id", "path", "text", "label", "start", "duration")}
        return Item(**facts | {"path": facts["path"] and path_within(str(self.root), facts["path"])})

    def key(self, row: int) -> str:
        """Return the key of one item."""
        return str(self.table["key"][row].as_py())

    def keys(self) -> Iterator[tuple[str, int]]:
        """Yield the key of each item, and its row."""
        return zip(Column(self.table["key"]), range(len(self)), strict=True)

    def where(self, mask: pa.ChunkedArray) -> list[int]:
        """List the rows that a mask of this table selects."""
        rows: list[int] = pc.indices_nonzero(mask).to_pylist()
        return rows

    def length(self, row: int) -> float | None:
        """How many seconds an item lasts; None where it has no length, or none is known."""
        found: float | None = self.table["seconds"][row].as_py()
        return found or None

    def folder(self, row: int) -> str:
        """The folder that the file of an item lies in, as in `folders`; empty for the library's own."""
        return str(self.table["path"][row].as_py() or "").rpartition("/")[0]

    @property
    def seconds(self) -> NDArray[np.float32]:
        """How long each item lasts, 0 where it has no length or none is known."""
        return np.asarray(self.table["seconds"], np.float32)

    @cached_property
    def formats(self) -> list[str]:
        """Suffixes of the files, in lower case and without dots."""
        return sorted(filter(None, pc.unique(self._part(r"\.(?P<part>[^./]+)$", lower=True)).to_pylist()))

    @cached_property
    def folders(self) -> list[str]:
        """Folders that files lie in, from the library's own."""
        return sorted(filter(None, pc.unique(self._part(r"^(?P<part>.+)/[^/]+$")).to_pylist()))

    def _part(self, pattern: str, *, lower: bool = False) -> pa.ChunkedArray:
        path = pc.utf8_lower(self.table["path"]) if lower else self.table["path"]
        return pc.struct_field(pc.extract_regex(path, pattern), "part")

    def changed_file(self) -> Path | None:
        """Return a file that is not as it was when it was noted; None where all are."""
        for batch in self.table.select(["path", "size", "changed"]).to_batches(BATCH):
            paths, sizes, times = (column.to_pylist() for column in batch.columns)
            for path, size, time in zip(paths, sizes, times, strict=True):
                if path is None or is_remote(path):  # of an address it is believed that it gives what it gave
                    continue
                if file_state(self.root / path) != (size, time):
                    return Path(self.root, path)
        return None


def file_state(path: Path | str) -> tuple[int, int]:
    """Return the size of a file and when it was changed."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat
    except (OSError, ValueError):
        return NONE, NONE
    return status.st_size, status.st_mtime_ns


def write_items(target: Path, entries: Iterable[Entry], root: Path) -> None:
    """Write a table, by batches."""
    rest = iter(entries)
    with pa.OSFile(str(target), "wb") as sink, pyarrow.ipc.new_file(sink, SCHEMA) as writer:
        while some := list(islice(rest, BATCH)):
            rows = [_row(one, root) for one in some]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))


def read_items(source: Path, root: Path) -> ItemTable:
    """Open a table, which stays on the disk."""
    with pa.memory_map(str(source)) as mapped:
        return ItemTable(pyarrow.ipc.open_file(mapped).read_all(), root)


def _row(entry: Entry, root: Path) -> dict[str, Any]:
    item, file = entry.item, entry.file
    return {
        "id": item.id,
        "key": entry.key,
        "path": item.path and _place(item.path, root),
        "text": item.text,
        "label": item.label,
        "start": item.start,
        "duration": item.duration,
        "seconds": entry.seconds,
        "content": content_number(file.digest),
        "size": file.size,
        "changed": file.changed,
    }


def _place(path: Path, root: Path) -> str:
    """Return a path as a table has it: relative to the library where it lies in it; an address as it is shown."""
    near = path.relative_to(root) if path.is_relative_to(root) else path
    return shown_path(path) if is_remote(near) else near.as_posix()


def content_number(content: str) -> int | None:
    """Return the first half of a hash of 32 hex digits as a number; None where it is not known."""
    return int(content[:16], 16) if content else None


def flags(mask: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return a mask as flags, of which those that are not known are false."""
    return np.asarray(pc.fill_null(mask, False))
