"""Decode WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU, CAF and their like with libsndfile.

Conventions: as in :mod:`.sound`. Files are handed over as streams, not by name: by name, libsndfile takes a
text that is called ``x.au`` or ``x.gsm`` for noise. What it lets through is checked in `containers` before, and here:
that nothing is left of a file when it says that its sound has ended.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from emoclim.data.media.c_messages import without_c_messages
from emoclim.data.media.checks import NotDecodable
from emoclim.data.media.containers.mpeg import require_unbroken
from emoclim.data.media.containers.view import Bytes, Part, View
from emoclim.errors import DecodeError

CHUNK_FRAMES = 65_536
MP3_SLACK = 2 * 1152  # frames: the last two packets of an MP3 may not decode
MP3_RUN_UP = 16 * 1152  # frames; packets borrow bits of earlier ones: up to half a second is wrong after a bare seek
NO_PACKET = 7  # what libsndfile returns for an MP3 in which libmpg123 finds nothing
UNREAD = 4096  # frames at the end that a decoder need not read
OGG_TAIL = 4  # seconds: in the last page of Vorbis, libsndfile seeks some hundred frames too far


class _Sequential(sf.SoundFile):  # type: ignore[misc]
    """Reads on without SoundFile's seek after every read, which fails at the end of a FLAC of unknown length."""

    def seekable(self) -> bool:
        return False


class _Plain:
    """A :class:`~emoclim.data.media.sound.Sound`."""

    def __init__(self, stream: BinaryIO | View, file: _Sequential, part: Part) -> None:
        self._stream, self._file, self._part = stream, file, part
        self.sample_rate: int = file.samplerate
        self.channels: int = file.channels
        is_mp3 = file.subtype.startswith("MPEG")
        self.slack = MP3_SLACK // (1 if file.samplerate >= 32_000 else 2) if is_mp3 else 0
        self._run_up = MP3_RUN_UP if is_mp3 else 0
        self._last_exact = file.frames - (OGG_TAIL * file.samplerate if file.format == "OGG" else 0)
        self.frames = self.promised = None if part.guessed or file.frames == sys.maxsize else file.frames

    def chunks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        try:
            self._skip(first)
            while len(chunk := self._read(min(CHUNK_FRAMES, last - first))):
                yield chunk
                first += len(chunk)
        except sf.LibsndfileError as error:
            raise DecodeError(f"the sound is damaged or cut short ({_reason(error)}); fetch it again") from error
        if first < last:
            self._require_end(first)

    def _read(self, frames: int) -> NDArray[np.float32]:
        with without_c_messages():
            read: NDArray[np.float32] = self._file.read(frames, dtype="float32", always_2d=True)
        return read

    def _skip(self, frames: int) -> None:
        """Go to a frame: seek to where a seek is exact, and read on from there."""
        position = max(0, min(frames - self._run_up, self._last_exact))
        try:
            with without_c_messages():
                self._file.seek(position)
        except sf.LibsndfileError:  # some codecs cannot seek
            position = 0
        while position < frames:
            passed = len(self._read(min(CHUNK_FRAMES, frames - position)))
            if passed == 0:
                return
            position += passed

    def _require_end(self, decoded: int) -> None:
        """Refuse a sound of which libsndfile leaves a part unread, because a header counts less than there is."""
        part, place = self._part, self._stream.tell()
        if isinstance(self._stream, View):
            place += part.start - len(part.prefix)
        left, size = part.sound_stop - place, part.sound_stop - part.start
        unread = left * (decoded + self.slack) > (size - left) * (self.slack // 2 or UNREAD)
        if self.slack and (unread or decoded < (self.promised or 0)):
            require_unbroken(Bytes(self._stream), 0 if isinstance(self._stream, View) else part.start)
        if unread:
            raise DecodeError(
                f"its header counts too little: libsndfile stops {left} bytes before the end; write the file again"
            )


@contextmanager
def open_plain(stream: BinaryIO | View, part: Part) -> Iterator[_Plain]:
    """Open a part of a file that libsndfile knows."""
    stream.seek(0)
    try:
        with without_c_messages():
            file = _Sequential(stream if isinstance(stream, View) else stream.fileno(), closefd=False)
    except sf.LibsndfileError as error:
        raise NotDecodable(_reason(error)) from error
    with file:
        yield _Plain(stream, file, part)


def _reason(error: sf.LibsndfileError) -> str:
    if error.code == NO_PACKET:
        return "libsndfile: no MP3 packet in it"
    return "libsndfile: " + str(error.error_string).removeprefix("Error : ").rstrip(".")
