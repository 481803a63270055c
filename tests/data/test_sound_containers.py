"""Sound files whose headers are wrong, cut, or one of several: all of the sound is decoded, or the file is refused."""

import io
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from soaking import examples

from emoclim.data.manifest import Item
from emoclim.data.media.sound import open_sound, read_mono
from emoclim.errors import DecodeError

SECONDS = 0.5
PITCHES = (440, 880, 1320)
RATES = (16_000, 44_100)
FORMATS = {  # name of a container: options of libsndfile, and samples of a packet with the delay of its encoder
    "wav": ({"format": "WAV"}, 0),
    "wavex": ({"format": "WAVEX", "subtype": "FLOAT"}, 0),
    "flac": ({"format": "FLAC"}, 0),
    "aiff": ({"format": "AIFF"}, 0),
    "au": ({"format": "AU"}, 0),
    "ogg": ({"format": "OGG"}, 1024),
    "opus": ({"format": "OGG", "subtype": "OPUS"}, 960 + 312),
    "mp3": ({"format": "MP3"}, 1152 + 1105),
    "w64": ({"format": "W64"}, 0),
    "rf64": ({"format": "RF64"}, 0),
    "caf": ({"format": "CAF"}, 0),
    "aac": ({}, 1024 + 1024 + 1024),
}
ID3 = b"ID3\4\0\0\0\0\x0f\x76" + bytes(2038)


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


names = st.sampled_from([*FORMATS])
sounds = st.tuples(names, st.sampled_from(PITCHES), st.sampled_from(RATES), st.integers(1, 2))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sounds") / "a sound"


@examples(40)
@given(parts=st.lists(sounds, min_size=1, max_size=3), tagged=st.booleans(), same=st.booleans())
def test_sounds_one_after_another_are_all_decoded(
    path: Path, parts: list[tuple[str, int, int, int]], tagged: bool, same: bool
) -> None:
    if same:
        parts = [(parts[0][0], *part[1:]) for part in parts]
    content = b"".join(ID3 * tagged + made(*part) for part in parts)
    check(content, path, [part[:3] for part in parts], may_refuse=len({part[0] for part in parts}) > 1)


@examples(40)
@given(sound=sounds, part=st.floats(0, 1, exclude_max=True), last=st.integers(0, 40), near=st.booleans())
def test_a_sound_that_is_cut_is_refused(
    path: Path, sound: tuple[str, int, int, int], part: float, last: int, near: bool
) -> None:
    content = made(*sound)
    stop = len(content) - last if near else int(part * len(content))
    if sound[0] == "aac" and stop in packets_of(content)[1:]:  # nothing tells that packets are missing
        assert abs(len(decode(content[:stop], path)[0]) - 1024 * packets_of(content).index(stop)) <= 1024
    else:
        check(content[:stop], path, [sound[:3]])


def packets_of(content: bytes) -> list[int]:
    """Where packets of bare AAC begin, and the last one ends."""
    places = [0]
    while places[-1] < len(content):
        head = content[places[-1] :]
        places.append(places[-1] + ((head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5))
    return places


def fields(name: str, content: bytes) -> list[tuple[int, str]]:
    """Where a header states a length, and how."""
    if name in ("wav", "wavex"):
        return [(4, "<I"), (content.index(b"data") + 4, "<I")]
    if name == "rf64":
        return [(20, "<Q"), (28, "<Q"), (content.index(b"data") + 4, "<I")]
    if name == "w64":
        return [(16, "<Q"), (content.index(b"data\xf3\xac") + 16, "<Q")]
    if name == "caf":
        return [(content.index(b"data") + 4, ">q")]
    if name == "aiff":
        return [(4, ">I"), (content.index(b"COMM") + 10, ">I"), (content.index(b"SSND") + 4, ">I")]
    if name == "au":
        return [(8, ">I")]
    if name == "flac":
        return [(22, ">I")]
    if name == "mp3":
        place = max(content.find(b"Info"), content.find(b"Xing"))
        return [(place + 8, ">I"), (place + 12, ">I")]
    return []


@examples(60)
@given(
    sound=sounds.filter(lambda sound: sound[0] not in ("ogg", "opus", "aac")),
    data=st.data(),
    factor=st.floats(0, 3),
)
def test_a_length_that_is_wrong_is_mended_or_refused(
    path: Path, sound: tuple[str, int, int, int], data: st.DataObject, factor: float
) -> None:
    content = bytearray(made(*sound))
    place, form = data.draw(st.sampled_from(fields(sound[0], content)))
    (stated,) = struct.unpack_from(form, content, place)
    top = 2 ** (8 * struct.calcsize(form)) // (2 if form.endswith("q") else 1) - 1
    value = data.draw(st.one_of(st.just(0), st.just(top), st.just(int(factor * stated)), st.integers(0, top)))
    struct.pack_into(form, content, place, min(value, top))
    check(bytes(content), path, [sound[:3]])
