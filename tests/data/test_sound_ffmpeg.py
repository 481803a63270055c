"""Sound files that FFmpeg decodes: all of the sound is decoded, or the file is refused with what is odd."""

import os
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sound_files import APE, ID3, ID3V1, check, decode, made, put, told, write_media

from emoclim.data import read_blocks, read_crop, repeat_pad
from emoclim.data.manifest import Item
from emoclim.data.media import sound
from emoclim.data.media.containers.parts import find_parts
from emoclim.data.media.containers.view import Part
from emoclim.data.media.sound import open_sound, read_mono
from emoclim.errors import DecodeError


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sounds") / "a sound"


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


# Kinds that libsndfile does not know, under a name that says something else

KINDS = {  # demuxer and codec: sample rate, channels, and samples by which the length may be more than was written
    ("wv", "wavpack"): (48_000, 2, 0),
    ("tta", "tta"): (48_000, 2, 0),
    ("ac3", "ac3"): (48_000, 2, 1536 + 256),
    ("eac3", "eac3"): (48_000, 2, 1536 + 256),
    ("mpegts", "aac"): (48_000, 2, 2 * 1024),
    ("mpegts", "mp2"): (48_000, 2, 1152 + 481),
    ("mpeg", "mp2"): (48_000, 2, 1152 + 481),
    ("loas", "aac"): (48_000, 2, 2 * 1024),
    ("flv", "aac"): (44_100, 2, 2 * 1024),
    ("flv", "libmp3lame"): (44_100, 1, 1152 + 1105),
    ("avi", "libmp3lame"): (48_000, 2, 1152 + 1105),
    ("avi", "pcm_s16le"): (48_000, 2, 0),
    ("amr", "libopencore_amrnb"): (8_000, 1, 160 + 40),
    ("3gp", "libopencore_amrnb"): (8_000, 1, 160 + 40),
}
STATES_LENGTH = [("wv", "wavpack"), ("tta", "tta"), ("flv", "aac"), ("avi", "pcm_s16le"), ("amr", "libopencore_amrnb")]


def written(kind: tuple[str, str], path: Path) -> bytes:
    demuxer = "latm" if kind[0] == "loas" else kind[0]
    return write_media(path.with_suffix(".media"), demuxer, kind[1], None, *KINDS[kind][:2]).read_bytes()


def pitch(samples: NDArray[np.float32], rate: int) -> float:
    """The pitch of a second from the middle, in Hz."""
    middle = samples[len(samples) // 2 - rate // 2 :][:rate]
    return float(np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 4 * rate)))) / 4


@pytest.mark.parametrize("kind", KINDS)
def test_ffmpeg_takes_over_what_it_knows(kind: tuple[str, str], path: Path) -> None:
    content, (rate, _, more) = written(kind, path), KINDS[kind]
    samples, found = decode(content, path)
    assert found == rate
    assert 0 <= len(samples) - 3 * rate <= more
    assert pitch(samples, rate) == 440
    if kind != ("3gp", "libopencore_amrnb"):
        assert np.array_equal(decode(content + ID3V1, path)[0], samples)


@pytest.mark.parametrize("kind", STATES_LENGTH)
def test_such_a_file_that_is_cut_is_refused(kind: tuple[str, str], path: Path) -> None:
    content = written(kind, path)
    assert "cut short" in told(content[: len(content) * 3 // 5], path)


@pytest.mark.parametrize("kind", [("tta", "tta"), ("flv", "aac")])
def test_what_ffmpeg_leaves_unread_is_told(kind: tuple[str, str], path: Path) -> None:
    content = written(kind, path)
    assert "bytes of something else follow" in told(content + content, path)


def test_integers_of_64_bits(path: Path) -> None:
    pytest.importorskip("av", reason="integers of 64 bits need the extra [media]")
    values = np.array([[0, 2**62], [-(2**63), 0], [2**61, 2**61], [1, -1]], "<i8")
    form = struct.pack("<HHIIHH", 1, 2, 8_000, 8_000 * 16, 16, 64)
    content = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", values.nbytes) + values.tobytes()
    samples, _ = decode(b"RIFF" + struct.pack("<I", len(content)) + content, path)
    assert samples.tolist() == [0.25, -0.5, 0.25, 0]


@pytest.mark.parametrize("size", [0, 2**32 - 1])
@pytest.mark.parametrize("codec", ["mp2", "libmp3lame", "ac3"])
def test_packets_in_a_wav_of_unknown_size(codec: str, size: int, path: Path) -> None:
    content = write_media(path.with_suffix(".wav"), "wav", codec).read_bytes()
    whole, rate = decode(content, path)
    samples, _ = decode(put(put(content, 4, "<I", size), content.index(b"data") + 4, "<I", size), path)
    assert 0 <= len(samples) - len(whole) <= 1536
    assert pitch(samples, rate) == 440


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_an_old_quicktime_file_begins_without_its_name(codec: str, path: Path) -> None:
    content = write_media(path.with_suffix(".mov"), "mov", codec).read_bytes()
    (skip,) = struct.unpack_from(">I", content)
    place = content.index(b"stco") + 12
    offsets = struct.unpack_from(f">{struct.unpack_from('>I', content, place - 4)[0]}I", content, place)
    moved = struct.pack(f">{len(offsets)}I", *(offset - skip for offset in offsets))
    whole, _ = decode(content, path)
    assert np.array_equal(decode(content[skip:place] + moved + content[place + len(moved) :], path)[0], whole)


def test_bare_aac_may_begin_with_a_part_of_a_packet(path: Path) -> None:
    content = made("aac", 440, 44_100, 2)
    check(content[1_000:], path, [("aac", 440, 44_100)], may_refuse=False)


def test_a_webm_of_a_browser_that_is_cut_or_damaged_is_refused(path: Path) -> None:
    content = write_media(path.with_suffix(".webm"), "webm", "libopus", {"live": "1"}).read_bytes()
    assert "missing at its end" in told(content[:-9], path)
    cluster = content.rindex(bytes.fromhex("1f43b675"))
    assert "of something else" in told(content[:cluster] + bytes(4) + content[cluster + 4 :], path)


def test_a_wma_that_is_cut_is_refused(shared: Path, path: Path) -> None:
    pytest.importorskip("av", reason="WMA needs the extra [media]")
    content = (shared / "cases" / "audio" / "wma.wma").read_bytes()
    samples, rate = decode(content, path)
    assert abs(len(samples) / rate - 1) < 0.1
    assert "missing at its end" in told(content[: len(content) * 3 // 5], path)


def with_spectral_bands(packet: bytes) -> bytes:
    """Add to a packet of AAC what HE-AAC says of the upper half of the spectrum (ISO 14496-3, 4.4.2.8)."""
    bits = bin(int.from_bytes(b"\1" + packet, "big"))[3:].rstrip("0")  # the last three bits mark the end
    header, grid, envelope = "1" + "001011001" + "0" * 7, "0" * 5 + "100", "0" * 10 + "0100000"
    bits = bits[:-3] + "1101110" + ("1101" + header + grid + envelope).ljust(14 * 8, "0") + "111"
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


@pytest.mark.parametrize("demuxer", ["ipod", "adts", "matroska"])
def test_he_aac_that_does_not_say_so_has_twice_the_stated_rate(demuxer: str, path: Path) -> None:
    av = pytest.importorskip("av", reason="AAC needs the extra [media]")
    source = write_media(path.with_suffix(".source"), "ipod", "aac", None, 24_000, 1)
    with av.open(source) as read, av.open(path, "w", format=demuxer) as write:
        stream = write.add_stream_from_template(read.streams.audio[0])
        for packet in read.demux():
            if packet.size:
                with_bands = av.Packet(with_spectral_bands(bytes(packet)))
                with_bands.pts, with_bands.dts, with_bands.time_base = packet.pts, packet.dts, packet.time_base
                with_bands.stream = stream
                write.mux(with_bands)
    content = path.read_bytes().replace(bytes.fromhex("56e500"), bytes(3))  # which says that it is no HE-AAC
    samples, rate = decode(content, path)
    assert rate == 48_000
    assert 0 <= len(samples) - 3 * rate <= 2 * 2 * 1024
    assert pitch(samples, rate) == 440


def test_the_file_that_was_opened_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_media(tmp_path / "a.m4a", "ipod", "aac")
    whole, _ = decode(path.read_bytes(), path)

    def find_and_swap(stream: BinaryIO) -> list[Part]:
        path.unlink()
        os.mkfifo(path)  # whoever opens it waits for ever
        return find_parts(stream)

    monkeypatch.setattr(sound, "find_parts", find_and_swap)
    with open_sound(Item("x", path)) as opened:
        assert np.array_equal(np.concatenate(list(read_mono(opened, 0, 2**62))), whole)


def test_what_no_decoder_knows_is_told_by_each_and_is_not_called_cut(path: Path) -> None:
    pytest.importorskip("av", reason="FFmpeg needs the extra [media]")
    reason = told(b"what is this\n" * 999, path)
    assert "libsndfile: Format not recognised; FFmpeg: Format not recognised" in reason
    assert "cut short" not in reason
