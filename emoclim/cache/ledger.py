"""The ledger of a cache on disk: one line per commit; what it does not count is not there.

Convention: a line is a JSON list of the CRC-32 of a record and that record, which is either

* ``{"row": r, "segment": s, "items": [[key, count, seconds], ...]}``: the values of these items are the rows of the
  values table from r on, in order; their segments, `count` of each, are the rows of the segments table from s on;
* ``{"failure": [key, reason]}``: why the content `key` cannot be encoded.

Rows are taken in order and without gaps, so each line also says what all lines before it must add up to. A line is
written when its rows are on the disk. What is unsound at the end was torn, and counts for nothing; an unsound line with
sound ones behind it is damage.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from emoclim.cache.base import EncodedItem
from emoclim.errors import CacheError


class Entry(NamedTuple):
    """Where an item lies: its row; the first and the number of its segments; its length in seconds."""

    row: int
    first: int
    n_segments: int
    seconds: float


@dataclass(slots=True)
class Ledger:
    """What the lines so far add up to.

    Attributes
    ----------
    entries
        Committed items by key, in the order of their rows.
    failures
        Reasons by key.
    n_segments
        Rows of the segments table that are taken; of the values table, there is one per entry.
    size
        Bytes of the sound lines; the next one goes there.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    n_segments: int = 0
    size: int = 0

    @classmethod
    def replay(cls, raw: bytes, where: str) -> Self:
        """Add up the lines of a ledger, up to the last sound one.

        Raises
        ------
        CacheError
            A line before that is unsound, or one does not follow those before it.
        """
        ledger = cls()
        lines = raw.rstrip(b"\0").splitlines(keepends=True)
        while lines and not _is_sound(lines[-1]):
            del lines[-1]
        for number, line in enumerate(lines, start=1):
            try:
                ledger.add(line)
            except ValueError as error:
                what = f"line {number} of its ledger cannot be used ({error})"
                raise CacheError(f"{where} is damaged: {what}; delete it and extract anew") from error
        return ledger

    def add(self, line: bytes) -> None:
        """Count one line; raise ValueError, having changed nothing, if it is unsound or does not follow the others."""
        if not _is_sound(line):
            raise ValueError("its checksum does not match")
        match json.loads(_text(line)):
            case {"row": row, "segment": segment, "items": items}:
                if (row, segment) != (len(self.entries), self.n_segments):
                    raise ValueError("it does not follow the lines before it")
                self._add_items(items)
            case {"failure": [key, reason]}:
                self.failures[key] = reason
            case _:
                raise ValueError("it is no record of this version")
        self.size += len(line)

    def items_line(self, items: Sequence[EncodedItem]) -> bytes:
        """The line that commits `items` as the next rows."""
        rows = [(item.key, 0 if item.segments is None else len(item.segments), float(item.seconds)) for item in items]
        return _encode({"row": len(self.entries), "segment": self.n_segments, "items": rows})

    def failure_line(self, key: str, reason: str) -> bytes:
        """The line that records a failure."""
        return _encode({"failure": (key, reason)})

    def _add_items(self, items: list[tuple[str, int, float]]) -> None:
        row, segment = len(self.entries), self.n_segments
        for key, count, seconds in items:
            self.entries[key] = Entry(row, segment, count, seconds)
            row += 1
            segment += count
            self.failures.pop(key, None)
        self.n_segments = segment


def _encode(record: dict[str, Any]) -> bytes:
    return _line(json.dumps(record, separators=(",", ":")).encode("ascii"))


def _line(text: bytes) -> bytes:
    return b'["%08x",%b]\n' % (zlib.crc32(text), text)


def _text(line: bytes) -> bytes:
    return line[12:-2]


def _is_sound(line: bytes) -> bool:
    return line == _line(_text(line))
