"""Contract of a file format that holds a cache: three tables of rows, and one ledger. HDF5 and Zarr implement it.

Invariant: rows and bytes of the ledger are written once, behind all that is committed, and nothing committed is ever
written again; so whatever a writer was doing when it died, it did to rows and bytes that no ledger line counts.
"""

import errno
import json
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from emoclim.data import FeatureSpec
from emoclim.errors import CacheError, EmoclimError, reason_of
from emoclim.files import require_memory

if TYPE_CHECKING:
    from emoclim.data import MappedRows

T = TypeVar("T")
Table = Literal["values", "segments", "starts"]  # (rows, D), (rows, D) and (rows,), all float32
Rows = NDArray[np.float32]

MAKE_ROOM = "see that its disk has room and lets you write"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of a disk, so that nothing is wrong with what is on it

FORMAT = "emoclim-features"
VERSION = 1
CHUNK_BYTES = 2**21  # large enough to be read at the speed of the disk, small enough to be rewritten for a few rows
CHUNK_ROWS = 4096
LEDGER_BLOCK = 2**22  # bytes of the ledger that are read at once
NEAR = 64  # rows between two asked ones that are read rather than skipped


class Store(ABC):
    """A cache as it lies on the disk, open for reading or for the one writer.

    Errors of the operating system and of the format's library pass through, for :func:`explained`.
    """

    path: Path
    spec: FeatureSpec

    @abstractmethod
    def __init__(self, path: Path, *, writable: bool) -> None:
        """Open what is there."""

    @staticmethod
    @abstractmethod
    def create(path: Path, spec: FeatureSpec) -> None:
        """Write an empty cache to a path where nobody looks for it yet."""

    @abstractmethod
    def read_ledger(self) -> Iterator[bytes]:
        """Read all lines, in blocks; the end may be torn, and zero bytes may follow."""

    @abstractmethod
    def holds(self, table: Table) -> int:
        """Return the number of rows that there is room for."""

    @abstractmethod
    def read(self, table: Table, first: int, last: int) -> Rows:
        """Read rows from `first` up to `last`, at least one, as they lie there; NaN where they are missing."""

    @abstractmethod
    def map(self, table: Table, rows: NDArray[np.int64]) -> "MappedRows | None":
        """Map rows, at least one, from the file where they lie as they are; None where they do not, or it cannot be."""

    @abstractmethod
    def write(self, rows: Mapping[Table, tuple[int, Rows]]) -> None:
        """Put rows at and behind the given one of each table, making room; they are on the disk on return."""

    def reserve(self, values: int, size: int) -> None:  # noqa: B027 - most formats need none
        """Make room for so many values and bytes of the ledger in all, where it would cost more bit by bit."""

    def reseal(self, table: Table, rows: NDArray[np.int64]) -> None:  # noqa: B027 - most formats have none
        """Make checksums of the format, where it has any, match what lies at damaged rows, which others lie beside."""

    @abstractmethod
    def write_line(self, at: int, line: bytes) -> None:
        """Put a line at a byte of the ledger, over any torn one; it is on the disk on return."""

    @abstractmethod
    def drop_leftovers(self, rows: Mapping[Table, int], size: int) -> None:
        """Remove what a writer left uncommitted: rows of each table from the given one on, ledger bytes from `size`."""

    @abstractmethod
    def close(self) -> None:
        """Release the files; idempotent."""


def gather(store: Store | None, table: Table, rows: NDArray[np.int64], dim: int) -> Rows:
    """Read rows ``(n, ...)`` of a table in any order, by few contiguous reads; no store has no rows."""
    if store is None or not len(rows):
        return np.empty(shape_of(table, 0, dim), np.float32)
    if (np.diff(rows) == 1).all():  # this is how a whole library is read
        return store.read(table, int(rows[0]), int(rows[-1]) + 1)
    found = np.empty(shape_of(table, len(rows), dim), np.float32)
    order = np.argsort(rows, kind="stable")
    ordered, most = rows[order], chunk_rows(table, dim)
    ends = (np.diff(ordered) > NEAR) | (np.diff(ordered // most) > 0)  # what lies between is read, but not much at once
    for stretch in np.split(order, np.flatnonzero(ends) + 1):
        first, last = int(rows[stretch[0]]), int(rows[stretch[-1]]) + 1
        found[stretch] = store.read(table, first, last)[rows[stretch] - first]
    return found


@contextmanager
def explained(what: str, advice: str) -> Iterator[None]:
    """Raise :class:`CacheError` in one sentence for what the operating system or a library refused.

    A damaged or hostile file may make its library raise anything.
    """
    try:
        yield
    except EmoclimError:
        raise
    except Exception as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error).partition("\n")[0]
        remedy = MAKE_ROOM if isinstance(error, OSError) and error.errno in NO_ROOM else advice
        raise CacheError(f"{what} ({reason or type(error).__name__}); {remedy}") from error


def by_table(values: T, segments: T) -> dict[Table, T]:
    """Map each table to what is said of its rows; starts have those of segments."""
    return {"values": values, "segments": segments, "starts": segments}


def partial_of(path: Path) -> Path:
    """Return where the writer of a cache prepares what shall appear whole at `path`; its lock keeps others away."""
    return path.with_name(f"{path.name}.partial")


def require_tables(path: Path, shapes: Iterable[Sequence[int]], chunks: Iterable[Sequence[int]]) -> None:
    """Raise :class:`CacheError` where tables of these shapes, or one of their chunks, are beyond what is there."""
    needed = sum(4 * math.prod(map(max, shape, chunk)) for shape, chunk in zip(shapes, chunks, strict=True))
    require_memory(path, needed, CacheError)


def require_free(folder: Path, size: int) -> None:
    """Raise OSError if a disk lacks room, for HDF5 finds out when it can neither go on nor close its file."""
    free = shutil.disk_usage(folder).free
    if free < size:
        what = f"{size} bytes are needed to make a longer copy, and {free} are free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {what}")


def shape_of(table: Table, rows: int, dim: int) -> tuple[int, ...]:
    """Return the shape of some rows of a table."""
    return (rows,) if table == "starts" else (rows, dim)


def chunk_rows(table: Table, dim: int) -> int:
    """Return the number of rows in a chunk of a table of a new cache."""
    row_bytes = 4 * (1 if table == "starts" else dim)
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes))


def header(spec: FeatureSpec) -> dict[str, str | int]:
    """Return what a cache says of itself in its attributes."""
    return {"format": FORMAT, "version": VERSION, "spec": json.dumps(spec.to_dict()), "digest": spec.digest()}


def read_header(attributes: Mapping[str, Any], path: Path) -> FeatureSpec:
    """Read the spec in the attributes of a cache, if they are of this version and undamaged."""
    if attributes.get("format") != FORMAT:
        raise CacheError(f"{path} is no feature cache; name one that `emoclim extract` made")
    if attributes.get("version") != VERSION:
        raise CacheError(
            f"cache {path} is of version {attributes.get('version')} of the format, and only {VERSION} can be read; "
            "update emoclim, or extract anew"
        )
    try:
        spec = FeatureSpec.from_dict(json.loads(attributes["spec"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CacheError(f"cache {path} is damaged: its spec cannot be read ({error}); extract anew") from error
    if spec.digest() != attributes.get("digest"):
        raise CacheError(f"cache {path} is damaged: its spec does not match its digest; delete it and extract anew")
    return spec
