"""Find the sounds that lie one after another in a file, and where a header counts less of one than there is.

What a decoder is given by :func:`find_parts` is one sound whose length is right. Only headers are read, and of Ogg all
pages are looked for. What cannot be mended for certain is refused.
"""

import re
from collections.abc import Iterable
from functools import partial
from struct import unpack
from typing import BinaryIO

from emoclim.data.media.containers.chunks import AU, CONTAINERS, scan_au, scan_chunks
from emoclim.data.media.containers.flac import scan_flac
from emoclim.data.media.containers.mpeg import find_packet, packet_at, split_packets
from emoclim.data.media.containers.ogg import scan_ogg
from emoclim.data.media.containers.view import BEGINS, Bytes, Part, require_few
from emoclim.errors import DecodeError

SEARCH = 65_536  # bytes after the zeros at the beginning of an unknown file in which packets are looked for
EBML_BEGINS = re.compile(rb"\x1a\x45\xdf\xa3[\x01-\xff].{0,7}?\x42[\x82\x86]", re.S)  # the head of Matroska and WebM
ELEMENTS = frozenset(  # of Matroska, in a segment or a cluster
    map(
        bytes.fromhex,
        "114d9b74 1549a966 1654ae6b 1f43b675 1c53bb6b 1941a469 1043a770 1254c367 ec bf e7 5854 a7 ab a3 a0 af".split(),
    )
)
BOXES = frozenset(  # of MP4 and QuickTime, of which files consist
    b"ftyp moov mdat free skip wide uuid meta moof mfra sidx ssix styp prft emsg pnot PICT pdin udta".split()
)

FIRST_BOXES = frozenset(b"moov mdat wide free skip pnot".split())  # with which old files of QuickTime begin
TS_PACKET, TS_PACKETS = 188, 4  # bytes, and how many in a row are looked at


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
    return parts or [_up_to_tags(file, place if place < file.size else 0)]


def find_packets(stream: BinaryIO) -> list[Part]:
    """Return the MP3 or AAC in a file that begins with other bytes."""
    file = Bytes(stream)
    first = next(file.find(re.compile(rb"[^\0]"), 0, file.size), 0)
    place = find_packet(file, first, first + SEARCH)
    return [] if place is None else [*split_packets(file, place)]


def _scan(file: Bytes, place: int) -> Iterable[Part]:
    head = file.at(place, 8)
    mark, kind = head[:4], BEGINS.get(head[:4])
    if mark == b"RIFF" and file.at(place + 8, 4) == b"AVI ":
        _require_there(file, place + 8 + int.from_bytes(head[4:], "little"))
        return [Part(place, file.size, "avi")]
    if mark in CONTAINERS:
        return [scan_chunks(file, place, CONTAINERS[mark])]
    if mark in AU:
        return [scan_au(file, place)]
    if kind == "flac":
        return scan_flac(file, place, partial(_follows, file))
    if kind == "ogg":
        return scan_ogg(file, place)
    if kind == "matroska":
        following = next(file.find(EBML_BEGINS, place + 1, file.size), file.size)
        return [Part(place, _stop(file, _segment_end(file, place, following), following), kind)]
    if not kind and (file.begins(place) or (head[4:] in FIRST_BOXES and place + _size(head) <= file.size)):
        return [Part(place, _stop(file, _boxes_end(file, place), file.size), "mov")]
    if kind == "asf":
        _require_objects(file, place)
    if {file.at(place + number * TS_PACKET, 1) for number in range(TS_PACKETS)} == {b"G"}:
        kind = "mpegts"
    if kind:
        return [_up_to_tags(file, place, kind)]
    return split_packets(file, place) if packet_at(file, place) else []


def _up_to_tags(file: Bytes, start: int, kind: str | None = None) -> Part:
    """Return what is left of a file as one sound."""
    return Part(start, file.size, kind, tail=file.size - file.trim_end(file.size), hides_tail=True)


def _require_there(file: Bytes, end: int) -> None:
    """Refuse a file that ends before its container does."""
    if end > file.size:
        raise DecodeError(f"the file is cut short: {end - file.size} bytes are missing at its end; fetch it again")


def _require_objects(file: Bytes, place: int) -> None:
    """Refuse a file of WMA that ends within its header or its data, the first two objects."""
    for _ in range(2):
        place += int.from_bytes(file.at(place + 16, 8), "little")
    _require_there(file, place)


def _size(head: bytes) -> int:
    return int.from_bytes(head[:4], "big")


def _stop(file: Bytes, end: int, following: int) -> int:
    """Return where a part stops whose container ends at a place."""
    return end if _follows(file, end) else following


def _follows(file: Bytes, place: int) -> bool:
    """Return whether at a place tags begin, another sound, or nothing."""
    after = file.skip_tags(place)
    return after != place or after == file.size or file.begins(after) or packet_at(file, after) is not None


def _boxes_end(file: Bytes, start: int) -> int:
    """Return where an MP4 file ends (ISO 14496-12, section 4.2); refuse one that is cut, or goes on unknown."""
    place, count = start, 0
    while place + 8 <= file.size and (place == start or not _follows(file, place)):
        count += 1
        require_few(count)
        size, name = unpack(">I4s", file.at(place, 8))
        if size == 1:
            size = int.from_bytes(file.at(place + 8, 8), "big")
        if size == 0 and name in BOXES:  # up to the end of the file
            return file.size
        if size < 8 or (name not in BOXES and place + size > file.size):
            break
        place += size
    _require_there(file, place)
    if not _follows(file, place) and not file.is_zero(place, file.size):
        raise DecodeError(f"{file.size - place} bytes of something else follow after its last box; fetch it again")
    return place


def _segment_end(file: Bytes, start: int, following: int) -> int:
    """Return where the two elements of a Matroska or WebM file end (RFC 8794, section 6); refuse one that is cut."""
    place = start
    for _ in ("head", "segment"):
        _, place, size = _element(file, place)
        if size is None:  # of a stream that was sent while it was made
            return _elements_end(file, place, following)
        place += size
        if place > following:
            missing = place - following
            raise DecodeError(f"the file is cut short: {missing} bytes are missing at its end; fetch it again")
    return place


def _elements_end(file: Bytes, place: int, following: int) -> int:
    """Return where the elements end that can lie in a segment; into those of unknown size it is gone."""
    while place < following:
        name, content, size = _element(file, place)
        if name not in ELEMENTS:
            if not _follows(file, place) and not file.is_zero(place, following):
                raise DecodeError(f"{following - place} bytes of it are of something else; fetch it again")
            return place
        place = content + (size or 0)
    _require_there(file, place)
    return following


def _element(file: Bytes, place: int) -> tuple[bytes, int, int | None]:
    """Return the name of an element, where its content begins, and its size if that is known."""
    name = file.at(place, 9 - (file.at(place, 1) or b"\0")[0].bit_length())
    place += len(name)
    width = 9 - (file.at(place, 1) or b"\0")[0].bit_length()
    unknown = (1 << 7 * width) - 1
    size = int.from_bytes(file.at(place, width), "big") & unknown
    return name, place + width, None if size == unknown else size
