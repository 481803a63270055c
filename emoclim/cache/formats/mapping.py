"""Read rows of caches into memory, or leave them in their file where they are many; compare them with checksums.

Invariant: the numbers are the same either way.
"""

import math
import mmap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from emoclim.cache.formats.store import Rows, Store, gather

if TYPE_CHECKING:
    from emoclim.data import MappedRows

# Values and segments of so many bytes that are read at once stay in the file: copying fewer takes a tenth of a second
# and little of any machine's memory, and a copy is safe from whatever happens to the file.
MAPPED_BYTES = 1 << 28
BLOCK = 1 << 11  # items that are compared with their checksums at once


def read_rows(
    store: Store | None, rows: NDArray[np.int64], segment_rows: NDArray[np.int64], dim: int, *, mapped: bool
) -> "tuple[Rows, Rows] | tuple[MappedRows, MappedRows]":
    """Read values and segments ``(n, D)`` of rows in any order, or map them if allowed, possible and worth it."""
    if mapped and store is not None and 4 * dim * (len(rows) + len(segment_rows)) >= MAPPED_BYTES:
        values, segments = store.map("values", rows), store.map("segments", segment_rows)
        if values is not None and segments is not None:
            return values, segments
    return gather(store, "values", rows, dim), gather(store, "segments", segment_rows, dim)


def damaged_in_blocks(
    find: Callable[..., NDArray[np.bool_]],
    counted: tuple[NDArray[Any], NDArray[np.int64]],
    offsets: NDArray[np.int64],
    tables: tuple[Any, Any],
    starts: Rows,
) -> NDArray[np.bool_]:
    """Find which items ``(n,)`` are damaged, by blocks; `counted` are records of a ledger and the rows of the items."""
    (records, rows), found = counted, [np.empty(0, np.bool_)]
    for first in range(0, len(rows), BLOCK):
        own = slice(first, first + BLOCK)
        parts = slice(offsets[own][0], offsets[1:][own][-1])
        values, segments = map(np.asarray, (tables[0][own], tables[1][parts]))
        found.append(find(records[rows[own]], values, segments, starts[parts]))
    return np.concatenate(found)


def map_chunks(table: Any, rows: NDArray[np.int64]) -> "MappedRows | None":
    """Map rows of a table of an HDF5 file, whose chunks lie there as they are; None where that cannot be.

    It is the file that was opened, for another may have taken its place.
    """
    from emoclim.data import MappedRows  # which loads torch

    if table.file.userblock_size:
        return None
    try:
        handle = table.file.id.get_vfd_handle()
        content = np.frombuffer(mmap.mmap(handle, 0, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError):
        return None
    length, row_bytes = table.chunks[0], table.dtype.itemsize * math.prod(table.shape[1:])
    starts = np.array([_chunk_offset(table, first) for first in range(0, int(rows.max(initial=-1)) + 1, length)], int)
    chunk, places = np.divmod(rows, length)
    places *= row_bytes
    places += starts[chunk]
    if (starts < 0).any() or places.max(initial=0) + row_bytes > len(content):
        return None
    unit = math.gcd(row_bytes, *starts.tolist())  # that all places are multiples of, so that their numbers are small
    places //= unit
    small = places.max(initial=0) <= np.iinfo(np.int32).max
    return MappedRows(sliding_window_view(content, row_bytes)[::unit], places.astype(np.int32) if small else places)


def pieces(table: Any, first: int, part: NDArray[Any]) -> Iterator[tuple[int, memoryview]]:
    """Where in the file the rows of `part` belong when its first is row `first` of a table: one piece per chunk."""
    length, end = table.chunks[0], first + len(part)
    for start in range(first - first % length, end, length):
        begin, stop = max(start, first), min(start + length, end)
        if (offset := _chunk_offset(table, start)) < 0:
            raise ValueError(f"its file has no room for rows {start} to {start + length} of its {table.name}")
        rows = np.ascontiguousarray(part[begin - first : stop - first], table.dtype)
        content = rows.reshape(-1).view(np.uint8).data
        yield offset + (begin - start) * (len(content) // (stop - begin)), content


def _chunk_offset(table: Any, row: int) -> int:
    """Return where in the file the chunk begins whose first row is given; negative where there is none."""
    found: int | None = table.id.get_chunk_info_by_coord((row, *(0,) * (table.ndim - 1))).byte_offset
    return -1 if found is None else found
