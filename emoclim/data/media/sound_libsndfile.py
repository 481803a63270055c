"""Decode WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU, CAF and their like with libsndfile.

Conventions: as in :mod:`.sound`. Files are handed over as streams, not by name: by name, libsndfile takes a
text that is called ``x.au`` or ``x.gsm`` for noise. What it lets through is checked here: sizes in the headers of WAV,
AIFF and AU that go beyond the file, the end mark of Ogg, and the length of an MP3 that states none.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from emoclim.errors import DecodeError, PassingError, reason_of

CHUNK_FRAMES = 65_536
MP3_SLACK = 2 * 1152  # frames: the last two packets of an MP3 may not decode
MP3_RUN_UP = 16 * 1152  # frames; packets borrow bits of earlier ones: up to half a second is wrong after a bare seek
MP3_PREFIX = 65_536  # bytes before the first packet: zeros, or half a packet where a stream was cut out of a longer one
MP3_PACKET = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xeb]")  # layer III
NO_PACKET = 7  # what libsndfile returns for an MP3 in which libmpg123 finds nothing
MP3_TAGS = 0.05  # part of an MP3 that may follow its sound
SIZE_SLACK = 1024  # bytes: sizes in headers are often off by a few
STREAMED = 0x7FFF_0000  # sizes from here on are written by programs that do not know the end
SIZES = re.compile(r"^\s*(?:RIFF|Riff size|riff|FORM|SSND|data|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.M)
OGG_TAIL = 4  # seconds: in the last page of Vorbis, libsndfile seeks some hundred frames too far
OGG_PAGE = 65_307  # bytes at most


class _Sequential(sf.SoundFile):  # type: ignore[misc]
    """Reads on without SoundFile's seek after every read, which fails at the end of a FLAC of unknown length."""

    def seekable(self) -> bool:
        return False


class _Plain:
    """A :class:`~emoclim.data.media.sound.Sound`."""

    def __init__(self, stream: BinaryIO, file: _Sequential) -> None:
        self._stream, self._file = stream, file
        self.sample_rate: int = file.samplerate
        self.channels: int = file.channels
        is_mp3 = file.format == "MP3"
        self.slack = MP3_SLACK if is_mp3 else 0
        self._run_up = MP3_RUN_UP if is_mp3 else 0
        self._last_exact = file.frames - (OGG_TAIL * file.samplerate if file.format == "OGG" else 0)
        self._guessed = is_mp3 and not _states_length(stream)
        self.frames: int | None = None if self._guessed or file.frames == sys.maxsize else file.frames

    def chunks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        try:
            self._skip(first)
            while len(chunk := self._file.read(min(CHUNK_FRAMES, last - first), dtype="float32", always_2d=True)):
                yield chunk
                first += len(chunk)
        except sf.LibsndfileError as error:
            raise DecodeError(f"the sound is damaged or cut short ({_reason(error)}); fetch it again") from error
        if first < last and self._guessed:
            self._require_end()

    def _skip(self, frames: int) -> None:
        """Go to a frame: seek to where a seek is exact, and read on from there."""
        position = max(0, min(frames - self._run_up, self._last_exact))
        try:
            self._file.seek(position)
        except sf.LibsndfileError:  # some codecs cannot seek
            position = 0
        while position < frames:
            passed = len(self._file.read(min(CHUNK_FRAMES, frames - position), always_2d=True))
            if passed == 0:
                return
            position += passed

    def _require_end(self) -> None:
        """Refuse an MP3 of which libsndfile leaves a part unread, stopping where its first packet made it expect."""
        position = self._stream.tell()
        size = self._stream.seek(0, 2)
        if size - position > MP3_TAGS * size:
            raise DecodeError("the MP3 has a variable bit rate but does not state its length; encode it again")


@contextmanager
def open_plain(path: Path) -> Iterator[_Plain]:
    """Open a file that libsndfile knows."""
    try:
        stream = path.open("rb", buffering=0)  # libsndfile shares its position
    except OSError as error:
        raise PassingError(f"the file cannot be opened ({reason_of(error)})") from error
    with stream:
        _require_last_ogg_page(stream)
        file, content = _open_by_content(stream, path.suffix.lower() == ".mp3")
        with file:
            for stated, found in SIZES.findall(file.extra_info):
                if int(found) + SIZE_SLACK < int(stated) < STREAMED:
                    raise DecodeError(f"the file is cut short: {found} of {stated} bytes are there; fetch it again")
            yield _Plain(content, file)


def _open_by_content(stream: BinaryIO, is_mp3: bool) -> tuple[_Sequential, BinaryIO]:
    """Open a stream; also return the stream that is read, which for an MP3 may be its part from the first packet on."""
    try:
        return _Sequential(stream if isinstance(stream, BytesIO) else stream.fileno(), closefd=False), stream
    except sf.LibsndfileError as error:
        stream.seek(0)
        packet = MP3_PACKET.search(stream.read(MP3_PREFIX)) if is_mp3 else None
        if packet is None:
            raise DecodeError(f"this is no sound file that can be read ({_reason(error)})") from error
    stream.seek(packet.start())
    return _open_by_content(BytesIO(stream.read()), False)


def _reason(error: sf.LibsndfileError) -> str:
    if error.code == NO_PACKET:
        return "no MP3 packet in it"
    return str(error.error_string).removeprefix("Error : ").rstrip(".")


def _require_last_ogg_page(stream: BinaryIO) -> None:
    """Refuse an Ogg file whose last page is not whole, or not marked as the end of its stream (RFC 3533, section 6)."""
    if stream.read(4) == b"OggS":
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 2 * OGG_PAGE))
        tail = stream.read()
        page = tail[tail.rfind(b"OggS") :]
        whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
        if not (whole and page[5] & 4):
            raise DecodeError("the file is cut short: the mark at the end of its Ogg stream is missing; fetch it again")
    stream.seek(0)


def _states_length(stream: BinaryIO) -> bool:
    """Return whether an MP3's first packet states the number of packets; if not, its length is a guess."""
    position = stream.tell()
    stream.seek(0)
    tag = stream.read(10)
    tag_size = sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    stream.seek(10 + tag_size if tag.startswith(b"ID3") else 0)
    packet = stream.read(2048)
    stream.seek(position)
    return any(mark in packet for mark in (b"Xing", b"Info", b"VBRI"))
