"""Ogg files whose last pages are odd or that hold several streams: the sound is decoded, or the file is refused."""

import io
import struct
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from sound_files import FORMATS, ID3, check, decode, made, put, told, tone, write_media


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sounds") / "a sound"


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
    assert "is damaged" in told(one[: end - 9] + bytes([one[end - 9] ^ 1]) + one[end - 8 :], path)


def test_an_ogg_stream_whose_last_page_is_damaged_is_refused(path: Path) -> None:
    content = made("ogg", 440, 44_100, 2)
    assert "is damaged" in told(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], path)


def pages_of(content: bytes) -> list[bytes]:
    pages = []
    while content:
        lacing = content[27 : 27 + content[26]]
        size = 27 + len(lacing) + sum(lacing)
        pages.append(content[:size])
        content = content[size:]
    return pages


def together(first: bytes, second: bytes) -> bytes:
    """Two streams in one file, page by page."""
    both = zip_longest(
        *(
            [with_checksum(put(page, 14, "<I", number), 0) for page in pages_of(one)]
            for number, one in enumerate((first, second))
        ),
        fillvalue=b"",
    )
    return b"".join(page for pair in both for page in pair)


@pytest.mark.parametrize("second", [("opus", 880, 44_100, 2), ("ogg", 880, 16_000, 1)])
@pytest.mark.parametrize("first", ["ogg", "opus"])
def test_the_first_sound_of_several_in_one_ogg_file_is_decoded(
    first: str, second: tuple[str, int, int, int], path: Path
) -> None:
    content = together(made(first, 440, 44_100, 2), made(*second))
    check(content, path, [(first, 440, 44_100)], may_refuse=False)
    part = (first, 880, 44_100)
    check(content + ID3 + made(*part, 2), path, [(first, 440, 44_100), part], may_refuse=False)


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_an_ogg_file_may_begin_with_a_stream_that_is_no_sound(name: str, path: Path) -> None:
    pytest.importorskip("av", reason="of such files, libsndfile knows none")
    bones = b"fishead\0" + struct.pack("<HHqqqq", 3, 0, 0, 1000, 0, 1000) + bytes(20)  # of Ogg Skeleton
    one = b"OggS\0\2" + bytes(20) + b"\1" + bytes([len(bones)]) + bones
    end = b"OggS\0\4" + bytes(12) + b"\1" + bytes(7) + b"\1\0"
    content = together(one + end, made(name, 440, 44_100, 2))
    check(content, path, [(name, 440, 44_100)], may_refuse=False)
    assert "cut short" in told(content[: len(content) - 500], path)


def test_an_ogg_flac_that_is_cut_out_of_a_broadcast_begins_late(path: Path) -> None:
    pages = pages_of(write_media(path.with_suffix(".oga"), "ogg", "flac").read_bytes())
    (first,) = struct.unpack_from("<q", pages[2], 6)
    assert 0 < first < 3 * 48_000
    samples, _ = decode(b"".join(pages), path)
    late, _ = decode(b"".join([*pages[:2], *pages[3:]]), path)
    assert np.array_equal(late, samples[first:])
    assert "cut short" in told(b"".join([*pages[:3], *pages[4:]]), path)


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_damage_to_the_first_sound_of_an_ogg_stream_is_refused_and_does_not_let_it_begin_late(
    name: str, path: Path
) -> None:
    file = io.BytesIO()
    sf.write(file, np.tile(tone(440, 48_000, 2), (10, 1)), 48_000, **FORMATS[name][0])
    pages = pages_of(file.getvalue())
    number = next(number for number, page in enumerate(pages) if struct.unpack_from("<q", page, 6)[0] > 0)
    for damaged in (pages[number][:-50] + bytes(50), b"lost" + pages[number][4:]):
        assert "is damaged" in told(b"".join([*pages[:number], damaged, *pages[number + 1 :]]), path)
