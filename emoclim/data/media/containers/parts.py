"""Find the sounds that lie one after another in a file, and where a header counts less of one than there is.

What a decoder is given by :func:`find_parts` is one sound whose length is right. Only headers are read, and of Ogg all
pages are looked for. What cannot be mended for certain is refused.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from struct import unpack
from typing import BinaryIO

from emoclim.data.media.containers.chunks import AU, CONTAINERS, scan_au, scan_chunks
from emoclim.data.media.containers.flac import scan_flac
from emoclim.data.media.containers.mpeg import find_packet, packet_at, split_packets
from emoclim.data.media.containers.ogg import scan_ogg
from emoclim.data.media.containers.view import BEGINS, Bytes, Part, require_few
from emoclim.errors import DecodeError

SEARCH = 65_536  # bytes at the beginning of an unknown file in which MP3 packets are looked for
EBML_BEGINS = re.compile(rb"\x1a\x45\xdf\xa3[\x01-\xff].{0,7}?\x42[\x82\x86]", re.S)  # the head of Matroska and WebM


def find_parts(stream: BinaryIO) -> list[Part]:
    """Return the sounds of a file; one that is not known here is one part, for a decoder to try."""
    file = Bytes(stream)
    parts: list[Part] = []
    place = file.skip_tags(0)
    known = 0
    while place < file.size:
        for part in _scan(file, place):
            parts.append(part)
            require_few(len(parts))
        if len(parts) == known:
            break
        known, place = len(parts), file.skip_tags(parts[-1].stop)
    return parts or [Part(0, file.size)]


def find_mp3(stream: BinaryIO) -> list[Part]:
    """Return the MP3 in a file that begins with other bytes."""
    file = Bytes(stream)
    place = find_packet(file, 0, SEARCH)
    return [] if place is None else [part for part in split_packets(file, place) if part.kind == "mp3"]


def _scan(file: Bytes, place: int) -> Iterable[Part]:
    head = file.at(place, 8)
    mark, kind = head[:4], BEGINS.get(head[:4])
    if mark in CONTAINERS:
        return [scan_chunks(file, place, CONTAINERS[mark])]
    if mark in AU:
        return [scan_au(file, place)]
    if kind == "flac":
        return scan_flac(file, place)
    if kind == "ogg":
        return scan_ogg(file, place)
    if kind == "matroska":
        parts = _cut(file, "matroska", [place, *file.find(EBML_BEGINS, place + 1, file.size)])
        for part in parts:
            _require_segment(file, part)
        return parts
    if head[4:] == b"ftyp":
        return _cut(file, "mov", _mov_begins(file, place))
    if kind:
        return [Part(place, file.size, kind)]
    return split_packets(file, place) if packet_at(file, place) else []


def _cut(file: Bytes, kind: str, begins: Iterable[int]) -> list[Part]:
    return [Part(first, last, kind) for first, last in pairwise([*begins, file.size])]


def _mov_begins(file: Bytes, start: int) -> Iterator[int]:
    """Yield where the MP4 files that lie one after another begin."""
    place, count = start, 0
    while place + 8 <= file.size:
        count += 1
        require_few(count)
        size, name = unpack(">I4s", file.at(place, 8))
        if name == b"ftyp":
            yield place
        if size == 1:
            size = int.from_bytes(file.at(place + 8, 8), "big")
        if size < 8:
            return
        place += size
    if place > file.size:
        raise DecodeError(f"the file is cut short: {place - file.size} bytes are missing at its end; fetch it again")


def _require_segment(file: Bytes, part: Part) -> None:
    """Refuse a Matroska or WebM file that is shorter than its two elements state (RFC 8794, section 6)."""
    place = part.start
    for _ in ("head", "segment"):
        first = file.at(place + 4, 1) or b"\0"  # after its name
        width = 9 - first[0].bit_length()
        unknown = (1 << 7 * width) - 1
        size = int.from_bytes(file.at(place + 4, width), "big") & unknown
        place += 4 + width + (size if size < unknown else 0)
        if place > part.stop:
            missing = place - part.stop
            raise DecodeError(f"the file is cut short: {missing} bytes are missing at its end; fetch it again")
