"""A cache in one HDF5 file, the ledger inside, so that it moves as one thing.

Layout:

* attributes ``format``, ``version``, ``spec`` (JSON) and ``digest``;
* ``values`` and ``segments`` ``(rows, D)`` and ``starts`` ``(rows,)`` float32;
* ``ledger`` ``(bytes,)`` uint8: the text of the ledger, then zeros.

All are chunked, without filters, and allocated ahead of need; what lies behind the committed rows means nothing.

HDF5 keeps no journal: a writer that dies while the library alters its own structures (the size of a table, the index
of its chunks) may leave nothing readable. So the library never writes to a file that can be seen. Rows and lines are
put straight into chunks that are there already, each byte once; and room is made in a copy, which then takes the place
of the file. This also lets any number of readers in while one writes. And it is why the ledger has the checksums: the
filter ``fletcher32`` seals whole chunks, and would break the seal on committed rows whenever others join them.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emoclim.cache.formats.mapping import map_chunks, pieces
from emoclim.cache.formats.store import (
    LEDGER_BLOCK,
    Rows,
    Store,
    Table,
    chunk_rows,
    header,
    partial_of,
    read_header,
    require_free,
    require_tables,
    shape_of,
)
from emoclim.cache.lock import WriterFile
from emoclim.data import FeatureSpec
from emoclim.errors import CacheError
from emoclim.files import atomic, open_regular

if TYPE_CHECKING:
    from emoclim.data import MappedRows

LEDGER = "ledger"
LEDGER_CHUNK = 2**16  # bytes
HEADER = ("format", "version", "spec", "digest")
MAX_ATTRIBUTE = 2**16  # bytes
TABLES = (*get_args(Table), LEDGER)
FILLS = hasattr(os, "posix_fallocate")  # the system gives zeros without writing them
UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # to file systems that cannot give them
# the first version with checksums of its structures, which any later one can read; and chunks that begin where
# processors copy from at full speed, which at odd bytes some do not
CREATION: dict[str, Any] = {"libver": ("v108", "v108"), "alignment_threshold": 4096, "alignment_interval": 64}


class HDF5Store(Store):
    """A cache in one HDF5 file, as the module describes it."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._place = path.resolve()
        self._writer = WriterFile()  # opened by the one that writes, to write past the library
        self._file: Any = None
        try:
            open_regular(self._place).close()  # the library would wait for a pipe
            if writable:
                self._writer = _open_to_write(self._place, path)
            self._attach()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def create(path: Path, spec: FeatureSpec) -> None:
        with _system_errors(), h5py.File(path, "w", **CREATION, locking=False) as file:
            for name, value in header(spec).items():
                # HDF5 has checksums for text of fixed length; on damaged text of any other kind it may hang
                file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
            for table in get_args(Table):
                chunk = chunk_rows(table, spec.dim)
                rows = chunk if table == "values" else 0
                _create_table(file, table, "<f4", chunk, shape_of(table, rows, spec.dim))
            _create_table(file, LEDGER, "u1", LEDGER_CHUNK, (LEDGER_CHUNK,))
        _take_room(path)

    def read_ledger(self) -> Iterator[bytes]:
        ledger = self._tables[LEDGER]
        for first in range(0, len(ledger), LEDGER_BLOCK):
            yield ledger[first : first + LEDGER_BLOCK].tobytes()

    def holds(self, table: Table) -> int:
        return len(self._tables[table])

    def read(self, table: Table, first: int, last: int) -> Rows:
        rows = np.empty(shape_of(table, last - first, self.spec.dim), np.float32)
        self._tables[table].read_direct(rows, np.s_[first:last])
        return rows

    @override
    def map(self, table: Table, rows: NDArray[np.int64]) -> "MappedRows | None":
        return map_chunks(self._tables[table], rows)

    def write(self, rows: Mapping[Table, tuple[int, Rows]]) -> None:
        self._put(rows)

    @override
    def reserve(self, values: int, size: int) -> None:
        """Make room in one copy of the file, while it is small."""
        self._make_room({"values": values, LEDGER: size})

    def write_line(self, at: int, line: bytes) -> None:
        self._put({LEDGER: (at, np.frombuffer(line, np.uint8))})

    @override
    def drop_leftovers(self, rows: Mapping[Table, int], size: int) -> None:
        """Clear the rest of the ledger; rows are left where they are, to be written over."""
        rest = self._tables[LEDGER][size:]
        if rest.any():
            self._put({LEDGER: (size, np.zeros_like(rest))})

    def close(self) -> None:
        file, self._file = self._file, None
        self._writer.close()
        if file is not None:
            file.close()

    def _attach(self) -> None:
        # without HDF5's chunk cache, rows put there meanwhile are seen; with its lock, readers would be kept out
        try:
            self._file = h5py.File(self._place, "r", locking=False, rdcc_nbytes=0)
        except PermissionError:
            raise
        except OSError as error:
            raise CacheError(
                f"{self.path} is no feature cache, or is damaged ({error}); name another, or delete it"
            ) from error
        self.spec = read_header(_attributes(self._file), self.path)
        self._tables = {name: _table(self._file, name, self.spec.dim) for name in TABLES}
        tables = self._tables.values()
        require_tables(self._place, (table.shape for table in tables), (table.chunks for table in tables))

    def _put(self, new: Mapping[Any, tuple[int, NDArray[Any]]]) -> None:
        """Write rows of some tables, and return when they are on the disk."""
        self._make_room({name: first + len(part) for name, (first, part) in new.items()})
        for name, (first, part) in new.items():
            for offset, content in pieces(self._tables[name], first, part):
                self._writer.write(offset, content)
        os.fsync(self._writer.number)

    def _make_room(self, needed: Mapping[str, int]) -> None:
        """Lengthen the tables that are too short, by at least half, in a copy of the file."""
        lengths = {
            name: -(-max(rows, len(table) * 3 // 2) // table.chunks[0]) * table.chunks[0]
            for name, rows in needed.items()
            if rows > len(table := self._tables[name])
        }
        if not lengths:
            return
        added = sum((rows - len(self._tables[name])) * self._tables[name][:1].nbytes for name, rows in lengths.items())
        require_free(self._place.parent, self._place.stat().st_size + added)
        longer = WriterFile()
        try:
            with atomic(self._place, partial_of(self._place)) as copy:
                shutil.copy(self._place, copy)
                with _system_errors(), h5py.File(copy, "r+", **CREATION, locking=False) as file:
                    for name, rows in lengths.items():
                        file[name].resize(rows, axis=0)
                _take_room(copy)
                longer = _open_to_write(copy, self.path)
        except BaseException:
            longer.close()
            raise
        self._writer.close()
        self._writer = longer
        self._file.close()
        self._attach()


def _open_to_write(place: Path, path: Path) -> WriterFile:
    """Open a file that other programs may read meanwhile, but not write."""
    opened = WriterFile.open(place)
    if not opened.share_lock():
        opened.close()
        raise CacheError(f"cache {path} is being written by another program; close it there")
    return opened


@contextmanager
def _system_errors() -> Iterator[None]:
    """Raise the error of the operating system that HDF5 met, and tells in words only."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if number := re.search(r"errno = (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        if isinstance(error, RuntimeError):
            raise OSError(str(error)) from error
        raise


def _create_table(file: Any, name: str, dtype: str, chunk: int, shape: tuple[int, ...]) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # a commit must find its room, on the disk too
    if FILLS and name != LEDGER:
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    width = shape[1:]
    file.create_dataset(
        name, shape, dtype, maxshape=(None, *width), chunks=(chunk, *width), fillvalue=0, track_times=False, dcpl=layout
    )


def _take_room(path: Path) -> None:
    """Take room on the disk for all of a file, of whose tables none but the ledger was filled.

    Where the file system cannot, rows take theirs when they are written.
    """
    if FILLS:
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in UNKNOWN:
                    raise


def _attributes(file: Any) -> dict[str, str | int]:
    """Read the attributes of a cache, single texts of fixed length and whole numbers; leave out what is none."""
    found: dict[str, str | int] = {}
    for name in HEADER:
        if name in file.attrs:
            stored = file.attrs.get_id(name)
            text = stored.dtype.kind == "S"
            if (text or stored.dtype.kind == "i") and not stored.shape and stored.get_storage_size() <= MAX_ATTRIBUTE:
                found[name] = file.attrs[name].decode() if text else int(file.attrs[name])
    return found


def _table(file: Any, name: str, dim: int) -> Any:
    """Open a table that lies in this file, in chunks without filters, as :func:`_create_table` makes it."""
    width = () if name in ("starts", LEDGER) else (dim,)
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise TypeError(f"its {name} are not there, or are a link to elsewhere")
    table = file[name]
    layout = table.id.get_create_plist() if isinstance(table, h5py.Dataset) else None
    if layout is None or layout.get_layout() != h5py.h5d.CHUNKED or layout.get_nfilters():
        raise TypeError(f"its {name} were stored anew by another program")
    if table.dtype != ("u1" if name == LEDGER else "<f4") or not table.chunks[1:] == table.shape[1:] == width:
        raise TypeError(f"its {name} are not of the shape of its spec")
    return table
