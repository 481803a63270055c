"""Decode what libsndfile does not know with FFmpeg: MP4 (AAC, ALAC), WebM and Matroska, bare AAC, WMA.

Conventions: as in :mod:`.sound`. PyAV, which brings FFmpeg, is optional: ``pip install 'emoclim[media]'``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emoclim.data.media.checks import NotDecodable
from emoclim.data.media.containers.view import View
from emoclim.errors import DecodeError, MissingLibrary

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

ONLY = frozenset({"mov", "matroska", "asf", "aac"})  # containers that libsndfile does not know
SLACK = 0.25  # seconds: durations in these files are rounded, and count the encoder's padding


class _Media:
    """A :class:`~emoclim.data.media.sound.Sound`."""

    def __init__(self, container: "InputContainer", stream: "AudioStream", counted: float | None) -> None:
        self._container, self._stream = container, stream
        self.sample_rate = stream.rate or 0
        self.channels = stream.channels
        self.slack = round(SLACK * self.sample_rate)
        seconds = _seconds(container, stream) if counted is None else counted
        self.promised = None if seconds is None else round(seconds * self.sample_rate)
        self.frames = None if counted is None else self.promised

    def chunks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        import av

        position = 0
        try:
            for frame in self._container.decode(self._stream):
                self._require_same(frame)
                samples = _to_float(frame)
                wanted = samples[max(0, first - position) : max(0, last - position)]
                position += len(samples)
                if len(wanted):
                    yield wanted
                if position >= last:
                    return
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(f"the sound is damaged or cut short ({_reason(error)}); fetch it again") from error

    def _require_same(self, frame: "AudioFrame") -> None:
        if frame.sample_rate != self.sample_rate:
            raise DecodeError(
                f"its sample rate changes from {self.sample_rate} to {frame.sample_rate} Hz; convert it to one rate"
            )


def _to_float(frame: "AudioFrame") -> NDArray[np.float32]:
    """Return samples ``(n, channels)``; integers are divided by their full scale."""
    samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    full = 2.0 ** (8 * samples.itemsize - 1)
    return ((samples - full * (samples.dtype.kind == "u")) / full).astype(np.float32)


def _seconds(container: "InputContainer", stream: "AudioStream") -> float | None:
    """Return the promised length; that of the whole file counts only where it holds nothing but the sound."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def _reason(error: Exception) -> str:
    return f"FFmpeg: {getattr(error, 'strerror', None) or error}"


@contextmanager
def open_media(source: Path | View, kind: str, seconds: float | None) -> Iterator[_Media]:
    """Open a file, or a part of one, with the reader of FFmpeg that is called `kind`.

    Naming it keeps FFmpeg from guessing, and so from following the addresses in what looks like a playlist. `seconds`
    is the length of bare AAC, which states none.
    """
    try:
        import av
        from av.container import InputContainer
    except ImportError as error:
        raise MissingLibrary("MP4, AAC, WebM or WMA needs one more library: pip install 'emoclim[media]'") from error
    try:
        file = str(source) if isinstance(source, Path) else source
        container = av.open(file, format=kind, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise NotDecodable(_reason(error)) from error
    assert isinstance(container, InputContainer)
    with container:
        if not container.streams.audio:
            raise DecodeError("the file holds no sound; leave it out")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise DecodeError("the file holds sound of a codec that this FFmpeg does not know; convert it to FLAC")
        yield _Media(container, stream, seconds)
