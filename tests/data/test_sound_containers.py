"""Sound files whose headers are wrong, cut, or one of several: all of the sound is decoded, or the file is refused."""

import io
import os
import struct
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from soaking import examples, soak
from sound_files import write_media

from emoclim.data import read_blocks, read_crop, repeat_pad
from emoclim.data.manifest import Item
from emoclim.data.media.containers.mpeg import packet_at, read_count, split_packets
from emoclim.data.media.containers.view import Bytes
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


@soak
@examples(40)
@given(parts=st.lists(sounds, min_size=1, max_size=3), tagged=st.booleans(), same=st.booleans())
def test_sounds_one_after_another_are_all_decoded(
    path: Path, parts: list[tuple[str, int, int, int]], tagged: bool, same: bool
) -> None:
    if same:
        parts = [(parts[0][0], *part[1:]) for part in parts]
    content = b"".join(ID3 * tagged + made(*part) for part in parts)
    check(content, path, [part[:3] for part in parts], may_refuse=len({part[0] for part in parts}) > 1)


@soak
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


@soak
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


# What is odd about single files


def put(content: bytes, place: int, form: str, value: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


def told(content: bytes, path: Path) -> str:
    with pytest.raises((DecodeError, MissingLibrary)) as failure:
        decode(content, path)
    return str(failure.value)


TAGS = {
    "ID3v1": ID3V1,
    "ID3v1 enlarged": b"TAG+" + b"\2" * 223 + ID3V1,
    "ID3v2": ID3,
    "ID3v2 and ID3v1": ID3 + ID3V1,
    "ID3v2.4 with a footer": b"ID3\4\0\x10\0\0\0\x10" + b"\2" * 16 + b"3DI\4\0\x10\0\0\0\x10",
    "APEv1": APE_ITEM + APE_FOOTER,
    "APEv1 and ID3v1": APE_ITEM + APE_FOOTER + ID3V1,
    "APEv2 and ID3v1": APE + ID3V1,
    "Lyrics3": b"LYRICSBEGIN" + b"la " * 99 + b"LYRICSEND" + ID3V1,
    "Lyrics3v2 after APEv2": APE + b"LYRICSBEGIN" + b"la " * 1_300 + b"003911LYRICS200" + ID3V1,
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("name", [*FORMATS, "uncounted mp3"])
def test_tags_behind_a_container_are_left_out(name: str, tag: str, path: Path) -> None:
    content = made(name.removeprefix("uncounted "), 440, 44_100, 2)
    if name == "uncounted mp3":
        content = content[content.index(content[:2], 2) :]
    whole, _ = decode(content, path)
    assert np.array_equal(decode(content + TAGS[tag], path)[0], whole)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "aac"])
def test_tags_before_a_container_are_left_out(name: str, path: Path) -> None:
    whole, _ = decode(made(name, 440, 44_100, 2), path)
    assert np.array_equal(decode(ID3 + ID3 + made(name, 440, 44_100, 2), path)[0], whole)


def test_a_tag_is_found_behind_a_large_flac(path: Path) -> None:
    file = io.BytesIO()
    sf.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 400_000), 16_000, format="FLAC")
    whole, _ = decode(file.getvalue(), path)
    for tag in (ID3, b"ID3\3\0\0\0\x08\0\0" + bytes(2**17)):
        assert np.array_equal(decode(file.getvalue() + tag, path)[0], whole)


@pytest.mark.parametrize(
    ("name", "chunk"),
    [
        ("wav", b"LIST" + struct.pack("<I", 64)),
        ("rf64", b"bext" + struct.pack("<I", 64)),
        ("aiff", b"ANNO" + struct.pack(">I", 64)),
        ("caf", b"info" + struct.pack(">q", 64)),
        ("w64", b"levl" + bytes.fromhex("f3acd3118cd100c04f8edb8a") + struct.pack("<Q", 24 + 64)),
    ],
)
def test_chunks_after_the_sound_are_no_sound(name: str, chunk: bytes, path: Path) -> None:
    content = made(name, 440, 16_000, 1)
    assert np.array_equal(decode(content + chunk + b"\1" * 64, path)[0], decode(content, path)[0])


def test_what_follows_a_sound_is_not_taken_for_sound(path: Path) -> None:
    content = made("wav", 440, 16_000, 1)
    assert "counts too little: 999 bytes" in told(content + b"\7" * 999, path)
    assert len(decode(content + bytes(999), path)[0]) == 8_000
    assert len(decode(content + b"LIST" + struct.pack("<I", 999) + b"INFO", path)[0]) == 8_000


@pytest.mark.parametrize(
    "content",
    [b"RIFF\4\0\0\0WAVE" + b"JUNK\0\0\0\0" * 20_000, b"fLaC\0\0\0\x22" * 20_000, b"\0\0\0\x08ftyp" * 20_000],
)
def test_files_of_absurdly_many_parts_are_refused(content: bytes, path: Path) -> None:
    assert "more than 10000 parts" in told(content, path)


def test_two_chunks_of_samples_are_refused(path: Path) -> None:
    content = made("wav", 440, 16_000, 1)
    assert "two chunks" in told(content + content[content.index(b"data") :], path)


@pytest.mark.parametrize(
    ("name", "place", "form", "value"),
    [
        ("wav", 22, "<H", 2),
        ("wav", 34, "<H", 8),
        ("wav", 24, "<I", 22_050),
        ("aiff", 20, ">H", 2),
        ("aiff", 26, ">H", 8),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(name: str, place: int, form: str, value: int, path: Path) -> None:
    assert "contradicts itself" in told(put(made(name, 440, 16_000, 1), place, form, value), path)


@pytest.mark.parametrize(("place", "form", "value"), [(28, "<I", 0), (28, "<I", 12_345), (32, "<H", 7)])
def test_one_odd_number_that_nobody_needs_is_passed_over(place: int, form: str, value: int, path: Path) -> None:
    check(put(made("wav", 440, 16_000, 1), place, form, value), path, [("wav", 440, 16_000)], may_refuse=False)


@pytest.mark.parametrize(("demuxer", "codec", "suffix"), [("ipod", "aac", "m4a"), ("webm", "libopus", "webm")])
def test_joined_and_cut_files_of_ffmpeg(demuxer: str, codec: str, suffix: str, path: Path) -> None:
    one = write_media(path.with_suffix("." + suffix), demuxer, codec).read_bytes()
    samples, rate = decode(one + one, path)
    assert abs(len(samples) / rate - 6) < 0.15
    assert "cut short" in told(one[:-200], path)


@pytest.mark.parametrize(
    ("demuxer", "codec", "options"),
    [
        ("webm", "libopus", {}),
        ("webm", "libopus", {"live": "1"}),
        ("matroska", "aac", {}),
        ("ipod", "aac", {}),
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_what_follows_a_file_of_ffmpeg_is_decoded_and_tags_are_left_out(
    demuxer: str, codec: str, options: dict[str, str], path: Path
) -> None:
    one = write_media(path.with_suffix(".media"), demuxer, codec, options).read_bytes()
    whole, rate = decode(one, path)
    for name in ("mp3", "flac", "ogg", "aac", "wav"):
        samples, _ = decode(one + ID3 + made(name, 880, 16_000, 1), path)
        assert len(samples) / rate - len(whole) / rate == pytest.approx(0.5, abs=0.2)
        middle = samples[len(whole) + rate // 8 : len(whole) + 3 * rate // 8]
        assert abs(np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 4 * rate))) / 4 - 880) < 6
    for behind in (ID3, ID3V1, APE, ID3 + APE + ID3V1, bytes(500)):
        assert np.array_equal(decode(one + behind, path)[0], whole)


def test_other_bytes_behind_an_mp4_are_told(path: Path) -> None:
    one = write_media(path.with_suffix(".m4a"), "ipod", "aac").read_bytes()
    assert "200 bytes of something else" in told(one + b"what" * 50, path)
    assert "cut short" in told(one + one[:-200], path)


@pytest.mark.parametrize(
    ("demuxer", "codec", "field", "skip", "form"),
    [("webm", "libopus", b"\x44\x89\x88", 3, ">d"), ("ipod", "aac", b"mdhd", 20, ">I")],
)
def test_a_length_that_is_understated_bounds_nothing(
    demuxer: str, codec: str, field: bytes, skip: int, form: str, path: Path
) -> None:
    content = write_media(path.with_suffix(".media"), demuxer, codec).read_bytes()
    place = content.index(field) + skip
    (stated,) = struct.unpack_from(form, content, place)
    whole, _ = decode(content, path)
    short = bytearray(content)
    struct.pack_into(form, short, place, type(stated)(stated / 3))
    path.write_bytes(short)
    assert len(torch.cat(list(read_blocks(Item("x", path), 48_000)))) == len(whole)
    part = torch.cat(list(read_blocks(Item("x", path, start=2), 48_000)))
    assert np.array_equal(part, whole[96_000:])
    crop = read_crop(Item("x", path), 48_000, 4_800, torch.Generator().manual_seed(0), repeat_pad)
    position = torch.rand((), generator=torch.Generator().manual_seed(0), dtype=torch.float64).item()
    first = int(position * (len(whole) - 4_800 + 1))
    assert np.array_equal(crop, whole[first : first + 4_800])
    with pytest.raises(DecodeError, match="begins at 4.00 s, but the sound ends before"):
        list(read_blocks(Item("x", path, start=4), 48_000))


def test_a_flac_of_another_rate_than_its_frames_is_refused(path: Path) -> None:
    content = bytearray(made("flac", 440, 16_000, 1))
    content[18:21] = (22_050 << 4 | content[20] & 15).to_bytes(3, "big")
    assert "22050 Hz" in told(bytes(content), path)


@pytest.mark.parametrize("name", ["flac", "ogg"])
def test_equal_sounds_one_after_another_are_found_in_large_files_too(name: str, path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 400_000)
    file = io.BytesIO()
    sf.write(file, noise, 16_000, format=name.upper())
    one, _ = decode(file.getvalue(), path)
    assert np.array_equal(decode(3 * file.getvalue(), path)[0], np.tile(one, 3))


def with_last_granule(content: bytes, change: int) -> bytes:
    """Change what the last page of an Ogg stream counts, and its checksum."""
    place = content.rindex(b"OggS")
    (granule,) = struct.unpack_from("<q", content, place + 6)
    return with_checksum(put(content, place + 6, "<q", granule + change), place)


def with_checksum(content: bytes, place: int) -> bytes:
    """Correct the checksum of the last page of an Ogg stream."""
    page = put(content, place + 22, "<I", 0)[place:]
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C1_1DB7 * (crc >> 31)) & 0xFFFF_FFFF
    return content[:place] + put(page, 22, "<I", crc)


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_an_ogg_stream_that_counts_too_little_is_refused(name: str, path: Path) -> None:
    content = made(name, 440, 44_100, 2)
    assert with_last_granule(content, 0) == content
    assert "counts too little" in told(with_last_granule(content, -6_000), path)
    check(with_last_granule(content, 6_000), path, [(name, 440, 44_100)])


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_an_ogg_stream_may_end_with_an_empty_page(name: str, path: Path) -> None:
    content = made(name, 440, 44_100, 2)
    whole, _ = decode(content, path)
    last = content.rindex(b"OggS")
    (number,) = struct.unpack_from("<I", content, last + 18)
    empty = put(content[last : last + 26] + b"\0", 18, "<I", number + 1)
    one = with_checksum(put(content, last + 5, "<B", content[last + 5] & ~4), last) + with_checksum(empty, 0)
    assert np.array_equal(decode(one, path)[0], whole)
    assert np.array_equal(decode(one + ID3 + one, path)[0], np.tile(whole, 2))
    end = len(content)
    assert "last page" in told(one[: end - 9] + bytes([one[end - 9] ^ 1]) + one[end - 8 :], path)


def test_an_ogg_stream_whose_last_page_is_damaged_is_refused(path: Path) -> None:
    content = made("ogg", 440, 44_100, 2)
    assert "last page" in told(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], path)


def test_damage_between_the_packets_of_an_mp3_is_refused(path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 80_000)
    file = io.BytesIO()
    sf.write(file, noise, 16_000, format="MP3", bitrate_mode="CONSTANT", compression_level=0.5)
    content = file.getvalue()
    uncounted = content[content.index(content[:2], 2) :]
    assert len(decode(uncounted, path)[0]) > 80_000
    half = len(uncounted) // 2
    assert "damaged" in told(uncounted[:half] + b"\x55" * 500 + uncounted[half + 500 :], path)
    assert "damaged" in told(uncounted + b"\x55" * 200_000 + uncounted, path)
    boundary = 8 * content.index(content[:2], 2)  # all packets are equally long here
    assert len(decode(uncounted[:boundary] + b"\x55" + uncounted[boundary:], path)[0]) > 80_000


@pytest.mark.parametrize("start", [0, 7_000, 5_000_000_000])
def test_the_packet_that_counts_those_of_a_part_is_the_same_at_any_place(start: int, path: Path) -> None:
    wave = np.outer([0, 1, 1], np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)).ravel()
    sf.write(path, wave, 16_000, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    content = path.read_bytes()
    with path.open("wb") as file:
        file.seek(start)  # a hole, where that is beyond the beginning
        file.write(content[content.index(content[:2], 2) :])
    with path.open("rb") as stream:
        [part] = split_packets(Bytes(stream), start)
    made = Bytes(io.BytesIO(part.prefix + content))
    packet = packet_at(made, 0)
    assert packet is not None
    count = read_count(made, 0, packet)
    assert count is not None
    assert abs(576 * (count.packets or 0) - len(wave)) < 3 * 576
    assert count.size is None


def test_a_chain_may_follow_other_bytes(path: Path) -> None:
    content = b"\7" * 5_000 + made("mp3", 440, 16_000, 1) + made("mp3", 880, 44_100, 1)
    check(content, path, [("mp3", 440, 16_000), ("mp3", 880, 44_100)], may_refuse=False)


def test_a_part_and_a_crop_of_a_chain(path: Path) -> None:
    path.write_bytes(made("ogg", 440, 16_000, 1) + made("ogg", 880, 44_100, 2))
    whole = torch.cat(list(read_blocks(Item("x", path), 16_000)))
    part = torch.cat(list(read_blocks(Item("x", path, start=0.25, duration=0.5), 16_000)))
    assert torch.allclose(part[500:-500], whole[4_500:11_500], atol=1e-3)
    crop = read_crop(Item("x", path), 16_000, 4_000, torch.Generator().manual_seed(0), repeat_pad)
    assert (whole.unfold(0, 4_000, 1) == crop).all(1).any()


def test_opposite_phase_is_told_of_a_chain_too(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = io.BytesIO()
    sf.write(file, tone(440, 16_000, 2) * np.float32([1, -1]), 16_000, format="FLAC")
    assert not decode(2 * file.getvalue(), path)[0].any()
    assert "opposite phase" in caplog.text


def test_the_bad_one_of_several_sounds_is_told(path: Path) -> None:
    content = made("flac", 440, 16_000, 1) + made("flac", 880, 16_000, 1)[:-900]
    assert "of number 2, the sound is damaged" in told(content, path)


def test_ffmpeg_takes_over_and_both_decoders_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av", reason="FFmpeg needs the extra [media]")
    content = made("wav", 440, 16_000, 1)
    data = content.index(b"data")
    assert (
        len(decode(content[:12] + content[data:] + content[12:data], path)[0]) == 8_000
    )  # samples before their format
    assert "libsndfile: " in (reason := told(content[:data] + b"LOST" + content[data + 4 :], path))
    assert "FFmpeg: " in reason
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'emoclim[media]'" in told(content[:12] + content[data:] + content[12:data], path)


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(DecodeError, match="a pipe"), open_sound(Item("x", tmp_path / "a.wav")):
        pass


# Files made after reports of others

WHOLE = {  # seconds of 440 Hz, then 880 Hz, then 1320 Hz; None: refused
    "ogg_chained.ogg": (1, 1),
    "ogg_chained_rate_change.ogg": (1, 1),
    "mp3_concatenated_xing.mp3": (1, 1),
    "wav_data_size_wrapped.wav": None,
    "flac_total_understated.flac": (1, 1, 1),
    "aiff_understated.aif": (1, 1, 1),
    "au_understated.au": None,
    "aac_rate_changes.aac": (1, 1),
    "aac_channels_change.aac": (1, 1),
    "aac_id3_front.aac": (1,),
    "ogg_id3v2_front.ogg": (1,),
    "mp3_in_wav_ffmpeg.wav": (1, 1, 1),
    "mp3_stream_in_wav.wav": (1, 1, 1),
    "oggflac.oga": (1, 1, 1),
    "wav_data_size_zero.wav": (1, 1, 1),
    "ogg_no_eos_flag.ogg": None,
    "wav_int_scaled_float_quiet.wav": None,
    "flac_concatenated.flac": (1, 1, 1, 1, 1, 1),
    "mp3_rate_changes.mp3": (1, 1),
}


@pytest.mark.parametrize("name", WHOLE)
def test_files_after_reports_are_decoded_whole(name: str, shared: Path, path: Path) -> None:
    if name.startswith("aac") or name == "oggflac.oga":
        pytest.importorskip("av", reason="FFmpeg needs the extra [media]")
    content, seconds = (shared / "cases" / "audio" / name).read_bytes(), WHOLE[name]
    if seconds is None:
        told(content, path)
        return
    samples, rate = decode(content, path)
    assert abs(len(samples) / rate - sum(seconds)) < 0.125
    for place in range(len(seconds)):
        middle = samples[int((place + 0.3) * rate) : int((place + 0.7) * rate)]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 4 * rate))
        assert abs(np.argmax(spectrum) / 4 - PITCHES[place % 3]) < 6
