"""A cache in one Zarr folder, the ledger inside, so that it moves as one thing.

Layout:

* group attributes ``format``, ``version``, ``spec`` (JSON) and ``digest``;
* arrays ``values`` and ``segments`` ``(rows, D)`` and ``starts`` ``(rows,)`` float32, each chunk with its CRC-32C;
* ``ledger.jsonl``, the text of the ledger.

The arrays are as long as their chunks, and what lies behind the committed rows means nothing. A chunk is written aside,
brought to the disk and renamed, so that one which holds committed rows is never seen half written when others are added
to it. Rows are read straight from the files of the chunks: their checksums stand in the ledger, item by item, and the
library, which would read and check whole chunks, could only tell that there is damage in one.
"""

import asyncio
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import zarr
from numpy.typing import NDArray
from typing_extensions import override
from zarr.abc.store import ByteRequest
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from emoclim.cache.formats.store import (
    LEDGER_BLOCK,
    Rows,
    Store,
    Table,
    chunk_rows,
    header,
    read_header,
    require_tables,
    shape_of,
)
from emoclim.cache.lock import WriterFile
from emoclim.data import FeatureSpec
from emoclim.errors import CacheError
from emoclim.files import open_regular, remove, require_memory, write_bytes

LEDGER = "ledger.jsonl"
CODECS = ({"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"})
CHECKSUM_BYTES = 4  # behind the rows of a chunk

Array = zarr.Array[Any]


class SyncedStore(LocalStore):
    """A folder whose files are on the disk when they are in place; what is no file there, or a link, is not read."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read one file."""
        with suppress(FileNotFoundError, NotADirectoryError):
            await asyncio.to_thread(_require_plain, self.root, key)
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file."""
        self._check_writable()
        await asyncio.to_thread(write_bytes, self.root / key, value.to_bytes())


def _require_plain(root: Path, key: str) -> None:
    folder = (root / key).parent
    if folder != root and folder.is_symlink():
        raise OSError(errno.ELOOP, f"{folder} is a link, which is not followed", str(folder))
    with open_regular(root / key, follow=False) as file:
        require_memory(root / key, os.fstat(file.fileno()).st_size, CacheError)  # it may be of holes


class ZarrStore(Store):
    """A cache in one Zarr folder, as the module describes it."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._group = _open_group(path, writable)
        self.spec = read_header(self._group.attrs, path)
        self._attach()
        self._ledger = WriterFile.open(path / LEDGER) if writable else WriterFile()

    @staticmethod
    def create(path: Path, spec: FeatureSpec) -> None:
        group = zarr.open_group(LocalStore(path), mode="w", zarr_format=3)
        for table in get_args(Table):
            group.create_array(
                table,
                shape=shape_of(table, 0, spec.dim),
                chunks=shape_of(table, chunk_rows(table, spec.dim), spec.dim),
                dtype="float32",
                fill_value=float("nan"),
                compressors=Crc32cCodec(),
                chunk_key_encoding={"name": "default", "separator": "."},  # one folder, so one folder to sync
            )
        group.attrs.put({**header(spec)})
        (path / LEDGER).touch()

    def read_ledger(self) -> Iterator[bytes]:
        path = self.path / LEDGER
        with open_regular(path, follow=False) as file:
            require_memory(path, os.fstat(file.fileno()).st_size, CacheError)  # it may be of holes
            while block := file.read(LEDGER_BLOCK):
                yield block
        self._attach()  # a writer may have made the arrays longer before it wrote what was just read

    def holds(self, table: Table) -> int:
        return self._arrays[table].shape[0]

    def read(self, table: Table, first: int, last: int) -> Rows:
        length = self._arrays[table].chunks[0]
        rows = np.empty(shape_of(table, last - first, self.spec.dim), np.float32)
        for start in range(first - first % length, last, length):
            begin, end = max(start, first), min(start + length, last)
            self._read_chunk(table, start // length, begin - start, rows[begin - first : end - first])
        return rows

    @override
    def map(self, table: Table, rows: NDArray[np.int64]) -> None:
        return None

    def write(self, rows: Mapping[Table, tuple[int, Rows]]) -> None:
        for table, (first, part) in rows.items():
            last = first + len(part)
            if last > self.holds(table):
                self._resize(table, last)
            try:
                self._arrays[table][first:last] = part
            except ValueError as error:  # rows are added to a chunk that was read for it
                what = f"the chunk of its {table} that new rows would join does not match its checksum"
                advice = f"repair it with: emoclim cache verify {self.path} --repair, or delete it and extract anew"
                raise CacheError(f"cache {self.path} is damaged: {what}; {advice}") from error

    def reseal(self, table: Table, rows: NDArray[np.int64]) -> None:
        array = self._arrays[table]
        length = array.chunks[0]
        for first in np.unique(rows - rows % length).tolist():
            array[first : first + length] = self.read(table, first, first + length)

    def write_line(self, at: int, line: bytes) -> None:
        os.ftruncate(self._ledger.number, at)
        self._ledger.write(at, line)
        os.fsync(self._ledger.number)

    def drop_leftovers(self, rows: Mapping[Table, int], size: int) -> None:
        """Drop whole chunks; one that also holds committed rows stays as it is, to be written over."""
        for partial in self.path.rglob("*.partial"):
            remove(partial)
        for table, count in rows.items():
            self._resize(table, count)
        self.write_line(size, b"")

    def close(self) -> None:
        self._ledger.close()

    def _attach(self) -> None:
        self._arrays = {table: _array(self._group, table, self.spec.dim) for table in get_args(Table)}
        arrays = self._arrays.values()
        require_tables(self.path, (array.shape for array in arrays), (array.chunks for array in arrays))

    def _read_chunk(self, table: Table, number: int, first: int, rows: Rows) -> None:
        """Fill `rows` with those of a chunk from its row `first` on; with NaN if its file is not there as a whole."""
        array = self._arrays[table]
        row_bytes = rows[0].nbytes
        name = array.metadata.encode_chunk_key((number, *(0,) * (array.ndim - 1)))
        with suppress(FileNotFoundError), open_regular(self.path / table / name, follow=False) as file:
            if os.fstat(file.fileno()).st_size == array.chunks[0] * row_bytes + CHECKSUM_BYTES:
                file.seek(first * row_bytes)
                file.readinto(rows.data.cast("B"))
                return
        rows.fill(np.nan)

    def _resize(self, table: Table, rows: int) -> None:
        """Make an array as long as the chunks of so many rows."""
        array = self._arrays[table]
        length = -(-rows // array.chunks[0]) * array.chunks[0]
        if length != array.shape[0]:
            array.resize((length, *array.shape[1:]))


def _open_group(path: Path, writable: bool) -> zarr.Group:
    mode: Literal["r", "r+"] = "r+" if writable else "r"
    try:
        return zarr.open_group(
            SyncedStore(path, read_only=not writable), mode=mode, zarr_format=3, use_consolidated=False
        )
    except FileNotFoundError as error:
        raise CacheError(f"{path} is no feature cache; name one that `emoclim extract` made") from error


def _array(group: zarr.Group, table: Table, dim: int) -> Array:
    array = group[table]
    width = shape_of(table, 0, dim)[1:]
    if not isinstance(array, zarr.Array) or not array.shape[1:] == array.chunks[1:] == width:
        raise TypeError(f"its {table} are not of the shape of its spec")
    if array.dtype != np.float32 or array.metadata.to_dict().get("codecs") != CODECS or not array.chunks[0]:
        raise TypeError(f"its {table} were stored anew by another program")
    return array
