"""Decode what libsndfile does not know with FFmpeg: MP4 (AAC, ALAC), WebM and Matroska, bare AAC, WMA.

Conventions: as in :mod:`.sound`. PyAV, which brings FFmpeg, is optional: ``pip install 'emoclim[media]'``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emoclim.errors import DecodeError, MissingLibrary

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

SLACK = 0.25  # seconds: durations in these files are rounded, and count the encoder's padding


def find_demuxer(head: bytes) -> str | None:
    """Choose FFmpeg's reader for a file that begins with `head`; None leaves the file to libsndfile.

    Naming it keeps FFmpeg from guessing, and so from following the addresses in what looks like a playlist.
    """
    if head[4:8] == b"ftyp":
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
        return "asf"
    bare = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return "aac" if bare else None


class _Media:
    """A :class:`~emoclim.data.media.sound.Sound`."""

    def __init__(self, container: "InputContainer", stream: "AudioStream", *, states_length: bool) -> None:
        self._container, self._stream = container, stream
        self.sample_rate = stream.rate or 0
        self.channels = stream.channels
        self.slack = round(SLACK * self.sample_rate)
        seconds = _seconds(container, stream) if states_length else None
        self.frames = None if seconds is None else round(seconds * self.sample_rate)

    def chunks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        import av

        to_float = av.AudioResampler(format="fltp")
        position = 0
        try:
            for frame in chain(self._container.decode(self._stream), [None]):
                for part in to_float.resample(frame):
                    samples = part.to_ndarray().astype(np.float32, copy=False).T  # (n, channels)
                    wanted = samples[max(0, first - position) : max(0, last - position)]
                    position += len(samples)
                    if len(wanted):
                        yield wanted
                if position >= last:
                    return
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(f"the sound is damaged or cut short ({_reason(error)}); fetch it again") from error


def _seconds(container: "InputContainer", stream: "AudioStream") -> float | None:
    """Return the promised length; that of the whole file counts only where it holds nothing but the sound."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


@contextmanager
def open_media(path: Path, demuxer: str) -> Iterator[_Media]:
    """Open a file with one of FFmpeg's readers."""
    try:
        import av
    except ImportError as error:
        raise MissingLibrary("MP4, AAC, WebM or WMA needs one more library: pip install 'emoclim[media]'") from error
    try:
        container = av.open(str(path), format=demuxer, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(f"the file cannot be read, or is cut short ({_reason(error)}); fetch it again") from error
    with container:
        if not container.streams.audio:
            raise DecodeError("the file holds no sound; leave it out")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise DecodeError("the file holds sound of a codec that this FFmpeg does not know; convert it to FLAC")
        yield _Media(container, stream, states_length=demuxer != "aac")
