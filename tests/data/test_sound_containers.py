"""Sound files whose headers are wrong, or that hold more than one sound: all is decoded, or the file is refused."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from sound_files import (
    APE,
    APE_FOOTER,
    APE_ITEM,
    FORMATS,
    ID3,
    ID3V1,
    PITCHES,
    SECONDS,
    check,
    decode,
    made,
    put,
    told,
    tone,
    write_media,
)

from emoclim.data import read_blocks, read_crop, repeat_pad
from emoclim.data.manifest import Item
from emoclim.data.media.containers.mpeg import packet_at, read_count, split_packets
from emoclim.data.media.containers.view import Bytes, Part, View
from emoclim.data.media.sound import open_sound
from emoclim.errors import DecodeError


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sounds") / "a sound"


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


@pytest.mark.parametrize("second", ["mp3", "uncounted mp3", "aac", "m4a"])
@pytest.mark.parametrize("first", ["flac", "flac of unknown length", "large flac", "wav", "aiff", "au", "caf", "w64"])
def test_a_stream_of_packets_may_follow_a_container(first: str, second: str, path: Path) -> None:
    content = made(first.split()[-1] if "large" in first else first.split()[0], 440, 44_100, 2)
    if "unknown" in first:
        content = content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]
    if "large" in first:
        file = io.BytesIO()
        sf.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 300_000), 44_100, format="FLAC")
        content = file.getvalue()
    whole, rate = decode(content, path)
    if second == "m4a":
        content += write_media(path.with_suffix(".m4a"), "ipod", "aac", rate=44_100).read_bytes()
        pitch, seconds = 440, 3.0
    else:
        pitch, seconds = 880, SECONDS
        packets = made(second.split()[-1], 880, 44_100, 2)
        content += packets[packets.index(packets[:2], 2) :] if "uncounted" in second else packets
    samples, _ = decode(content, path)
    assert np.array_equal(samples[: len(whole)], whole)
    assert len(samples) - len(whole) - seconds * rate <= 3 * 1152
    after = samples[len(whole) + rate // 8 :][: rate // 4]
    assert abs(np.argmax(np.abs(np.fft.rfft(after * np.hanning(len(after)), 4 * rate))) / 4 - pitch) < 6


@pytest.mark.parametrize("behind", [b"\x55" * 5_000, b"and so on " * 9_000])
def test_other_bytes_behind_a_flac_are_counted(behind: bytes, path: Path) -> None:
    content = made("flac", 440, 44_100, 2)
    assert f"{len(behind)} bytes of something else follow" in told(content + behind, path)
    assert np.array_equal(decode(content + bytes(len(behind)), path)[0], decode(content, path)[0])


@pytest.mark.parametrize(
    "content",
    [b"RIFF\4\0\0\0WAVE" + b"JUNK\0\0\0\0" * 20_000, b"fLaC\0\0\0\x22" * 20_000, b"\0\0\0\x08ftyp" * 20_000],
)
def test_files_of_absurdly_many_parts_are_refused(content: bytes, path: Path) -> None:
    assert "more than 10000 parts" in told(content, path)


def test_a_chunk_that_is_larger_than_its_file_takes_no_memory(path: Path) -> None:
    content = made("wav", 440, 16_000, 1)
    chunk = b"LIST" + struct.pack("<I", 0xDD00_001A) + b"INFOISFT"
    assert "a chunk before the sound" in told(content[:36] + chunk + content[36:], path)


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


@pytest.mark.parametrize(("place", "form", "claim"), [(24, "<I", "claims 0 Hz"), (22, "<H", "and 0 channels")])
def test_a_header_without_a_rate_or_channels_is_told_as_what_it_is(
    place: int, form: str, claim: str, path: Path
) -> None:
    assert claim in told(put(made("wav", 440, 16_000, 1), place, form, 0), path)


@pytest.mark.parametrize(("place", "form", "value"), [(28, "<I", 0), (28, "<I", 12_345), (32, "<H", 7)])
def test_one_odd_number_that_nobody_needs_is_passed_over(place: int, form: str, value: int, path: Path) -> None:
    check(put(made("wav", 440, 16_000, 1), place, form, value), path, [("wav", 440, 16_000)], may_refuse=False)


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


def test_damage_to_few_packets_of_a_counted_mp3_is_refused(path: Path) -> None:
    file = io.BytesIO()
    sf.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 80_000), 16_000, format="MP3", bitrate_mode="CONSTANT")
    content = file.getvalue()
    packet = content.index(content[:2], len(content) // 2)
    for behind in (packet + 2, packet + 40):  # damaged, and lost
        assert "damaged" in told(content[:packet] + bytes([1] * (behind - packet)) + content[behind:], path)
        assert "damaged" in told(content[:packet] + content[behind:], path)


def test_beyond_all_places_nothing_is_read(path: Path) -> None:
    path.write_bytes(b"1234")
    with path.open("rb") as stream:
        view = View(stream, Part(1, 4))
        for place in (3, 2**63, 2**80):
            view.seek(place)
            assert view.read(1) == b""
        view.seek(1)
        assert view.read() == b"34"
        assert Bytes(stream).at(2**80, 1) == b""


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
