"""Sound files that FFmpeg writes."""

from pathlib import Path

import numpy as np
import pytest


def write_media(path: Path, demuxer: str, codec: str, options: dict[str, str] | None = None) -> Path:
    """Three seconds of a tone of 440 Hz in stereo."""
    av = pytest.importorskip("av", reason="MP4, AAC and WebM need the extra [media]")
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    tone = np.tile(0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * 48_000) / 48_000), (2, 1)).astype(np.float32)
    with av.open(path, "w", format=demuxer, options=options or {}) as container:
        stream = container.add_stream(codec, rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        cutter = av.AudioResampler(stream.format, "stereo", 48_000, frame_size=stream.codec_context.frame_size or 960)
        for part in [*cutter.resample(frame), *cutter.resample(None), None]:
            container.mux(stream.encode(part))
    return path
