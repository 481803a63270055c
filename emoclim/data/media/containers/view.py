"""Read a part of an open file as if it were a file, and look at places of a file cheaply."""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from emoclim.errors import DecodeError

BLOCK = 2**17  # bytes that are read at once while a file is looked at
MARK = 16
MAX_COUNT = 10_000
ID3, APE, ID3V1 = b"ID3", b"APETAGEX", b"TAG"
ID3_BEGINS = re.compile(rb"ID3[\2-\4]\0")
LYRICS = b"LYRICSBEGIN"
ID3V1_BYTES, ID3V1_MORE, APE_HEADER, LYRICS_BYTES = 128, 227, 32, 5_120  # the last: at most, of Lyrics3 without a size
BEGINS = {  # how a container begins: FFmpeg's name of it
    b"RIFF": "wav",
    b"RIFX": "wav",
    b"RF64": "wav",
    b"BW64": "wav",
    b"FORM": "aiff",
    b"caff": "caf",
    b"riff": "w64",
    b".snd": "au",
    b"dns.": "au",
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x30\x26\xb2\x75": "asf",
    b"#!AM": "amr",
    b"FLV\1": "flv",
    b"MAC ": "ape",
    b"TTA1": "tta",
    b"\0\0\1\xba": "mpeg",
    b"wvpk": "wv",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One sound of a file, as a decoder is to see it."""

    start: int  # bytes of the file
    stop: int
    kind: str | None = None  # FFmpeg's name of its container; None if it is not known
    patches: Sequence[tuple[int, bytes]] = ()  # what to read at which place of the file instead of what stands there
    prefix: bytes = b""  # what to read before the part
    seconds: float | None = None  # its length, where the container states none and its packets were counted
    guessed: bool = False  # libsndfile guesses its length
    tail: int = 0  # bytes at the end of the part that are no sound
    hides_tail: bool = False  # a decoder would take them for sound

    @property
    def differs(self) -> bool:
        """Return whether a decoder is to see something else than the bytes of the file."""
        return bool(self.patches or self.prefix or (self.tail and self.hides_tail))

    @property
    def sound_stop(self) -> int:
        """Place of the file where the sound ends."""
        return self.stop - self.tail


def require_few(count: int) -> None:
    """Refuse a file of more parts or chunks than any honest one has, before they take time and memory."""
    if count > MAX_COUNT:
        raise DecodeError(f"the file has more than {MAX_COUNT} parts; split it")


class Bytes:
    """The bytes of a file at any place, a block of which is kept."""

    def __init__(self, stream: "BinaryIO | View") -> None:
        self._stream = stream
        self.size = stream.seek(0, 2)
        self._start, self._block = 0, b""

    def at(self, place: int, count: int) -> bytes:
        """Return `count` bytes, or fewer at the end of the file."""
        count = max(0, min(count, self.size - place))
        if count == 0:
            return b""
        skip = place - self._start
        if skip < 0 or skip + count > len(self._block):
            self._stream.seek(place)
            self._block = _read(self._stream, max(count, min(BLOCK, self.size - place)))
            self._start, skip = place, 0
        return self._block[skip : skip + count]

    def find(self, mark: re.Pattern[bytes], start: int, stop: int) -> Iterator[int]:
        """Yield where a mark of at most :data:`MARK` bytes stands."""
        count = 0
        for place in range(start, stop, BLOCK):
            block = self.at(place, min(BLOCK + MARK - 1, stop - place))
            for found in mark.finditer(block):
                if found.start() < BLOCK:
                    count += 1
                    require_few(count)
                    yield place + found.start()

    def skip_tags(self, place: int) -> int:
        """Return the place after the tags that begin at a place: ID3v2, APEv2, and at the end those told by it."""
        while place != self._tail:
            head = self.at(place, APE_HEADER)
            if head.startswith(ID3) and len(head) >= 10 and max(head[6:10]) < 128:
                size = _id3_size(head)
            elif head.startswith(APE) and len(head) == APE_HEADER:
                size = APE_HEADER + int.from_bytes(head[12:16], "little")
            else:
                return place
            if place + size > self.size:
                return place
            place += size
        return self.size

    @cached_property
    def _tail(self) -> int:
        return self.trim_end(self.size)

    def trim_end(self, stop: int) -> int:
        """Return where the tags begin that end at a place and are told by their last bytes; it if there are none."""
        while size := self._tag_before(stop):
            stop -= size
        return stop

    def _tag_before(self, stop: int) -> int:
        """Return how long the tag is that ends at a place (ID3v1, Lyrics3, APE, ID3v2.4); 0 if there is none."""
        if stop >= ID3V1_BYTES and self.at(stop - ID3V1_BYTES, 3) == ID3V1:
            return ID3V1_BYTES
        if stop >= ID3V1_MORE and self.at(stop - ID3V1_MORE, 4) == ID3V1 + b"+":
            return ID3V1_MORE
        footer = self.at(max(0, stop - APE_HEADER), min(APE_HEADER, stop)).rjust(APE_HEADER, b"\0")
        size, begins = 0, LYRICS
        if footer.startswith(APE):
            size, begins = int.from_bytes(footer[12:16], "little") + APE_HEADER * (footer[23] >> 7), b""
        elif footer.endswith(b"LYRICS200") and footer[-15:-9].isdigit():
            size = int(footer[-15:-9]) + 15
        elif footer.endswith(b"LYRICSEND"):
            content = self.at(max(0, stop - LYRICS_BYTES), min(LYRICS_BYTES, stop))
            size = len(content) - max(0, content.rfind(LYRICS))
        elif footer[-10:-7] == ID3[::-1]:
            size, begins = _id3_size(footer[-10:]), ID3
        return size if 0 < size <= stop and self.at(stop - size, len(begins)) == begins else 0

    def trim_tags(self, start: int, stop: int) -> int:
        """Return where the tags begin that end a stretch of bytes; its end if there are none."""
        ends = (stop, stop := self.trim_end(stop))
        return next((place for place in self.find(ID3_BEGINS, start, stop) if self.skip_tags(place) in ends), stop)

    def begins(self, place: int) -> bool:
        """Return whether a container begins at a place."""
        head = self.at(place, 8)
        return head[:4] in BEGINS or head[4:] == b"ftyp"  # MP4 begins with the size of its first box

    def is_zero(self, start: int, stop: int) -> bool:
        """Return whether there is nothing but zeros."""
        return not any(any(self.at(place, min(BLOCK, stop - place))) for place in range(start, stop, BLOCK))


def _id3_size(head: bytes) -> int:
    """Return how long a tag of ID3v2 is by its header, or by its footer, which is like it (ID3v2.4, section 3)."""
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return size + (20 if head[5] & 0x10 else 10)


def _read(stream: "BinaryIO | View", count: int) -> bytes:
    """Read so many bytes, however few the system gives at once."""
    pieces: list[bytes] = []
    while count > 0 and (piece := stream.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


class View(io.RawIOBase):
    """A part of an open file that reads as a file of its own, with other bytes in some places and before it."""

    def __init__(self, stream: BinaryIO, part: Part) -> None:
        self._stream, self._part, self._place = stream, part, 0
        self._size = len(part.prefix) + (part.sound_stop if part.hides_tail else part.stop) - part.start

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Set the read position."""
        self._place = max(0, offset + (0, self._place, self._size)[whence])
        return self._place

    def tell(self) -> int:
        """Return the read position."""
        return self._place

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Read into a buffer; return how many bytes."""
        count = max(0, min(len(buffer), self._size - self._place))
        if count == 0:  # and the place may be beyond any that a file can have
            return 0
        before = len(self._part.prefix)
        if self._place < before:
            content = self._part.prefix[self._place : self._place + count]
        else:
            place = self._part.start + self._place - before
            self._stream.seek(place)
            content = self._patched(place, self._stream.read(count))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def _patched(self, place: int, content: bytes) -> bytes:
        for at, patch in self._part.patches:
            first, last = max(at, place), min(at + len(patch), place + len(content))
            if first < last:
                content = content[: first - place] + patch[first - at : last - at] + content[last - place :]
        return content
