"""The ledger of a cache on disk: one line per commit; what it does not count is not there. Used by `DiskCache`.

A line is a JSON list of the CRC-32 of a record and that record, and ends in a newline. A record is either

* ``{"row": r, "segment": s, "items": [[key, count, seconds, value_crc32, segments_crc32], ...]}``: the values of these
  items are the rows of the values table from r on, in order; their segments, `count` of each, are the rows of the
  segments table from s on; the first checksum is of the bytes of the value, the second of those of the segments and
  then of their starts;
* ``{"failure": [key, reason]}``: why the content `key` cannot be encoded;
* ``{"left_out": [key, ...]}``: these items, whose numbers are damaged, count no more; their rows stay taken.

Invariant: rows are taken in order and without gaps, so each line also says what all lines before it must add up to. A
line is written when its rows, and the line before it, are on the disk. So one unsound line at the end may be torn, and
counts for nothing; any other unsound line is damage.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from google_crc32c import extend
from google_crc32c import value as checksum
from numpy.typing import NDArray

from emoclim.cache.store import Rows, Table
from emoclim.errors import CacheError

if TYPE_CHECKING:
    from emoclim.data import MappedRows

# of an item: its first segment, the number of them, its length in seconds, and the checksums
RECORD = np.dtype([("first", "i8"), ("count", "i8"), ("seconds", "f8"), ("value", "u4"), ("segments", "u4")])

MAX_SEGMENTS = 2**40  # of an item: no table holds more, and the sum of a line stays a number of 64 bits


@dataclass(slots=True)
class Ledger:
    """What the lines so far add up to."""

    rows: dict[str, int] = field(default_factory=dict)  # of each committed item by its key, in the order of rows
    failures: dict[str, str] = field(default_factory=dict)  # reasons by key
    taken: tuple[int, int] = (0, 0)  # rows of the tables of values and of segments, also of items that were left out
    size: int = 0  # bytes of the sound lines; the next one goes there
    lost_end: bool = False  # an unsound line behind them has an end: hardly torn by a dying writer, but a spoilt commit
    _records: list[NDArray[Any]] = field(default_factory=lambda: [np.empty(0, RECORD)])

    @property
    def records(self) -> NDArray[Any]:
        """Return what is known of the item of each row: ``(n,)`` of RECORD."""
        if len(self._records) > 1:
            self._records = [np.concatenate(self._records)]
        return self._records[0]

    @property
    def n_segments(self) -> int:
        """Count the segments of all committed items."""
        return int(self.records["count"][list(self.rows.values())].sum())

    def segments_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Return records ``(n,)`` of the items of rows, offsets ``(n + 1,)`` and rows ``(R,)`` of their segments."""
        records = self.records.take(rows)
        counts = records["count"]
        offsets = np.concatenate([[0], counts.cumsum()])
        return records, offsets, (records["first"] - offsets[:-1]).repeat(counts) + np.arange(offsets[-1])

    @classmethod
    def replay(cls, raw: bytes, where: str) -> Self:
        """Add up the lines of a ledger; an unsound last one is left out."""
        ledger = cls()
        lines, ledger.lost_end = _split_lines(raw)
        for number, line in enumerate(lines, start=1):
            try:
                ledger.add(line)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                what = f"line {number} of its ledger cannot be used ({error})"
                raise CacheError(f"{where} is damaged: {what}; delete it and extract anew") from error
        return ledger

    def add(self, line: bytes) -> None:
        """Count one line; raise what :meth:`replay` tells of where it is unsound or does not follow the others."""
        match _record(line):
            case {"row": row, "segment": segment, "items": items}:
                if (row, segment) != self.taken:
                    raise ValueError("it does not follow the lines before it")
                self._add_items(items)
            case {"left_out": keys}:
                for key in keys:
                    if self.rows.pop(key, None) is None:
                        raise ValueError("it leaves out what is not there")
            case {"failure": [str(key), str(reason)]}:
                self.failures[key] = reason
            case _:
                raise ValueError("it is no record of this version")
        self.size += len(line)

    def items_line(
        self, keys: Sequence[str], counts: NDArray[np.int64], seconds: Sequence[float], rows: Mapping[Table, Rows]
    ) -> bytes:
        """Make the line that commits items with so many segments, which are the next `rows` of the tables."""
        values = value_checksums(rows["values"])
        segments = segment_checksums(rows.get("segments"), rows.get("starts"), counts)
        records = zip(keys, counts.tolist(), seconds, values.tolist(), segments.tolist(), strict=True)
        row, segment = self.taken
        return _to_line({"row": row, "segment": segment, "items": list(records)})

    def failure_line(self, key: str, reason: str) -> bytes:
        """Make the line that records a failure."""
        return _to_line({"failure": (key, reason)})

    def left_out_line(self, keys: Sequence[str]) -> bytes:
        """Make the line that takes items back."""
        return _to_line({"left_out": list(keys)})

    def _add_items(self, items: Sequence[tuple[str, int, float, int, int]]) -> None:
        keys, counts, seconds, values, segments = zip(*items, strict=True)
        records = np.empty(len(items), RECORD)
        records["count"], records["seconds"], records["value"], records["segments"] = counts, seconds, values, segments
        possible = (records["count"] >= 0) & (records["count"] <= MAX_SEGMENTS) & np.isfinite(records["seconds"])
        if not possible.all() or not all(isinstance(key, str) for key in keys):
            raise ValueError("it counts what cannot be")
        row, segment = self.taken
        ends = segment + records["count"].cumsum()
        records["first"] = ends - records["count"]
        self._records.append(records)
        before = len(self.rows)
        self.rows.update(zip(keys, range(row, row + len(keys)), strict=True))
        if len(self.rows) != before + len(keys):
            raise ValueError("it counts an item twice")
        self.taken = row + len(keys), int(ends[-1])
        for key in self.failures.keys() & keys:
            del self.failures[key]


def damaged_items(
    records: NDArray[Any], values: "Rows | MappedRows", segments: Rows, starts: Rows, *, verify: bool
) -> NDArray[np.bool_]:
    """Find items ``(n,)`` whose rows do not match the checksums of their records or, unverified, are not there."""
    damaged: NDArray[np.bool_]
    if verify or not isinstance(values, np.ndarray):
        damaged = value_checksums(values) != records["value"]
        damaged |= segment_checksums(segments, starts, records["count"]) != records["segments"]
    else:
        damaged = np.isnan(values[:, 0])
        owners = np.arange(len(records)).repeat(records["count"])  # (R,)
        damaged[owners[np.isnan(segments[:, 0] + starts)]] = True
    return damaged


def value_checksums(values: "Rows | MappedRows") -> NDArray[np.uint32]:
    """Compute the CRC-32C of the bytes of each of the values ``(n, D)``."""
    return np.fromiter(map(checksum, values), np.uint32, len(values))


def segment_checksums(segments: Rows | None, starts: Rows | None, counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Compute the CRC-32C of each item's segments ``(R, D)`` and then starts ``(R,)``; 0 where its count is 0."""
    found = np.zeros(len(counts), np.uint32)
    if segments is None or starts is None:
        return found
    ends = counts.cumsum()
    for item in np.flatnonzero(counts):
        own = slice(ends[item] - counts[item], ends[item])
        found[item] = extend(checksum(segments[own]), starts[own])
    return found


def _to_line(record: Any) -> bytes:
    return _sealed(json.dumps(record, separators=(",", ":")).encode("ascii"))


def _sealed(text: bytes) -> bytes:
    return b'["%08x",%b]\n' % (zlib.crc32(text), text)


def _text(line: bytes) -> bytes:
    return line[12:-2]


def _record(line: bytes) -> Any:
    """Read a line; raise ValueError if it is unsound."""
    if line != _sealed(_text(line)):
        raise ValueError("its checksum does not match")
    return json.loads(_text(line))


def _split_lines(raw: bytes) -> tuple[list[bytes], bool]:
    """Cut a ledger into lines without a torn last one; tell whether that one has an end, and is rather damaged."""
    lines = raw.rstrip(b"\0").splitlines(keepends=True)
    if not lines or lines[-1] == _sealed(_text(lines[-1])):
        return lines, False
    last = lines.pop()
    return lines, last.endswith(b"\n") or (last[:-1] + b"\n") == _sealed(_text(last))
