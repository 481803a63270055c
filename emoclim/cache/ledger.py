"""The ledger of a cache on disk: one line per commit; what it does not count is not there.

Convention: a line is a JSON list of the CRC-32 of a record and that record, which is either

* ``{"row": r, "segment": s, "items": [[key, count, seconds, value_crc32, segments_crc32], ...]}``: the values of these
  items are the rows of the values table from r on, in order; their segments, `count` of each, are the rows of the
  segments table from s on; the first checksum is of the bytes of the value, the second of those of the segments and
  then of their starts;
* ``{"failure": [key, reason]}``: why the content `key` cannot be encoded.

Rows are taken in order and without gaps, so each line also says what all lines before it must add up to. A line is
written when its rows, and the line before it, are on the disk. So one unsound line at the end may be torn, and counts
for nothing; any other unsound line is damage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emoclim.cache.base import EncodedItem
from emoclim.cache.lines import from_line, split_lines, to_line
from emoclim.cache.rows import segment_checksums, value_checksums
from emoclim.cache.store import Rows, Table
from emoclim.errors import CacheError

# of an item: its first segment, the number of them, its length in seconds, and the checksums
RECORD = np.dtype([("first", "i8"), ("count", "i8"), ("seconds", "f8"), ("value", "u4"), ("segments", "u4")])


@dataclass(slots=True)
class Ledger:
    """What the lines so far add up to.

    Attributes
    ----------
    rows
        Row of each committed item by its key, in the order of rows.
    failures
        Reasons by key.
    n_segments
        Rows of the segments table that are taken; of the values table, there is one per item.
    size
        Bytes of the sound lines; the next one goes there.
    lost_end
        Whether an unsound line behind them has an end: hardly one that a dying writer tore, but a spoilt commit.
    """

    rows: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    n_segments: int = 0
    size: int = 0
    lost_end: bool = False
    _records: list[NDArray[Any]] = field(default_factory=lambda: [np.empty(0, RECORD)])

    @property
    def records(self) -> NDArray[Any]:
        """What is known of the item of each row: ``(n,)`` of RECORD."""
        if len(self._records) > 1:
            self._records = [np.concatenate(self._records)]
        return self._records[0]

    @classmethod
    def replay(cls, raw: bytes, where: str) -> Self:
        """Add up the lines of a ledger; an unsound last one is left out.

        Raises
        ------
        CacheError
            Another line is unsound, or one does not follow those before it.
        """
        ledger = cls()
        lines, ledger.lost_end = split_lines(raw)
        for number, line in enumerate(lines, start=1):
            try:
                ledger.add(line)
            except (ValueError, TypeError) as error:
                what = f"line {number} of its ledger cannot be used ({error})"
                raise CacheError(f"{where} is damaged: {what}; delete it and extract anew") from error
        return ledger

    def add(self, line: bytes) -> None:
        """Count one line; raise ValueError or TypeError if it is unsound or does not follow the others."""
        match from_line(line):
            case {"row": row, "segment": segment, "items": items}:
                if (row, segment) != (len(self.rows), self.n_segments):
                    raise ValueError("it does not follow the lines before it")
                self._add_items(items)
            case {"failure": [key, reason]}:
                self.failures[key] = reason
            case _:
                raise ValueError("it is no record of this version")
        self.size += len(line)

    def items_line(self, items: Sequence[EncodedItem], rows: Mapping[Table, Rows]) -> bytes:
        """The line that commits `items`, which are the next `rows` of the tables."""
        counts = np.array([0 if item.segments is None else len(item.segments) for item in items], np.int64)
        values = value_checksums(rows["values"])
        segments = segment_checksums(rows.get("segments"), rows.get("starts"), counts)
        seconds = [float(item.seconds) for item in items]
        records = zip(
            (item.key for item in items), counts.tolist(), seconds, values.tolist(), segments.tolist(), strict=True
        )
        return to_line({"row": len(self.rows), "segment": self.n_segments, "items": list(records)})

    def failure_line(self, key: str, reason: str) -> bytes:
        """The line that records a failure."""
        return to_line({"failure": (key, reason)})

    def _add_items(self, items: Sequence[tuple[str, int, float, int, int]]) -> None:
        keys, counts, seconds, values, segments = zip(*items, strict=True)
        records = np.empty(len(items), RECORD)
        records["count"], records["seconds"], records["value"], records["segments"] = counts, seconds, values, segments
        ends = self.n_segments + records["count"].cumsum()
        records["first"] = ends - records["count"]
        self._records.append(records)
        self.rows.update(zip(keys, range(len(self.rows), len(self.rows) + len(keys)), strict=True))
        self.n_segments = int(ends[-1])
        for key in self.failures.keys() & keys:
            del self.failures[key]
