"""Add up the lines of the ledger of a cache on disk; what it does not count is not there. Used by `DiskCache`.

Invariant: rows are taken in order and without gaps, so each line also says what all lines before it must add up to. A
line is written when its rows, and the line before it, are on the disk. So one unsound line at the end may be torn, and
counts for nothing; any other unsound line is damage. No Python object is kept of each item of many.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emoclim.cache.ledger.keys import BLOCK, KeyIndex
from emoclim.cache.ledger.lines import RECORD, Commit, had_its_end, is_sound, read_commit, read_record, split_lines
from emoclim.data import Texts
from emoclim.errors import CacheError


@dataclass(slots=True)
class Ledger:
    """What the lines so far add up to."""

    keys: KeyIndex = field(default_factory=KeyIndex)  # of committed items, with their rows
    failures: dict[str, str] = field(default_factory=dict)  # reasons by key
    taken: tuple[int, int] = (0, 0)  # rows of the tables of values and of segments, also of items that were left out
    size: int = 0  # bytes of the sound lines; the next one goes there
    lost_end: bool = False  # an unsound line behind them has an end: hardly torn by a dying writer, but a spoilt commit
    _waiting: list[Sequence[str]] = field(default_factory=list)  # keys of the last rows, which are looked up together
    _records: NDArray[Any] = field(default_factory=lambda: np.empty(0, RECORD))  # and room for more behind them

    @property
    def records(self) -> NDArray[Any]:
        """Return what is known of the item of each row: ``(n,)`` of RECORD."""
        return self._records[: self.taken[0]]

    @property
    def n_segments(self) -> int:
        """Count the segments of all committed items."""
        return int(self.records["count"][self.keys.all_rows()].sum())

    def segments_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return offsets ``(n + 1,)`` and rows ``(R,)`` of the segments of the items of rows."""
        counts = self.records["count"][rows]
        offsets = np.concatenate([[0], counts.cumsum()])
        first = self.records["first"][rows] if offsets[-1] else offsets[:-1]
        return offsets, (first - offsets[:-1]).repeat(counts) + np.arange(offsets[-1])

    @classmethod
    def replay(cls, blocks: Iterable[bytes], where: str) -> Self:
        """Add up the lines of a ledger, which comes in blocks; an unsound last one is left out."""
        ledger, lines, number = cls(), split_lines(blocks), 0
        line = next(lines, None)
        try:
            while line is not None:
                following, number = next(lines, None), number + 1
                if following is None and not is_sound(line):
                    ledger.lost_end = had_its_end(line)
                    break
                ledger.add(line)
                line = following
            ledger.settle()
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            what = f"line {number} of its ledger cannot be used ({error})"
            raise CacheError(f"{where} is damaged: {what}; delete it and extract anew") from error
        return ledger

    def add(self, line: bytes) -> None:
        """Count one line, whose keys may wait; raise what :meth:`replay` tells of where it is no sound next one."""
        match read_record(line):
            case {"row": row, "segment": segment} as record:
                if (row, segment) != self.taken:
                    raise ValueError("it does not follow the lines before it")
                commit = read_commit(record)
                self.count(commit)
                self._waiting.append(commit.keys)
                self.settle(BLOCK)
            case {"left_out": keys}:
                self.settle()
                self.keys.remove(keys)
            case {"failure": [str(key), str(reason)]}:
                self.failures[key] = reason
            case _:
                raise ValueError("it is no record of this version")
        self.size += len(line)

    def settle(self, fewest: int = 1) -> None:
        """Look up the keys that wait, if there are as many, and take them in."""
        if (count := sum(map(len, self._waiting))) >= fewest:
            keys = self._waiting[0] if len(self._waiting) == 1 else Texts.join([*map(Texts.of, self._waiting)])
            if (new := self.keys.prepare(keys, self.taken[0] - count)) is None:
                raise ValueError("it, or one before it, counts an item twice")
            self.keys.add(new)
            self._waiting = []

    def count(self, commit: Commit, size: int = 0) -> None:
        """Count items, but for their keys, and so many bytes of their line."""
        records = commit.records
        row, segment = self.taken
        end = row + len(records)
        if end > len(self._records):
            longer = np.empty(2 * end, RECORD)  # of which memory is taken when it is written to
            longer[:row] = self.records
            self._records = longer
        self._records[row:end] = records
        self._records["first"][row:end] += segment
        self.taken = end, segment + int(records["count"].sum())
        self.size += size
        for key in self.failures.keys() & commit.keys if self.failures else ():
            del self.failures[key]
