"""Lines of a ledger: JSON lists of a record's CRC-32 and the record, of which only the last can be torn.

Convention: a line ends in a newline, and is on the disk before the next one is begun.
"""

import json
import zlib
from typing import Any


def to_line(record: Any) -> bytes:
    """The line of a record."""
    return _line(json.dumps(record, separators=(",", ":")).encode("ascii"))


def from_line(line: bytes) -> Any:
    """The record of a line; raise ValueError if the line is unsound."""
    if not _is_sound(line):
        raise ValueError("its checksum does not match")
    return json.loads(_text(line))


def split_lines(raw: bytes) -> tuple[list[bytes], bool]:
    """Cut a ledger, behind which zeros may follow, into its lines."""
    lines = raw.rstrip(b"\0").splitlines(keepends=True)
    if not lines or _is_sound(lines[-1]):
        return lines, False
    last = lines.pop()
    return lines, last.endswith(b"\n") or _is_sound(last[:-1] + b"\n")


def _line(text: bytes) -> bytes:
    return b'["%08x",%b]\n' % (zlib.crc32(text), text)


def _text(line: bytes) -> bytes:
    return line[12:-2]


def _is_sound(line: bytes) -> bool:
    return line == _line(_text(line))
