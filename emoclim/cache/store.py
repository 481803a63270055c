"""What a file format must offer to hold a cache: three tables of rows, and one ledger.

Convention: rows and bytes of the ledger are written once, behind all that is committed, and nothing committed is ever
written again; so whatever a writer was doing when it died, it did to rows and bytes that no ledger line counts.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from emoclim.data import FeatureSpec
from emoclim.errors import CacheError

Table = Literal["values", "segments", "starts"]  # (rows, D), (rows, D) and (rows,), all float32
Rows = NDArray[np.float32]

FORMAT = "emoclim-features"
VERSION = 1
CHUNK_BYTES = 2**21  # large enough to be read at the speed of the disk, small enough to be rewritten for a few rows
CHUNK_ROWS = 4096


class Store(ABC):
    """A cache as it lies on the disk, open for reading or for the one writer.

    Errors of the operating system and of the format's library pass through as OSError or ValueError.
    """

    path: Path
    spec: FeatureSpec

    @abstractmethod
    def read_ledger(self) -> bytes:
        """All lines; the end may be torn, and zero bytes may follow."""

    @abstractmethod
    def holds(self, table: Table) -> int:
        """Number of rows that there is room for."""

    @abstractmethod
    def read(self, table: Table, first: int, last: int) -> Rows:
        """Rows from `first` up to `last`, at least one, as they lie there; NaN where they are missing."""

    @abstractmethod
    def write(self, rows: Mapping[Table, tuple[int, Rows]]) -> None:
        """Put rows at and behind the given one of each table, making room; they are on the disk on return."""

    @abstractmethod
    def reseal(self, table: Table, rows: NDArray[np.int64]) -> None:
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


class Backend(Protocol):
    """The module of a file format."""

    def open_store(self, path: Path, *, writable: bool) -> Store:
        """Open what is there."""

    def create_store(self, path: Path, spec: FeatureSpec) -> Store:
        """Make an empty cache, which appears whole or not at all, and open it for writing."""


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Tell in one sentence that a part is not there, or is of another kind, while a cache is looked over."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise CacheError(f"cache {path} is damaged ({error}); delete it and extract anew") from error


def shape_of(table: Table, rows: int, dim: int) -> tuple[int, ...]:
    """Shape of some rows of a table."""
    return (rows,) if table == "starts" else (rows, dim)


def chunk_rows(table: Table, dim: int) -> int:
    """Rows of one chunk of a table in a new cache."""
    (_, *width) = shape_of(table, 0, dim)
    row_bytes = 4 * int(np.prod(width, dtype=np.int64))
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes))


def header(spec: FeatureSpec) -> dict[str, str | int]:
    """What a cache says of itself in its attributes."""
    return {"format": FORMAT, "version": VERSION, "spec": json.dumps(spec.to_dict()), "digest": spec.digest()}


def read_header(attributes: Mapping[str, Any], path: Path) -> FeatureSpec:
    """Inverse of :func:`header`."""
    if attributes.get("format") != FORMAT:
        raise CacheError(f"{path} is no feature cache; name one that `emoclim extract` made")
    if attributes.get("version") != VERSION:
        raise CacheError(
            f"cache {path} is of version {attributes.get('version')} of the format, and only {VERSION} can be read; "
            "update emoclim, or extract anew"
        )
    try:
        spec = FeatureSpec.from_dict(json.loads(attributes["spec"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"cache {path} is damaged: its spec cannot be read ({error}); extract anew") from error
    if spec.digest() != attributes.get("digest"):
        raise CacheError(f"cache {path} is damaged: its spec does not match its digest; delete it and extract anew")
    return spec
