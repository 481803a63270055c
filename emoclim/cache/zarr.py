"""A cache in one Zarr folder, the ledger inside, so that it moves as one thing.

Layout:

* group attributes ``format``, ``version``, ``spec`` (JSON) and ``digest``;
* arrays ``values`` and ``segments`` ``(rows, D)`` and ``starts`` ``(rows,)`` float32, each chunk with its CRC-32C;
* ``ledger.jsonl``, the text of the ledger.

The arrays are as long as their chunks, and what lies behind the committed rows means nothing. A chunk is written aside,
brought to the disk and renamed, so that one which holds committed rows is never seen half written when others are added
to it. Where a chunk is missing, Zarr gives its fill value; here that is NaN, which no committed row holds.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from emoclim.cache.files import NO_HANDLE, lock, release, sync_folder, write_at, write_whole
from emoclim.cache.store import Rows, Store, Table, chunk_rows, damage_told, header, read_header, shape_of
from emoclim.errors import CacheError
from emoclim.features import FeatureSpec

LEDGER = "ledger.jsonl"


def open_store(path: Path, spec: FeatureSpec | None) -> Store:
    """Open for reading what is there; or, given a spec, for writing, making the folder if there is none."""
    return ZarrStore(path, spec)


Array = zarr.Array[Any]


class SyncedStore(LocalStore):
    """A folder whose files are on the disk when they are in place."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file."""
        self._check_writable()
        await asyncio.to_thread(write_whole, self.root / key, value.to_bytes())


class ZarrStore(Store):
    """See the module."""

    def __init__(self, path: Path, spec: FeatureSpec | None) -> None:
        self.path = path
        self._handle = NO_HANDLE  # of the writer: the ledger, which also carries the lock
        try:
            if spec is not None:
                self._begin_writing(spec)
            with damage_told(path):
                group = self._group("r" if spec is None else "r+")
                self.spec = read_header(group.attrs, path)
                self._arrays = {table: _array(group, table, self.spec.dim) for table in get_args(Table)}
            self.block = self._arrays["values"].chunks[0]
        except BaseException:
            self.close()
            raise

    def read_ledger(self) -> bytes:
        """See :class:`Store`."""
        return (self.path / LEDGER).read_bytes()

    def holds(self, table: Table) -> int:
        """See :class:`Store`."""
        return self._arrays[table].shape[0]

    def read(self, table: Table, first: int, last: int) -> tuple[Rows, NDArray[np.int64]]:
        """See :class:`Store`."""
        array = self._arrays[table]
        try:
            rows = np.asarray(array[first:last], np.float32)
        except ValueError:
            rows = _sound_rows(array, first, last)
        missing = np.isnan(rows.reshape(len(rows), -1)[:, 0])
        return rows, first + np.flatnonzero(missing)

    def write(self, rows: Mapping[Table, tuple[int, Rows]]) -> None:
        """See :class:`Store`."""
        for table, (first, part) in rows.items():
            last = first + len(part)
            if last > self.holds(table):
                self._resize(table, last)
            try:
                self._arrays[table][first:last] = part
            except ValueError as error:  # rows are added to a chunk that was read for it
                what = f"the chunk of its {table} that these rows would join does not match its checksum"
                raise CacheError(f"cache {self.path} is damaged: {what}; delete it and extract anew") from error

    def write_line(self, at: int, line: bytes) -> None:
        """See :class:`Store`."""
        os.ftruncate(self._handle, at)
        write_at(self._handle, at, line)
        os.fsync(self._handle)

    def drop_leftovers(self, rows: Mapping[Table, int], size: int) -> None:
        """See :class:`Store`; a chunk that also holds committed rows stays as it is, to be written over."""
        for partial in self.path.rglob("*.partial"):
            partial.unlink()
        for table, count in rows.items():
            self._resize(table, count)
        self.write_line(size, b"")

    def close(self) -> None:
        """See :class:`Store`."""
        handle, self._handle = self._handle, NO_HANDLE
        release(handle)

    def _begin_writing(self, spec: FeatureSpec) -> None:
        """Take the lock; a group without attributes is one that was about to be made."""
        ledger = self.path / LEDGER
        if self.path.exists() and not ledger.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            raise CacheError(f"{self.path} is no feature cache; give a path where there is nothing yet")
        self.path.mkdir(exist_ok=True)
        self._handle = os.open(ledger, os.O_RDWR | os.O_CREAT, 0o666)
        lock(self._handle, ledger, self.path)
        group = self._group("a")
        if not group.attrs and ledger.stat().st_size == 0:
            _create(group, spec)
        sync_folder(self.path.parent)

    def _group(self, mode: Literal["r", "r+", "a"]) -> zarr.Group:
        try:
            return zarr.open_group(SyncedStore(self.path, read_only=mode == "r"), mode=mode, zarr_format=3)
        except FileNotFoundError as error:
            raise CacheError(f"{self.path} is no feature cache; name one that `emoclim extract` made") from error

    def _resize(self, table: Table, rows: int) -> None:
        """Make an array as long as the chunks of so many rows."""
        array = self._arrays[table]
        length = -(-rows // array.chunks[0]) * array.chunks[0]
        if length != array.shape[0]:
            array.resize((length, *array.shape[1:]))


def _create(group: zarr.Group, spec: FeatureSpec) -> None:
    """Empty arrays; then the attributes, which make it a cache."""
    for table in get_args(Table):
        group.create_array(
            table,
            shape=shape_of(table, 0, spec.dim),
            chunks=shape_of(table, chunk_rows(table, spec.dim), spec.dim),
            dtype="float32",
            fill_value=float("nan"),
            compressors=Crc32cCodec(),
            chunk_key_encoding={"name": "default", "separator": "."},  # one folder, so one folder to sync
            overwrite=True,
        )
    group.attrs.put({**header(spec)})  # all at once


def _array(group: zarr.Group, table: Table, dim: int) -> Array:
    array = group[table]
    width = shape_of(table, 0, dim)[1:]
    if not isinstance(array, zarr.Array) or not array.shape[1:] == array.chunks[1:] == width:
        raise TypeError(f"its {table} are not of the shape of its spec")
    return array


def _sound_rows(array: Array, first: int, last: int) -> Rows:
    """Rows chunk by chunk, NaN where a chunk does not match its checksum."""
    rows = np.full((last - first, *array.shape[1:]), np.nan, np.float32)
    chunk = array.chunks[0]
    for start in range(first - first % chunk, last, chunk):
        begin, end = max(start, first), min(start + chunk, last)
        with suppress(ValueError):
            rows[begin - first : end - first] = array[begin:end]
    return rows
