"""Find the sounds that lie one after another in a file, and where a header counts less of one than there is.

What a decoder is given by :func:`find_parts` is one sound whose length is right. Only headers are read, and of Ogg all
pages are looked for. What cannot be mended for certain is refused.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from struct import unpack
from typing import BinaryIO

from emoclim.data.media.containers.chunks import AU, CONTAINERS, scan_au, scan_chunks
from emoclim.data.media.containers.flac import scan_flac
from emoclim.data.media.containers.mpeg import find_packet, packet_at, split_packets
from emoclim.data.media.containers.view import BEGINS, Bytes, Part
from emoclim.errors import DecodeError

MAX_PARTS = 1000
OGG_PAGE = 65_307  # bytes at most
OGG_BEGINS = re.compile(rb"OggS\0[\x02\x06]")  # pages that begin a stream, and may end it, too
EBML_BEGINS = re.compile(rb"\x1a\x45\xdf\xa3[\x01-\xff].{0,7}?\x42[\x82\x86]", re.S)  # the head of Matroska and WebM


def find_parts(stream: BinaryIO) -> list[Part]:
    """Return the sounds of a file; one that is not known here is one part, for a decoder to try."""
    file = Bytes(stream)
    parts: list[Part] = []
    place = file.skip_tags(0)
    while found := _scan(file, place):
        parts += found
        place = file.skip_tags(parts[-1].stop)
        if len(parts) > MAX_PARTS:
            raise DecodeError(f"the file holds more than {MAX_PARTS} sounds one after another; split it")
    return parts or [Part(0, file.size)]


def find_mp3(stream: BinaryIO) -> list[Part]:
    """Return the MP3 in a file that begins with other bytes."""
    file = Bytes(stream)
    place = find_packet(file, 0)
    return [] if place is None else list(split_packets(file, place))


def _scan(file: Bytes, place: int) -> list[Part]:
    head = file.at(place, 8)
    mark, kind = head[:4], BEGINS.get(head[:4])
    if mark in CONTAINERS:
        return [scan_chunks(file, place, CONTAINERS[mark])]
    if mark in AU:
        return [scan_au(file, place)]
    if kind == "flac":
        return scan_flac(file, place)
    if kind == "ogg":
        return _scan_ogg(file, place)
    if kind == "matroska":
        return _cut(file, "matroska", [place, *file.find(EBML_BEGINS, place + 1, file.size)])
    if head[4:] == b"ftyp":
        return _cut(file, "mov", _mov_begins(file, place))
    if kind:
        return [Part(place, file.size, kind)]
    return list(split_packets(file, place)) if packet_at(file, place) else []


def _cut(file: Bytes, kind: str, begins: Iterable[int]) -> list[Part]:
    return [Part(first, last, kind) for first, last in pairwise([*begins, file.size])]


def _scan_ogg(file: Bytes, start: int) -> list[Part]:
    """Cut a chain of Ogg streams into its links; those that begin together are one (RFC 3533, section 4)."""
    begins, end = [start], start + _page_size(file.at(start, 27 + 255))
    for place in file.find(OGG_BEGINS, start + 1, file.size):
        if place != end:
            begins.append(place)
        end = place + _page_size(file.at(place, 27 + 255))
    parts = _cut(file, "ogg", begins)
    links = []
    for part in parts:
        links.append(replace(part, stop=_end_of_last_page(file, part)))
        after = file.skip_tags(links[-1].stop)
        if after < part.stop and (file.begins(after) or packet_at(file, after)):
            return links  # and then something else
    return links if len(parts) > 1 else parts


def _page_size(page: bytes) -> int:
    return 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 27


def _end_of_last_page(file: Bytes, part: Part) -> int:
    """Return where an Ogg stream's last page ends, which must be whole, and marked as the end (RFC 3533, section 6)."""
    first = max(part.start, part.stop - 2 * OGG_PAGE)
    tail = file.at(first, part.stop - first)
    place = tail.rfind(b"OggS")
    page = tail[place:]
    if len(page) < _page_size(page):
        raise DecodeError("the file is cut short: the last page of its Ogg stream is not whole; fetch it again")
    if not page[5] & 4:
        raise DecodeError(
            "the mark at the end of its Ogg stream is missing: it is cut short, or was never finished; fetch it again, "
            "or write it anew if it plays to its end"
        )
    return first + place + _page_size(page)


def _mov_begins(file: Bytes, start: int) -> Iterator[int]:
    """Yield where the MP4 files that lie one after another begin."""
    place = start
    while place + 8 <= file.size:
        size, name = unpack(">I4s", file.at(place, 8))
        if name == b"ftyp":
            yield place
        if size == 1:
            size = int.from_bytes(file.at(place + 8, 8), "big")
        if size < 8:
            return
        place += size
