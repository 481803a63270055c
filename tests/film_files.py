"""Videos for tests, which PyAV writes: of grey frames whose level tells which they are, or of any pictures."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from emoclim.data import Item, read_frames
from emoclim.data.media.checks import Remark

FPS = 25
GREY = 2  # levels from one frame to the next
MILLISECOND = Fraction(1, 1000)
RATE = 16_000  # Hz of the sound

Frame = NDArray[np.uint8]


def grey_frames(count: int, height: int = 48, width: int = 64) -> list[Frame]:
    return [np.full((height, width, 3), 10 + GREY * number % 240, np.uint8) for number in range(count)]


def busy_frames(count: int) -> list[Frame]:
    """Noise that moves, so that a decoder has work to do."""
    generator = np.random.default_rng(0)
    base = generator.integers(0, 256, (12, 16, 3), np.uint8)
    large = [np.kron(np.roll(base, number, 1), np.ones((8, 8, 1))) for number in range(count)]
    return [(one + generator.integers(-20, 20, one.shape)).clip(0, 255).astype(np.uint8) for one in large]


def write_film(
    path: Path,
    frames: Sequence[Frame],
    *,
    demuxer: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    context: Mapping[str, Any] | None = None,
    matrix: Sequence[int] | None = None,
    milliseconds: Sequence[int] | None = None,
    late: float = 0.0,
    sound: NDArray[np.floating[Any]] | None = None,
    sound_late: float = 0.0,
) -> Path:
    """Write frames at 25 a second or at given times, and sound if there is any, some seconds late if told so."""
    av = pytest.importorskip("av", reason="videos need the extra [media]")
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    from av.video.reformatter import VideoReformatter

    base = MILLISECOND if milliseconds else Fraction(1, FPS)
    with av.open(path, "w", format=demuxer, options=dict(container_options or {})) as container:
        pictures = container.add_stream(codec, rate=FPS, options=dict(options or {}))
        pictures.height, pictures.width, pictures.pix_fmt = *frames[0].shape[:2], pixels
        pictures.codec_context.time_base, pictures.codec_context.thread_count = base, 1
        for name, value in (context or {}).items():
            setattr(pictures.codec_context, name, value)
        if matrix:
            pictures.set_display_matrix(list(matrix))
        track = None if sound is None else container.add_stream("aac", rate=RATE, layout="mono")
        for number, frame in enumerate(frames):
            rgb = av.VideoFrame.from_ndarray(frame, format="rgb24")
            shown = VideoReformatter().reformat(rgb, format=pixels, threads=1)  # more would be lost in forked workers
            shown.pts = milliseconds[number] if milliseconds else number + round(late * FPS)
            shown.time_base = base
            container.mux(pictures.encode(shown))
        container.mux(pictures.encode(None))
        if track is not None and sound is not None:
            size = track.codec_context.frame_size or 1024
            for first in range(0, len(sound) - size + 1, size):
                wave = av.AudioFrame.from_ndarray(
                    sound[None, first : first + size].astype(np.float32), format="fltp", layout="mono"
                )
                wave.sample_rate, wave.time_base = RATE, Fraction(1, RATE)
                wave.pts = first + round(sound_late * RATE)
                container.mux(track.encode(wave))
            container.mux(track.encode(None))
    return path


def pictures_of(path: Path, **part: float) -> list[Frame]:
    """What is read of a film, five times a second."""
    read = read_frames(Item("film", path, **part), 5)
    return [np.asarray(picture) for picture in read if not isinstance(picture, Remark)]


def numbers_of(path: Path, **part: float) -> list[int]:
    """Which of the grey frames these pictures are."""
    return [round((float(picture.mean()) - 10) / GREY) for picture in pictures_of(path, **part)]
