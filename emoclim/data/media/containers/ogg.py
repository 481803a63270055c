"""Find the Ogg streams that lie one after another in a file, and check that each is whole and counts all that it holds.

How long a stream is stands in its last page (RFC 3533). That page must be undamaged, be marked as the end, and not
count many samples fewer than its packets last: encoders leave out a part of the last packet at most.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from emoclim.data.media.containers.mpeg import packet_at
from emoclim.data.media.containers.ogg_packets import opus_samples, vorbis_modes, vorbis_samples
from emoclim.data.media.containers.view import Bytes, Part
from emoclim.errors import DecodeError

BEGINS = re.compile(rb"OggS\0[\x02\x06]")  # pages that begin a stream, and may end it, too
PAGE = 65_307  # bytes at most
FLAC = b"\x7fFLAC"
SOUNDS = (b"\x01vorbis", b"OpusHead", b"Speex   ", FLAC)
LAST_PAGES = 2  # of which the packets are looked at
HEADERS = 64  # pages that hold them; more hold pictures, and are not looked at
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
TRIM = 2  # packets, of the longest, that the end of a stream may leave out


class _Page(NamedTuple):
    place: int
    ends: bool  # it is marked as the last of its stream
    granule: int  # samples up to its end
    stream: bytes
    lacing: bytes

    @property
    def body(self) -> int:
        return self.place + 27 + len(self.lacing)

    @property
    def stop(self) -> int:
        return self.body + sum(self.lacing)


Durations: TypeAlias = Callable[[Sequence[bytes]], list[int]]  # the first bytes of packets in a row -> samples of each


def scan_ogg(file: Bytes, start: int) -> list[Part]:
    """Cut a chain of streams into its links; those that begin together are one (RFC 3533, section 4)."""
    begins = [[_page(file, start)]]
    for page in (_page(file, place) for place in file.find(BEGINS, start + 1, file.size)):
        if page.place == begins[-1][-1].stop:
            begins[-1].append(page)
        else:
            begins.append([page])
    links = []
    stops = [*[pages[0].place for pages in begins[1:]], file.size]
    for pages, stop in zip(begins, stops, strict=True):
        links.append(_link(file, Part(pages[0].place, stop, "ogg"), pages))
        after = file.skip_tags(links[-1].stop)
        if after < stop and (file.begins(after) or packet_at(file, after)):
            return links  # and then something else
    return links if len(links) > 1 else [replace(links[0], stop=file.size, tail=file.size - links[0].sound_stop)]


def _link(file: Bytes, part: Part, pages: Sequence[_Page]) -> Part:
    """Return streams that begin with some pages as one sound: the first that is known, which is what decoders take."""
    page = next((page for page in pages if file.at(page.body, 9).startswith(SOUNDS)), pages[0])
    last = _last_page(file, part, page.stream)
    _require_whole(file, part, last)
    begin = _first_page(file, part, pages[-1], page.stream)
    part = replace(part, stop=_last_page(file, part, b"").stop, seconds=_flac_seconds(file, page, begin, last))
    if len(pages) > 1:
        return replace(part, tail=part.stop - last.stop)
    _require_all_counted(file, part, last)
    return _without_empty_end(file, part, last)


def _page(file: Bytes, place: int) -> _Page:
    head = file.at(place, 27).ljust(27, b"\0")
    granule = int.from_bytes(head[6:14], "little", signed=True)
    return _Page(place, bool(head[5] & 4), granule, head[14:18], file.at(place + 27, head[26]))


def _last_page(file: Bytes, part: Part, stream: bytes) -> _Page:
    """Return the last page of a stream, or of any if that is empty."""
    mark = re.compile(rb"OggS.{10}" + re.escape(stream), re.S)
    for stop in range(part.stop, part.start, -2 * PAGE):
        first = max(part.start, stop - 2 * PAGE)
        if found := [*mark.finditer(file.at(first, min(stop + 17, part.stop) - first))]:
            return _page(file, first + found[-1].start())
    return _page(file, part.start)


def _require_whole(file: Bytes, part: Part, page: _Page) -> None:
    """Refuse a last page that is cut, is not marked as the end, or is damaged."""
    if page.stop > part.stop or page.body > part.stop:
        raise DecodeError("the file is cut short: the last page of its Ogg stream is not whole; fetch it again")
    if not page.ends:
        raise DecodeError(
            "the mark at the end of its Ogg stream is missing: it is cut short, or was never finished; fetch it again, "
            "or write it anew if it plays to its end"
        )
    _require_undamaged(file, page)


def _without_empty_end(file: Bytes, part: Part, last: _Page) -> Part:
    """Let a stream end with its last packet: libsndfile refuses an Opus that ends with a page without any."""
    before = _pages_up_to(file, part, last)[0]
    if sum(last.lacing) or before is last:
        return part
    _require_undamaged(file, before)
    content = bytearray(file.at(before.place, before.stop - before.place))
    content[5] |= 4
    content[6:14] = file.at(last.place + 6, 8)
    content[22:26] = _checksum(bytes(content)).to_bytes(4, "little")
    patches = [(before.place, bytes(content[:26]))]
    return replace(part, patches=patches, tail=part.stop - before.stop, hides_tail=True)


def _require_undamaged(file: Bytes, page: _Page) -> None:
    content = file.at(page.place, page.stop - page.place)
    if len(content) < 27 or _checksum(content) != int.from_bytes(content[22:26], "little"):
        raise DecodeError(f"the page of its Ogg stream at byte {page.place} is damaged; fetch it again")


def _checksum(content: bytes) -> int:
    """Compute the CRC of Ogg, whose bits are in the other order than those of zip files."""
    content = content[:22] + bytes(4) + content[26:]  # where it stands itself, zeros count
    crc = zlib.crc32(content.translate(REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(REVERSED), "big")


def _require_all_counted(file: Bytes, part: Part, last: _Page) -> None:
    """Refuse a stream whose last page counts fewer samples than its packets last."""
    durations_of = _durations(file, part)
    if durations_of is None:
        return
    heads: list[bytes] = []
    counted, before, head = 0, 0, b""
    for page in _pages_up_to(file, part, last):
        if page.place == last.place:
            before = len(heads)
        elif page.granule >= 0:
            counted = page.granule
        for beginning, whole in _packets(file, page):
            head = head or beginning
            if whole:
                heads.append(head)
                head = b""
    durations = durations_of(heads)
    missing = counted + sum(durations[before:]) - last.granule
    if missing > TRIM * max(durations, default=0):
        raise DecodeError(
            f"the end of its Ogg stream counts too little: {missing} samples more are there; write the file again"
        )


def _pages_up_to(file: Bytes, part: Part, last: _Page) -> list[_Page]:
    """Return the last pages of a stream."""
    first = max(part.start, last.place - 2 * PAGE)
    content = file.at(first, last.place - first)
    pages, stop = [last], len(content)
    while len(pages) < LAST_PAGES and (stop := content.rfind(b"OggS\0", 0, stop)) >= 0:
        page = _page(file, first + stop)
        if page.stop == pages[-1].place and page.stream == last.stream:
            pages.append(page)
    return pages[::-1]


def _packets(file: Bytes, page: _Page) -> Iterator[tuple[bytes, bool]]:
    """Yield the first bytes of each packet on a page, or of what is there of it, and whether it ends there."""
    content, place, size = file.at(page.body, page.stop - page.body), 0, 0
    for value in page.lacing:
        size += value
        if value < 255:
            yield content[place : place + min(2, size)], True
            place, size = place + size, 0
    if size:
        yield content[place : place + 2], False


def _durations(file: Bytes, part: Part) -> Durations | None:
    """Return how to tell the samples of a stream's packets; None for codecs whose packets do not tell."""
    head = file.at(_page(file, part.start).body, 30)
    if head.startswith(b"OpusHead"):
        return lambda heads: [opus_samples(packet) for packet in heads]
    if not head.startswith(b"\x01vorbis") or len(head) < 30:
        return None
    modes = vorbis_modes(_setup(file, part))
    sizes = [1 << (head[28] >> 4 if long else head[28] & 15) for long in modes]
    return (lambda heads: vorbis_samples(heads, sizes)) if sizes else None


def _first_page(file: Bytes, part: Part, page: _Page, stream: bytes) -> _Page:
    """Return the first page of a stream that counts samples; refuse it, and those before it, if they are damaged."""
    while page.granule <= 0 or page.stream != stream:
        page = _page(file, page.stop)
        if page.place >= part.stop:
            break
        _require_undamaged(file, page)
    return page


def _flac_seconds(file: Bytes, head_page: _Page, first: _Page, last: _Page) -> float | None:
    """Return how long a FLAC stream is, which may begin late, as one cut out of a broadcast does; None for others."""
    head = file.at(head_page.body, 30)
    block, rate = int.from_bytes(head[17:19], "big"), int.from_bytes(head[27:30], "big") >> 4
    if not head.startswith(FLAC) or head[17:19] != head[19:21] or not rate or first.stream != last.stream:
        return None
    packets = sum(whole for _, whole in _packets(file, first))
    return (last.granule - max(0, first.granule - block * packets)) / rate


def _setup(file: Bytes, part: Part) -> bytes:
    """Return the third packet of a stream."""
    packets, pieces, page = 0, b"", _page(file, part.start)
    for _ in range(HEADERS):
        place = page.body
        for value in page.lacing:
            pieces += file.at(place, value) if packets == 2 else b""
            place += value
            packets += value < 255
            if packets == 3:
                return pieces
        page = _page(file, page.stop)
    return b""
