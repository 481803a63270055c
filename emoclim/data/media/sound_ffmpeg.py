"""Decode what libsndfile does not know with FFmpeg: MP4 (AAC, ALAC), WebM, AAC, WMA, AVI, AMR, WavPack and others.

Conventions: as in :mod:`.sound`. Of a video, the sound begins with the picture: what it begins later by is silent, so
that seconds of the two are the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from emoclim.data.media.containers.ffmpeg import (
    LONGEST_GAP,
    ffmpeg_reason,
    moving_pictures,
    open_container,
    start_of,
)
from emoclim.data.media.containers.view import View
from emoclim.errors import DecodeError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

ONLY = frozenset("mov matroska asf aac amr ape avi flv mpeg mpegts tta wv".split())  # that libsndfile does not know
ESTIMATED = frozenset({"ac3", "amr", "dts", "eac3", "loas", "mpeg", "mpegts"})  # state no length; FFmpeg guesses one
UP_TO_END = frozenset({"flv", "tta"})  # nothing but packets follows after their headers
SILENCE = 65_536  # samples that are given at once
UNREAD = 4096  # bytes after the last packet that FFmpeg need not read
SLACK = 0.25  # seconds: durations in these files are rounded, and count the encoder's padding


class _Media:
    """A :class:`~emoclim.data.media.sound.Sound`."""

    def __init__(self, container: "InputContainer", stream: "AudioStream", size: int, counted: float | None) -> None:
        self._frames = _decode(container, stream, size)
        self.sample_rate = stream.rate or 0
        self.channels = stream.channels
        self.slack = round(SLACK * self.sample_rate)
        self._silent = round(_delay(container, stream) * self.sample_rate)  # samples before the sound of a video
        seconds = _seconds(container, stream) if counted is None else counted
        self.promised = None if seconds is None else self._silent + round(seconds * self.sample_rate)
        self.frames = None if counted is None else self.promised

    def chunks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        position = 0
        for samples in self._samples():
            wanted = samples[max(0, first - position) : max(0, last - position)]
            position += len(samples)
            if len(wanted):
                yield wanted
            if position >= last:
                return

    def _samples(self) -> Iterator[NDArray[np.float32]]:
        for first in range(0, self._silent, SILENCE):
            yield np.zeros((min(SILENCE, self._silent - first), self.channels), np.float32)
        for frame in self._frames:
            self._require_same(frame)
            yield _to_float(frame)

    def _require_same(self, frame: "AudioFrame") -> None:
        if frame.sample_rate != self.sample_rate:
            raise DecodeError(
                f"its sample rate changes from {self.sample_rate} to {frame.sample_rate} Hz; convert it to one rate"
            )


def _decode(container: "InputContainer", stream: "AudioStream", size: int) -> Iterator["AudioFrame"]:
    """Decode a stream; refuse a container of `size` bytes in which something else follows after the packets."""
    import av

    end = 0
    try:
        for packet in container.demux():
            end = max(end, (packet.pos or 0) + packet.size)
            if packet.stream is not stream:
                continue
            if packet.is_corrupt:
                raise DecodeError("the sound is damaged or cut short (FFmpeg: a packet is not whole); fetch it again")
            yield from cast("list[AudioFrame]", packet.decode())
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(f"the sound is damaged or cut short ({ffmpeg_reason(error)}); fetch it again") from error
    if container.format.name in UP_TO_END and size - end > UNREAD:
        raise DecodeError(f"{size - end} bytes of something else follow after its last packet; fetch it again")


def _to_float(frame: "AudioFrame") -> NDArray[np.float32]:
    """Return samples ``(n, channels)``; integers are divided by their full scale."""
    samples: NDArray[Any]
    if frame.format.name == "s64":  # which PyAV makes no array of
        samples = np.frombuffer(memoryview(frame.planes[0]), np.int64)[: frame.samples * frame.layout.nb_channels]
    else:
        samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    full = 2.0 ** (8 * samples.itemsize - 1)
    return ((samples - full * (samples.dtype.kind == "u")) / full).astype(np.float32)


def _delay(container: "InputContainer", stream: "AudioStream") -> float:
    """Return the seconds from where a video begins to where its sound does; 0 of what is sound alone."""
    if stream.start_time is None or stream.time_base is None or moving_pictures(container) is None:
        return 0.0
    seconds = float(stream.start_time * stream.time_base - start_of(container))
    if seconds > LONGEST_GAP:
        raise DecodeError(f"its sound begins {seconds:.0f} s after its pictures do; convert it to MP4")
    return max(0.0, seconds)


def _seconds(container: "InputContainer", stream: "AudioStream") -> float | None:
    """Return the promised length; that of the whole file counts only where it holds nothing but the sound."""
    if container.format.name in ESTIMATED:
        return None
    if stream.duration is not None and stream.time_base is not None:
        start = (stream.start_time or 0) * (container.format.name == "ogg")  # whose duration is when it ends
        return float((stream.duration - start) * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1e6
    return None


@contextmanager
def open_media(view: View, kind: str | None, seconds: float | None) -> Iterator[_Media]:
    """Open the sound of a file, or of a part of one; `kind` as in :func:`.open_container`.

    `seconds` is the length of bare AAC, which states none.
    """
    size, _ = view.seek(0, 2), view.seek(0)
    with open_container(view, kind) as container:
        if not container.streams.audio:
            raise DecodeError("the file holds no sound; leave it out")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise DecodeError("the file holds sound of a codec that this FFmpeg does not know; convert it to FLAC")
        yield _Media(container, stream, size, seconds)
