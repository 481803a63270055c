"""Sound files: what is decoded, how it becomes mono, and what is refused."""

import logging
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from soaking import examples, soak
from sound_files import write_media

from emoclim.data.manifest import Item
from emoclim.data.media.sound import open_sound, read_mono
from emoclim.errors import DecodeError, MissingLibrary

RATE = 16_000
END = 2**62
STEREO = np.random.default_rng(0).uniform(-0.3, 0.3, (RATE, 2)).astype(np.float32)  # one second of noise
MONO = STEREO.mean(axis=1)

LOSSLESS = {  # file name -> options
    "a.wav": {"subtype": "FLOAT"},
    "a.aiff": {"subtype": "FLOAT"},
    "a.au": {"subtype": "FLOAT"},
    "a.caf": {"subtype": "FLOAT"},
    "a.w64": {"subtype": "FLOAT"},
    "a.rf64": {"subtype": "FLOAT", "format": "RF64"},
    "double.wav": {"subtype": "DOUBLE"},
}
PCM = {  # file name -> options and the largest error of rounding
    "16.wav": ({"subtype": "PCM_16"}, 2**-15),
    "24.wav": ({"subtype": "PCM_24"}, 2**-23),
    "8.wav": ({"subtype": "PCM_U8"}, 2**-7),
    "ulaw.wav": ({"subtype": "ULAW"}, 0.02),
    "a.flac": ({}, 2**-15),
    "alac.caf": ({"subtype": "ALAC_16"}, 2**-15),
}
LOSSY = {"a.ogg": {}, "opus.ogg": {"subtype": "OPUS"}, "a.mp3": {}, "gsm.wav": {"subtype": "GSM610"}}


def write(path: Path, samples: NDArray[np.float32], **options: str) -> Path:
    sf.write(path, samples, RATE, **options)
    return path


def decode(path: Path, first: int = 0, last: int = END) -> NDArray[np.float32]:
    with open_sound(Item("an item", path)) as sound:
        return np.concatenate(list(read_mono(sound, first, last, "an item")))


def reason(path: Path) -> str:
    """Why a file is refused; a reason never names the path."""
    with pytest.raises((DecodeError, MissingLibrary)) as failure:
        decode(path)
    told = str(failure.value)
    assert path.name not in told
    return told


@pytest.mark.parametrize("name", LOSSLESS)
def test_floats_come_back_as_they_are(tmp_path: Path, name: str) -> None:
    assert np.array_equal(decode(write(tmp_path / name, STEREO, **LOSSLESS[name])), MONO)


@pytest.mark.parametrize("name", PCM)
def test_integers_come_back_rounded(tmp_path: Path, name: str) -> None:
    options, tolerance = PCM[name]
    assert np.abs(decode(write(tmp_path / name, STEREO, **options)) - MONO).max() <= tolerance


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_codecs_come_back_whole(tmp_path: Path, name: str) -> None:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE).astype(np.float32)
    decoded = decode(write(tmp_path / name, wave, **LOSSY[name]))
    assert len(wave) <= len(decoded) < len(wave) + 320  # GSM fills up its last packet
    assert np.argmax(np.abs(np.fft.rfft(decoded[: len(wave)]))) == 3 * 440
    part = decode(tmp_path / name, RATE, 2 * RATE)
    assert len(part) == RATE
    assert np.allclose(part, decoded[RATE : 2 * RATE], atol=1e-6)


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    write(tmp_path / "a.ogg", MONO).rename(tmp_path / "été 🎶, (mix).wav")
    assert len(decode(tmp_path / "été 🎶, (mix).wav")) == RATE
    for name in (
        "a.mp3",
        "a.au",
        "a.gsm",
        "a.vox",
        "a.raw",
    ):  # some of these names make libsndfile play noise
        (tmp_path / name).write_text("plain text, as it were\n" * 99)
        assert "no sound file that can be read" in reason(tmp_path / name)


# Mixing down


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_mono_is_the_mean_of_the_channels(tmp_path: Path, channels: int) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, (200_000, channels)).astype(np.float32)
    mixed = decode(write(tmp_path / "a.wav", samples, subtype="FLOAT"))
    assert np.allclose(mixed, samples.mean(axis=1, dtype=np.float64), atol=1e-7)


def test_opposite_phase_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "opposite.wav", np.stack([MONO, -MONO], axis=1), subtype="FLOAT")
    assert not decode(tmp_path / "opposite.wav").any()
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "an item: its channels are in opposite phase, so that mixed to mono it is silent"
    ]


@pytest.mark.parametrize("right", [0.0, 0.5, -0.99])
def test_other_stereo_is_no_opposite_phase(tmp_path: Path, caplog: pytest.LogCaptureFixture, right: float) -> None:
    write(tmp_path / "a.wav", np.stack([MONO, right * MONO], axis=1), subtype="FLOAT")
    assert decode(tmp_path / "a.wav").any()
    assert not caplog.records


def test_silence_is_no_opposite_phase(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.wav", np.zeros((100, 2), np.float32))
    assert not decode(tmp_path / "a.wav").any()
    assert not caplog.records


@pytest.mark.parametrize("value", [3.5, 100.0])
def test_peaks_above_full_scale_are_kept(tmp_path: Path, value: float) -> None:
    write(tmp_path / "a.wav", np.array([0, value, -value, 0.5], np.float32), subtype="FLOAT")
    assert decode(tmp_path / "a.wav").tolist() == [0, value, -value, 0.5]


# What is refused


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.nan, "not finite"), (np.inf, "not finite"), (-np.inf, "not finite"), (1e30, "1e\\+30"), (-800, "integers")],
)
def test_samples_that_cannot_be_are_refused(tmp_path: Path, value: float, told: str) -> None:
    samples = STEREO.copy()
    samples[-1] = (value, -value)
    with pytest.raises(DecodeError, match=told):
        decode(write(tmp_path / "a.wav", samples, subtype="FLOAT"))


@pytest.mark.parametrize(("samples", "told"), [(0, "too short: 0 samples"), (1, "too short: 1 sample;")])
def test_no_sound_at_all_is_refused(tmp_path: Path, samples: int, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        decode(write(tmp_path / "a.wav", MONO[:samples]))


@pytest.mark.parametrize(
    ("rate", "channels", "told"),
    [
        (0, 1, "0 Hz"),
        (RATE, 0, "hannel"),
        (2**31 - 1, 1, "2147483647 Hz"),
        (1, 1, "1 Hz"),
        (RATE, 65, "65 chan"),
    ],
)
def test_absurd_headers_are_refused(tmp_path: Path, rate: int, channels: int, told: str) -> None:
    content = bytearray(write(tmp_path / "a.wav", MONO).read_bytes())
    content[22:28] = struct.pack("<HI", channels, rate)
    (tmp_path / "a.wav").write_bytes(content)
    assert told in reason(tmp_path / "a.wav")


@pytest.mark.parametrize("name", [*LOSSLESS, *PCM, *LOSSY])
@pytest.mark.parametrize("part", [0.4, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, part: float) -> None:
    options = (LOSSLESS | LOSSY).get(name) or PCM.get(name, ({},))[0]
    path = write(tmp_path / name, np.tile(MONO, 20), **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert "cut short" in (told := reason(path)) or "malformed" in told


def test_an_ogg_file_that_lacks_its_last_page_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", np.tile(MONO, 20))
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS")])
    assert "mark at the end" in reason(path)


def test_an_ogg_file_may_end_with_other_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", MONO)
    path.write_bytes(path.read_bytes() + bytes(500))
    assert len(decode(path)) == RATE


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F024])
def test_a_streamed_wav_states_no_size_and_is_read(tmp_path: Path, size: int) -> None:
    content = bytearray(write(tmp_path / "a.wav", MONO).read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(content)
    assert len(decode(tmp_path / "a.wav")) == RATE


def test_a_streamed_flac_states_no_length_and_is_read(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.flac", MONO).read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    assert len(decode(tmp_path / "a.flac")) == RATE


def write_mp3_without_length(path: Path, bit_rate_mode: str, loudness: list[float]) -> None:
    """Write an MP3 of some seconds, each so loud, without the packet that states its length."""
    wave = np.outer(loudness, MONO).astype(np.float32).ravel()
    sf.write(path, wave, RATE, format="MP3", bitrate_mode=bit_rate_mode, compression_level=0.5)
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 2) :])


@pytest.mark.parametrize(
    ("mode", "loudness"), [("CONSTANT", [1, 0, 0, 0, 1]), ("VARIABLE", [0, 1, 1, 1, 1]), ("VARIABLE", [1, 0, 0, 0, 0])]
)
def test_an_mp3_need_not_state_its_length(tmp_path: Path, mode: str, loudness: list[float]) -> None:
    write_mp3_without_length(tmp_path / "a.mp3", mode, loudness)
    assert abs(len(decode(tmp_path / "a.mp3")) - 5 * RATE) < 3000


def test_an_mp3_may_begin_with_other_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", MONO)
    whole = decode(path)
    content = path.read_bytes()
    for before in (bytes(200_000), b"\7" * 5000):
        path.write_bytes(before + content)
        assert np.array_equal(decode(path), whole)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "web page"),
        (b"ID3\4\0\0\0\0\0\0", "no sound file"),
        (b"OggS" * 9, "cut short"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_what_is_no_sound_is_refused(tmp_path: Path, content: bytes, told: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert told in reason(tmp_path / name)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    for name, told in {"folder.wav": "a folder", "missing.wav": "is missing"}.items():
        with pytest.raises(DecodeError, match=told):
            decode(tmp_path / name)
    with pytest.raises(DecodeError, match="names no file"), open_sound(Item("x", text="la la la")):
        pass


@soak
@examples(150)
@given(data=st.data(), name=st.sampled_from(["a.wav", "a.flac", "a.ogg", "a.aiff", "a.au", "a.caf"]))
def test_damage_never_raises_anything_else(
    data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.getbasetemp() / name, STEREO[:4000])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert np.isfinite(decode(path)).all()
    except DecodeError as error:
        assert name not in str(error)  # noqa: PT017 - either outcome is right


# Through FFmpeg


@pytest.mark.parametrize(
    ("name", "demuxer", "codec"), [("a.m4a", "ipod", "aac"), ("a.aac", "adts", "aac"), ("a.webm", "webm", "libopus")]
)
def test_ffmpeg_decodes_what_libsndfile_does_not_know(tmp_path: Path, name: str, demuxer: str, codec: str) -> None:
    path = write_media(tmp_path / name, demuxer, codec)
    decoded = decode(path)
    assert abs(len(decoded) / 48_000 - 3) < 0.1
    assert abs(np.argmax(np.abs(np.fft.rfft(decoded[: 3 * 48_000]))) - 3 * 440) <= 1
    assert np.array_equal(decode(path, 50_000, 90_000), decoded[50_000:90_000])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut short" in reason(path)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x10ftypM4A \0\0\2\0")
    assert "pip install 'emoclim[media]'" in reason(tmp_path / "a.m4a")
