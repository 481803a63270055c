"""A cache in one HDF5 file, the ledger inside, so that it moves as one thing.

Layout:

* attributes ``format``, ``version``, ``spec`` (JSON) and ``digest``;
* ``values`` and ``segments`` ``(rows, D)`` and ``starts`` ``(rows,)`` float32, each with a table ``<name>_crc32``
  ``(rows,)`` uint32: the CRC-32 of the bytes of each row;
* ``ledger`` ``(bytes,)`` uint8: the text of the ledger, then zeros.

All are chunked, without filters, and allocated ahead of need; what lies behind the committed rows means nothing.

HDF5 keeps no journal: a writer that dies while the library alters its own structures (the size of a table, the index
of its chunks) may leave nothing readable. So the library never writes to a file that can be seen. Rows and lines are
put straight into chunks that are there already, each byte once; and room is made in a copy, which then takes the place
of the file. This also lets any number of readers in while one writes. And it is why rows have checksums of their own:
the filter ``fletcher32`` seals whole chunks, and would break the seal on committed rows whenever others join them.
"""

import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from emoclim.cache.files import NO_HANDLE, lock, release, sync_folder, write_at
from emoclim.cache.store import Rows, Store, Table, chunk_rows, damage_told, header, read_header, shape_of
from emoclim.errors import CacheError
from emoclim.features import FeatureSpec

LEDGER = "ledger"
LEDGER_CHUNK = 2**16  # bytes
TABLES = (*get_args(Table), *(f"{table}_crc32" for table in get_args(Table)), LEDGER)
LIBRARY = ("v108", "v108")  # the first with checksums of its structures, which any later one can read


def open_store(path: Path, spec: FeatureSpec | None) -> Store:
    """Open for reading what is there; or, given a spec, for writing, making the file if there is none."""
    return HDF5Store(path, spec)


class HDF5Store(Store):
    """See the module."""

    block = 64

    def __init__(self, path: Path, spec: FeatureSpec | None) -> None:
        self.path = path
        self._file_path = path.resolve()  # a link stays a link when the file is replaced
        self._handle = NO_HANDLE  # of the writer: to write to, and to hold the lock
        self._file: Any = None
        try:
            if spec is not None:
                self._begin_writing(spec)
            self._attach()
        except BaseException:
            self.close()
            raise

    def read_ledger(self) -> bytes:
        """See :class:`Store`."""
        return bytes(self._tables[LEDGER][:])

    def holds(self, table: Table) -> int:
        """See :class:`Store`."""
        return min(len(self._tables[table]), len(self._tables[_crc(table)]))

    def read(self, table: Table, first: int, last: int) -> tuple[Rows, NDArray[np.int64]]:
        """See :class:`Store`."""
        rows = np.empty(shape_of(table, last - first, self.spec.dim), np.float32)
        self._tables[table].read_direct(rows, np.s_[first:last])
        return rows, first + np.flatnonzero(_checksums(rows) != self._tables[_crc(table)][first:last])

    def write(self, rows: Mapping[Table, tuple[int, Rows]]) -> None:
        """See :class:`Store`."""
        new: dict[str, tuple[int, NDArray[Any]]] = {}
        for table, (first, part) in rows.items():
            new |= {table: (first, part), _crc(table): (first, _checksums(part))}
        self._put(new)

    def write_line(self, at: int, line: bytes) -> None:
        """See :class:`Store`."""
        self._put({LEDGER: (at, np.frombuffer(line, np.uint8))})

    def drop_leftovers(self, rows: Mapping[Table, int], size: int) -> None:  # noqa: ARG002
        """See :class:`Store`; rows are left where they are, to be written over."""
        self._aside.unlink(missing_ok=True)
        rest = self._tables[LEDGER][size:]
        if rest.any():
            self._put({LEDGER: (size, np.zeros_like(rest))})

    def close(self) -> None:
        """See :class:`Store`."""
        file, handle = self._file, self._handle
        self._file, self._handle = None, NO_HANDLE
        release(handle)
        if file is not None:
            file.close()

    @property
    def _aside(self) -> Path:
        return self._file_path.with_name(f"{self._file_path.name}.partial")

    def _begin_writing(self, spec: FeatureSpec) -> None:
        """Take the lock; an empty file is one that was about to be made."""
        self._handle = os.open(self._file_path, os.O_RDWR | os.O_CREAT, 0o666)
        lock(self._handle, self._file_path, self.path)
        if os.fstat(self._handle).st_size == 0:
            _create(self._aside, spec)
            self._replace_file()

    def _attach(self) -> None:
        # without HDF5's chunk cache, rows put there meanwhile are seen; with its lock, readers would be kept out
        try:
            self._file = h5py.File(self._file_path, "r", locking=False, rdcc_nbytes=0)
        except PermissionError:
            raise
        except OSError as error:
            raise CacheError(f"{self.path} is no feature cache, or is damaged ({error}); delete it") from error
        with damage_told(self.path):
            attributes = {name: _text(value) for name, value in self._file.attrs.items()}
            self.spec = read_header(attributes, self.path)
            self._tables = {name: self._file[name] for name in TABLES}

    def _put(self, new: Mapping[str, tuple[int, NDArray[Any]]]) -> None:
        """Write rows of some tables, and return when they are on the disk."""
        self._make_room({name: first + len(part) for name, (first, part) in new.items()})
        for name, (first, part) in new.items():
            for offset, content in _pieces(self._tables[name], first, part):
                write_at(self._handle, offset, content)
        os.fsync(self._handle)

    def _make_room(self, needed: Mapping[str, int]) -> None:
        """Lengthen the tables that are too short, by at least half, in a copy of the file."""
        short = {name: rows for name, rows in needed.items() if rows > len(self._tables[name])}
        if not short:
            return
        try:
            shutil.copy(self._file_path, self._aside)
            with h5py.File(self._aside, "r+", libver=LIBRARY, locking=False) as file:
                for name, rows in short.items():
                    table, chunk = file[name], file[name].chunks[0]
                    table.resize(_ceil(max(rows, len(table) * 3 // 2), chunk), axis=0)
        except OSError:
            self._aside.unlink(missing_ok=True)
            raise
        self._file.close()
        try:
            self._replace_file()
        finally:
            self._attach()

    def _replace_file(self) -> None:
        """Put the file made aside in place of the present one, without letting go of the lock."""
        old, new = self._handle, os.open(self._aside, os.O_RDWR)
        try:
            lock(new, self._aside, self.path)
            os.fsync(new)
            self._aside.replace(self._file_path)
        except BaseException:
            release(new)
            raise
        self._handle = new
        release(old)
        sync_folder(self._file_path.parent)


def _create(path: Path, spec: FeatureSpec) -> None:
    """An empty cache, with room for one chunk of values."""
    with h5py.File(path, "w", libver=LIBRARY, locking=False) as file:
        for name, value in header(spec).items():
            # HDF5 has checksums for text of fixed length; on damaged text of any other kind it may hang
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
        for table in get_args(Table):
            chunk = chunk_rows(table, spec.dim)
            rows = chunk if table == "values" else 0
            _create_table(file, table, "<f4", chunk, shape_of(table, rows, spec.dim))
            _create_table(file, _crc(table), "<u4", chunk, (rows,))
        _create_table(file, LEDGER, "u1", LEDGER_CHUNK, (LEDGER_CHUNK,))


def _create_table(file: Any, name: str, dtype: str, chunk: int, shape: tuple[int, ...]) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # a commit must find its room, on the disk too
    width = shape[1:]
    file.create_dataset(
        name, shape, dtype, maxshape=(None, *width), chunks=(chunk, *width), fillvalue=0, track_times=False, dcpl=layout
    )


def _pieces(table: Any, first: int, part: NDArray[Any]) -> Iterator[tuple[int, bytes]]:
    """Where in the file the rows of `part` belong when its first is row `first` of a table: one piece per chunk."""
    length, end = table.chunks[0], first + len(part)
    for start in range(first - first % length, end, length):
        begin, stop = max(start, first), min(start + length, end)
        chunk = table.id.get_chunk_info_by_coord((start, *(0,) * (table.ndim - 1)))
        content = part[begin - first : stop - first].astype(table.dtype, copy=False).tobytes()
        yield chunk.byte_offset + (begin - start) * (chunk.size // length), content


def _checksums(rows: Rows) -> NDArray[np.uint32]:
    """CRC-32 ``(n,)`` of the bytes of each of n >= 1 rows."""
    return np.fromiter(map(zlib.crc32, rows.reshape(len(rows), -1)), np.uint32, len(rows))


def _crc(table: Table) -> str:
    return f"{table}_crc32"


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _ceil(rows: int, chunk: int) -> int:
    return -(-rows // chunk) * chunk
