"""The lines of a ledger, one per commit.

A line is a JSON list of the CRC-32 of a record and that record, and ends in a newline. A record is either

* ``{"row": r, "segment": s, "keys": ..., "count": ..., "seconds": ..., "value": ..., "segments": ...}``: the values of
  these items are the rows of the values table from r on, in order; their segments, `count` of each, are the rows of the
  segments table from s on. The keys are one text with `|` between them, or a list where a key has one or is no UTF-8.
  The others are COLUMNS in base64: the checksum `value` is of the bytes of the value, and `segments` of those of the
  segments and then of their starts;
* ``{"row": r, "segment": s, "items": [[key, count, seconds, value, segments], ...]}``: the same, as earlier versions
  wrote it;
* ``{"failure": [key, reason]}``: why the content `key` cannot be encoded;
* ``{"left_out": [key, ...]}``: these items, whose numbers are damaged, count no more; their rows stay taken.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from emoclim.data import Texts

# of an item: its first segment, the number of them, its length in seconds, and the checksums
RECORD = np.dtype([("first", "i8"), ("count", "i8"), ("seconds", "f8"), ("value", "u4"), ("segments", "u4")])
COLUMNS = {"count": "<u4", "seconds": "<f8", "value": "<u4", "segments": "<u4"}  # of a line
BETWEEN = "|"  # keys
SEALED = slice(12, -2)  # what of a line has its checksum before it

MAX_SEGMENTS = 2**40  # of an item: no table holds more, and the sum of a line stays a number of 64 bits


class Commit(NamedTuple):
    """Items that are counted at once."""

    keys: Sequence[str]
    records: NDArray[Any]  # (n,) of RECORD; `first` counts from the first segment of them all

    @classmethod
    def of(cls, keys: Sequence[str], columns: Mapping[str, Any]) -> Self:
        """Join keys and their COLUMNS; raise ValueError where they cannot be."""
        records = np.zeros(len(keys), RECORD)
        for name in COLUMNS:
            if len(columns[name]) != len(keys):
                raise ValueError(f"it has {len(columns[name])} of {name} for {len(keys)} items")
            records[name] = columns[name]
        counts = records["count"]
        possible = (counts >= 0) & (counts <= MAX_SEGMENTS) & np.isfinite(records["seconds"])
        if not (len(keys) and possible.all()):
            raise ValueError("it counts what cannot be")
        records["first"] = counts.cumsum() - counts
        return cls(keys, records)

    def line(self, taken: tuple[int, int]) -> bytes:
        """Make the line that commits these items behind rows that are taken."""
        parts = {name: self.records[name].astype(kind).tobytes() for name, kind in COLUMNS.items()}
        columns = {name: b64encode(part).decode() for name, part in parts.items()}
        joined = Texts.of(self.keys).joined(BETWEEN)
        keys = list(self.keys) if joined is None else joined
        return to_line({"row": taken[0], "segment": taken[1], "keys": keys, **columns})


def read_commit(record: Mapping[str, Any]) -> Commit:
    """Read the record of a line that commits items; raise ValueError or TypeError where it is none."""
    keys: Any
    match record:
        case {"keys": str() | list() as keys, **columns}:
            parts = {name: b64decode(columns.get(name, "")) for name in COLUMNS}
            found: dict[str, Any] = {name: np.frombuffer(parts[name], kind) for name, kind in COLUMNS.items()}
            keys = Texts.split(keys, BETWEEN) if isinstance(keys, str) else keys
        case {"items": items}:
            keys, *plain = zip(*items, strict=True)
            found = dict(zip(COLUMNS, plain, strict=True))
        case _:
            raise ValueError("it is no record of this version")
    if not isinstance(keys, Texts) and not all(isinstance(key, str) for key in keys):
        raise ValueError("it has a key that is no text")
    return Commit.of(keys, found)


def read_record(line: bytes) -> Any:
    """Read a line; raise ValueError if it is unsound."""
    if not is_sound(line):
        raise ValueError("its checksum does not match")
    return json.loads(line[SEALED])


def to_line(record: Any) -> bytes:
    """Make a line of a record."""
    text = json.dumps(record, separators=(",", ":")).encode("ascii")
    return b'["%08x",%b]\n' % (zlib.crc32(text), text)


def is_sound(line: bytes) -> bool:
    """Tell whether a line is as it was written."""
    sealed = memoryview(line)[SEALED]
    return line.startswith(b'["%08x",' % zlib.crc32(sealed)) and line.endswith(b"]\n")


def had_its_end(line: bytes) -> bool:
    """Tell whether an unsound last line is rather damaged than torn."""
    return line.endswith(b"\n") or is_sound(line[:-1] + b"\n")


def split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut the blocks of a ledger into lines; zeros at its end count for nothing."""
    rest, zeros = bytearray(), 0  # of a line, and how many follow it, which may be very many
    for block in blocks:
        begin = 0
        while end := block.find(b"\n", begin) + 1:
            yield b"".join([rest, b"\0" * zeros, block[begin:end]])
            rest, zeros, begin = bytearray(), 0, end
        part = block[begin:].rstrip(b"\0")
        rest += b"\0" * zeros + part if part else b""
        zeros = len(block) - begin - len(part) + (0 if part else zeros)
    if rest:
        yield bytes(rest)
