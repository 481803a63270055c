"""Sound files for tests: tones that libsndfile and FFmpeg write, and what must come out of them."""

import io
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from emoclim.data.manifest import Item
from emoclim.data.media.sound import open_sound, read_mono
from emoclim.errors import DecodeError, MissingLibrary

SECONDS = 0.5
PITCHES = (440, 880, 1320)
RATES = (16_000, 44_100)
FORMATS = {  # name of a container: options of libsndfile, and samples of a packet with the delay of its encoder
    "wav": ({"format": "WAV"}, 0),
    "wavex": ({"format": "WAVEX", "subtype": "FLOAT"}, 0),
    "flac": ({"format": "FLAC"}, 0),
    "aiff": ({"format": "AIFF"}, 0),
    "au": ({"format": "AU"}, 0),
    "ogg": ({"format": "OGG"}, 2 * 1024),
    "opus": ({"format": "OGG", "subtype": "OPUS"}, 2 * 960 + 312),
    "mp3": ({"format": "MP3"}, 1152 + 1105),
    "w64": ({"format": "W64"}, 0),
    "rf64": ({"format": "RF64"}, 0),
    "caf": ({"format": "CAF"}, 0),
    "aac": ({}, 1024 + 1024 + 1024),
}
ID3 = b"ID3\4\0\0\0\0\x0f\x76" + bytes(2038)
ID3V1 = b"TAG" + bytes(125)
APE_ITEM = struct.pack("<II", 6, 0) + b"Title\0a song"
APE_FOOTER = b"APETAGEX" + struct.pack("<IIII", 1000, 32 + len(APE_ITEM), 1, 0) + bytes(8)  # of the first version
APE_ENDS = [struct.pack("<IIII", 2000, 32 + len(APE_ITEM), 1, flags << 28) + bytes(8) for flags in (0xA, 0x8)]
APE = b"APETAGEX" + APE_ENDS[0] + APE_ITEM + b"APETAGEX" + APE_ENDS[1]


def write_media(
    path: Path, demuxer: str, codec: str, options: dict[str, str] | None = None, rate: int = 48_000, channels: int = 2
) -> Path:
    """Three seconds of a tone of 440 Hz."""
    av = pytest.importorskip("av", reason="MP4, AAC, WebM and their like need the extra [media]")
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    tone = np.tile(0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * rate) / rate), (channels, 1)).astype(np.float32)
    layout = "stereo" if channels == 2 else "mono"
    with av.open(path, "w", format=demuxer, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout=layout)
        frame.sample_rate = rate
        stream.codec_context.open()
        cutter = av.AudioResampler(stream.format, layout, rate, frame_size=stream.codec_context.frame_size or 960)
        for part in [*cutter.resample(frame), *cutter.resample(None), None]:
            container.mux([packet for packet in stream.encode(part) if packet.size])
    return path


def tone(pitch: float, rate: int, channels: int = 1) -> NDArray[np.float32]:
    wave = 0.4 * np.sin(2 * np.pi * pitch * np.arange(int(SECONDS * rate)) / rate)
    return np.tile(wave[:, None], channels).astype(np.float32)


def own_rate(name: str, rate: int) -> int:
    return 48_000 if (name, rate) == ("opus", 44_100) else rate


@lru_cache(500)
def made(name: str, pitch: int, rate: int, channels: int) -> bytes:
    """Half a second of a tone in a container."""
    rate = own_rate(name, rate)
    samples = tone(pitch, rate, channels)
    file = io.BytesIO()
    if name == "aac":
        av = pytest.importorskip("av", reason="bare AAC needs the extra [media]")
        layout = "stereo" if channels == 2 else "mono"
        with av.open(file, "w", format="adts") as container:
            stream = container.add_stream("aac", rate=rate, layout=layout)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
            frame.sample_rate = rate
            cutter = av.AudioResampler("fltp", layout, rate, frame_size=1024)
            for part in [*cutter.resample(frame), *cutter.resample(None), None]:
                container.mux(stream.encode(part))
        return file.getvalue()
    sf.write(file, samples, rate, **FORMATS[name][0])
    return file.getvalue()


def decode(content: bytes, path: Path) -> tuple[NDArray[np.float32], int]:
    path.write_bytes(content)
    with open_sound(Item("x", path)) as sound:
        return np.concatenate(list(read_mono(sound, 0, 2**62, "x"))), sound.sample_rate


def check(content: bytes, path: Path, parts: Sequence[tuple[str, int, int]], *, may_refuse: bool = True) -> bool:
    """Make sure that a file decodes to its tones, one after another, or is refused; return whether it decodes."""
    try:
        samples, rate = decode(content, path)
    except DecodeError as error:
        assert may_refuse, error  # noqa: PT017 - either outcome may be right
        assert path.name not in str(error)  # noqa: PT017
        return False
    slack = [FORMATS[name][1] * rate / own_rate(name, own) + 2 for name, _, own in parts]
    seconds = [int(SECONDS * own_rate(name, own)) / own_rate(name, own) for name, _, own in parts]
    assert abs(len(samples) - sum(seconds) * rate) <= sum(slack)
    for (_, pitch, _), end, length in zip(parts, accumulate(seconds), seconds, strict=True):
        middle = samples[int((end - 0.75 * length) * rate) : int((end - 0.25 * length) * rate)]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 4 * rate))
        assert abs(np.argmax(spectrum) / 4 - pitch) < 6, (parts, np.argmax(spectrum) / 4)
        assert 0.3 < np.abs(middle).max() < 0.7
    return True


def put(content: bytes, place: int, form: str, value: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


def told(content: bytes, path: Path) -> str:
    with pytest.raises((DecodeError, MissingLibrary)) as failure:
        decode(content, path)
    return str(failure.value)
