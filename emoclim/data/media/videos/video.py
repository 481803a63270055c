"""Read the pictures of a video, so many a second, in bounded memory.

Conventions: time begins where the first of the file's pictures and its sound does, as it does for the sound of the same
file. At each instant, the picture is that which is shown then, however long the file's own frames are; the first is
also that of the time before it. A video ends when its last picture does. What a file is follows from its content; one
that is cut short, or damaged anywhere in what is read, is refused.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import PIL.Image

from emoclim.data.items.item import Item
from emoclim.data.media.checks import NotDecodable, Remark, check_file, file_errors
from emoclim.data.media.containers.ffmpeg import (
    LONGEST_GAP,
    ffmpeg_reason,
    moving_pictures,
    open_container,
    start_of,
)
from emoclim.data.media.containers.parts import find_parts
from emoclim.data.media.containers.view import View
from emoclim.data.media.images.image import MAX_PIXELS, MAX_RATIO
from emoclim.data.media.videos.frames import ALONE, remarks_on, to_picture, turn_of
from emoclim.errors import DecodeError
from emoclim.files import regular_handle

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

KINDS = frozenset("mov matroska asf avi flv mpeg mpegts".split())  # FFmpeg's names of containers of videos
STATE_LENGTH = frozenset("mov flv avi".split())  # that state one for the pictures alone
SEEKABLE = frozenset("mov matroska".split())  # in which FFmpeg finds a time by an index, and so exactly
MARGINS = (2, 20)  # seconds before a part from which it is first tried to decode
SLACK = Fraction(1, 2)  # seconds by which a stated length may be more than there is
JUMP = 1  # seconds that a time may lie before the one before it
RATE = Fraction(25)  # frames a second where nothing is stated
EXACT = 10**6  # parts of a second in which a manifest's times are understood


@dataclass(slots=True)
class Film:
    """An open video."""

    container: "InputContainer"
    stream: "VideoStream"
    kind: str  # of container
    origin: Fraction  # time in the container at which it begins
    ends: Fraction = Fraction(0)  # when the last frame that was decoded ends

    @property
    def seconds(self) -> Fraction | None:
        """The length that the file states, if it does for its pictures."""
        if self.kind not in STATE_LENGTH or self.stream.duration is None or self.stream.time_base is None:
            return None
        return (self.stream.duration + (self.stream.start_time or 0)) * self.stream.time_base - self.origin

    def frames(self, start: Fraction) -> Iterator[tuple[Fraction, "VideoFrame"]]:
        """Yield frames and when they begin, in order, from one that begins at `start` or before; up to the end."""
        for margin in MARGINS if self.kind in SEEKABLE else ():
            if start > margin:
                self._seek(start - margin)
                frames = self._timed()
                first = next(frames, None)
                if first is not None and first[0] <= start:
                    yield first
                    yield from frames
                    return
                self._seek(Fraction(0))
        yield from self._timed()

    def _seek(self, time: Fraction) -> None:
        self.container.seek(math.floor((self.origin + time) / self._base), stream=self.stream)

    @property
    def _base(self) -> Fraction:
        return self.stream.time_base or Fraction(1)

    def _timed(self) -> Iterator[tuple[Fraction, "VideoFrame"]]:
        begins = None
        for frame in self._decoded():
            length = Fraction(1) / (self.stream.average_rate or RATE)
            if frame.duration:
                length = frame.duration * self._base
            stated = None if frame.pts is None else frame.pts * self._base - self.origin
            begins = _in_order(begins, stated, self.ends)
            self.ends = begins + length
            yield begins, frame

    def _decoded(self) -> Iterator["VideoFrame"]:
        import av

        begun = False
        try:
            for packet in self.container.demux(self.stream):
                if packet.is_corrupt:
                    raise DecodeError("the video is damaged or cut short (a packet is not whole); fetch it again")
                begun |= packet.is_keyframe
                for frame in packet.decode() if begun else ():  # what is before needs frames that are not there
                    if frame.is_corrupt:
                        raise DecodeError("the video is damaged (FFmpeg: a frame is not whole); fetch it again")
                    yield frame
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(f"the video is damaged or cut short ({ffmpeg_reason(error)}); fetch it again") from error


def read_frames(item: Item, per_second: int) -> Iterator[PIL.Image.Image | Remark]:
    """Read the picture that an item shows at each of so many instants a second; first what is odd about them.

    Pictures are RGB, upright and of the video's own size. One that is shown at several instants is the same object.
    """
    start = Fraction(item.start or 0).limit_denominator(EXACT)
    stop = None if item.duration is None else start + Fraction(item.duration).limit_denominator(EXACT)
    turn, last, picture = None, None, None
    with _open(item) as film:
        shape = film.stream.sample_aspect_ratio
        for frame in _shown(film, start, stop, Fraction(1, per_second)):
            if last is None:
                yield from remarks_on(frame)
                turn = turn_of(frame)
            if frame is not last or picture is None:
                last, picture = frame, to_picture(frame, turn, float(shape or 1))
            yield picture
        if last is None and film.ends:
            raise DecodeError(
                f"the part begins at {float(start):.2f} s, but the video ends at {float(film.ends):.2f} s; correct the "
                "manifest"
            )
    if last is None:
        raise DecodeError("the video has no frame that can be decoded; leave it out")


def video_seconds(item: Item) -> float:
    """Return how long the pictures of an item are: by what the file states, or else by decoding it."""
    with _open(item) as film:
        for _ in film.frames(Fraction(0)) if film.seconds is None else ():
            pass
        rest = float(film.seconds or film.ends) - (item.start or 0.0)
    return rest if item.duration is None else min(rest, item.duration)


def _shown(film: Film, start: Fraction, stop: Fraction | None, step: Fraction) -> Iterator["VideoFrame"]:
    """Yield the frame that is shown at `start`, a step later, and so on, up to before `stop` or the end."""
    shown, number = None, 0
    for begins, frame in film.frames(start):
        while shown is not None and (instant := start + number * step) < begins:
            if stop is not None and instant >= stop:
                return
            yield shown
            number += 1
        shown = frame
    if film.seconds is not None and film.ends < film.seconds - SLACK:
        there, stated = float(film.ends), float(film.seconds)
        raise DecodeError(f"the file is cut short: {there:.2f} s of {stated:.2f} s can be decoded; fetch it again")
    ends = film.ends if stop is None else min(film.ends, stop)
    while shown is not None and start + number * step < ends:
        yield shown
        number += 1


def _in_order(before: Fraction | None, stated: Fraction | None, expected: Fraction) -> Fraction:
    """Return when a frame begins, by what is stated and what is expected after the one before."""
    if stated is None:
        return expected
    if before is None:
        return stated
    if stated < before - JUMP or stated > expected + LONGEST_GAP:
        raise DecodeError(f"its times jump from {float(before):.2f} to {float(stated):.2f} s; convert it to MP4")
    return max(before, stated)


@contextmanager
def _open(item: Item) -> Iterator[Film]:
    path, _ = check_file(item)
    with file_errors():
        handle = regular_handle(path, os.O_RDONLY, follow=True)
    with os.fdopen(handle, "rb", buffering=0) as file:
        with file_errors():
            parts = find_parts(file)
        kind = parts[0].kind
        if kind not in KINDS:
            told = "holds sound alone" if kind else "is no video that can be read (MP4, MOV, MKV, WebM, AVI, WMV, MPEG)"
            raise DecodeError(f"the file {told}, or its header is damaged; leave it out or fetch it again")
        if len(parts) > 1:
            raise DecodeError(f"the file holds {len(parts)} recordings one after another; split it, or convert it")
        try:
            with open_container(View(file, parts[0]), kind) as container:
                yield _film(container, kind)
        except NotDecodable as error:
            raise DecodeError(f"the video is damaged or cut short ({error}); fetch it again") from error


def _film(container: "InputContainer", kind: str) -> Film:
    stream = moving_pictures(container)
    if stream is None:
        raise DecodeError("the file holds no pictures; leave it out, or extract its sound as audio")
    context = stream.codec_context
    if context is None:
        raise DecodeError("the file holds pictures of a codec that this FFmpeg does not know; convert it to MP4")
    if context.width * context.height > MAX_PIXELS or max(context.width, context.height) > MAX_RATIO * max(
        1, min(context.width, context.height)
    ):
        raise DecodeError(f"the header claims pictures of {context.width} x {context.height} pixels; scale it down")
    context.thread_count = ALONE
    # Damaged parts of pictures are not filled with something, nor does what lies deeper claim more than the header
    context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    return Film(container, stream, kind, start_of(container))
