"""Open a container with FFmpeg, by PyAV, and say what it says of what is wrong. Used for sound and for videos.

PyAV, which brings FFmpeg, is optional: ``pip install 'emoclim[media]'``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from emoclim.data.media.checks import NotDecodable
from emoclim.data.media.containers.view import View
from emoclim.errors import MissingLibrary

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

LONGEST_GAP = 3600  # seconds in which nothing new is seen or heard; beyond, times are taken for damaged
OTHERS = "ac3,dts,eac3,loas"  # what FFmpeg may take a file for that is not known to `containers`


@contextmanager
def open_container(view: View, kind: str | None) -> Iterator["InputContainer"]:
    """Open a file, or a part of one, with the reader of FFmpeg that is called `kind`, or one of a few if that is None.

    Naming them keeps FFmpeg from guessing, and so from following the addresses in what looks like a playlist.
    """
    try:
        import av
        from av.container import InputContainer
    except ImportError as error:
        raise MissingLibrary(
            "MP4, AAC, WebM, WMA and their like need one more library: pip install 'emoclim[media]'"
        ) from error
    try:
        among = {} if kind else {"format_whitelist": OTHERS}
        container = av.open(view, format=kind, options=among, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        unknown = kind is None and isinstance(error, ValueError)
        raise NotDecodable("FFmpeg: Format not recognised" if unknown else ffmpeg_reason(error)) from error
    assert isinstance(container, InputContainer)
    with container:
        yield container


def ffmpeg_reason(error: Exception) -> str:
    """Say what FFmpeg says of an error."""
    told = str(getattr(error, "strerror", None) or error)
    return "FFmpeg: a packet is damaged" if told.startswith("Error number") else f"FFmpeg: {told}"


def moving_pictures(container: "InputContainer") -> "VideoStream | None":
    """Return the first stream of pictures of a container that is no cover."""
    from av.stream import Disposition

    streams = container.streams.video
    return next((one for one in streams if not one.disposition & Disposition.attached_pic), None)


def start_of(container: "InputContainer") -> Fraction:
    """Return the time in a container, in seconds, at which the first of its pictures and its sound begin."""
    streams: list[Any] = [moving_pictures(container), *container.streams.audio[:1]]
    starts = [one.start_time * one.time_base for one in streams if one is not None and one.start_time is not None]
    return max(Fraction(0), min(starts, default=Fraction(0)))  # what is before 0 is what a decoder needs to begin
