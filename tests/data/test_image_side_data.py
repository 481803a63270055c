"""What a picture's file holds besides its pixels: it is left out, or told, and never spoils them."""

import io
import logging
import random
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from emoclim.data.manifest import Item
from emoclim.data.media.images.image import read_image
from emoclim.errors import DecodeError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
LONG_TEXT = b"a" * 2**26


def encode(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation: int = 6) -> bytes:
    made = PIL.Image.Exif()
    made[0x0112] = orientation
    return made.tobytes().removeprefix(b"Exif\0\0")


def chunk(kind: bytes, body: bytes, *, sound: bool = True) -> bytes:
    checksum = zlib.crc32(kind + body) ^ (not sound)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(*chunks: bytes, behind: bool = False) -> bytes:
    """A PNG with further chunks in front of its pixels, or behind them."""
    content = encode("PNG")
    place = content.index(b"IEND" if behind else b"IDAT") - 4
    return content[:place] + b"".join(chunks) + content[place:]


def read(folder: Path, content: bytes) -> NDArray[np.uint8]:
    path = folder / "picture"
    path.write_bytes(content)
    return np.asarray(read_image(Item("x", path)))


PROFILE = b"\nexif\n%8d\n" % len(exif()) + exif().hex().encode()
SIDE = {
    "a long text": chunk(b"tEXt", b"Comment\0" + b"a" * 2**22),
    "a long packed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG_TEXT)),
    "a long international text": chunk(b"iTXt", b"Comment\0\1\0en\0\0" + zlib.compress(LONG_TEXT)),
    "much text": b"".join(chunk(b"tEXt", b"Comment\0" + b"a" * 2**20) for _ in range(66)),
    "text of a wrong checksum": chunk(b"tEXt", b"Comment\0a", sound=False),
    "text without an end": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1"),
    "no text at all": chunk(b"zTXt", b""),
    "a large profile": chunk(b"iCCP", b"icc\0\0" + zlib.compress(LONG_TEXT)),
    "a broken profile": chunk(b"iCCP", b"icc\0\0nonsense"),
    "a profile of a wrong checksum": chunk(b"iCCP", b"icc\0\0nonsense", sound=False),
    "a short scale": chunk(b"gAMA", b"\0"),
    "a short size": chunk(b"pHYs", b"\0\0"),
    "EXIF of a wrong checksum": chunk(b"eXIf", exif(), sound=False),
    "EXIF that is none": chunk(b"eXIf", b"nonsense"),
    "long EXIF": chunk(b"eXIf", exif().ljust(2**21, b"\0")),
    "a profile that explodes": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE + LONG_TEXT)),
    "frames that are none": chunk(b"acTL", b"\0\0\0\5\0\0\0\0") + chunk(b"fcTL", b"nonsense"),
    "something unheard of": chunk(b"abCd", b"\0" * 99, sound=False),
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", SIDE)
def test_what_a_png_holds_besides_leaves_its_pixels(
    tmp_path: Path, name: str, behind: bool, caplog: pytest.LogCaptureFixture
) -> None:
    content = png(SIDE[name], behind=behind)
    tracemalloc.start()
    found = read(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found, PIXELS)
    assert peak < 2**24


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "told",
    [
        chunk(b"eXIf", exif()),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.encode()),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(XMP.encode())),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE)),
        chunk(b"tEXt", b"Raw profile type exif\0" + PROFILE),
    ],
)
def test_how_a_png_lies_is_read_wherever_it_stands(tmp_path: Path, told: bytes, behind: bool) -> None:
    found = read(tmp_path, png(chunk(b"tEXt", b"Comment\0a", sound=False), told, behind=behind))
    assert np.array_equal(found, PIXELS.transpose(1, 0, 2)[:, ::-1])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (png(chunk(b"tRNS", bytes(6), sound=False)), "wrong checksum of its chunk tRNS"),
        (png(chunk(b"tEXt", b"a" * 9)[:-12]), "damaged"),
        (encode("PNG")[:-12], "it has no end"),
        (png(struct.pack(">I", 2**31 - 1) + b"IDAT"), "it ends within its chunk IDAT"),
        (png(struct.pack(">I", 2**31 - 1) + b"tEXt"), "it ends within its chunk tEXt"),
    ],
)
def test_a_png_whose_pixels_are_in_doubt_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        read(tmp_path, content)


def test_whatever_a_jpeg_holds_besides_leaves_its_pixels(tmp_path: Path) -> None:
    draw, whole = random.Random(0), encode("JPEG")
    expected = read(tmp_path, whole)
    segments = {
        0xE1: b"Exif\0\0" + exif(1),
        0xE2: b"ICC_PROFILE\0\1\2" + b"a" * 99,
        0xE3: b"MPF\0MM\0*\0\0\0\x08\0\3",
        0xED: b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x10" + b"\0\x48\0\0\0\1\0\1" * 2,
        0xFE: b"a comment",
    }
    for _ in range(150):
        parts = b""
        for marker, body in segments.items():
            changed = bytearray(body)
            for _ in range(draw.randrange(3)):
                changed[draw.randrange(len(body))] = draw.randrange(256)
            del changed[draw.choice([len(body), draw.randrange(len(body))]) :]
            parts += struct.pack(">BBH", 0xFF, marker, len(changed) + 2) + changed
        found = read(tmp_path, whole[:2] + parts + whole[2:])
        assert np.array_equal(np.sort(found, axis=None), np.sort(expected, axis=None))  # it may lie otherwise
    spoilt = struct.pack(">BBH", 0xFF, 0xED, 2 + 19) + b"Photoshop 3.0\x008BIM\x03"
    assert np.array_equal(read(tmp_path, whole[:2] + spoilt + whole[2:]), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_broken_profile_of_colours_is_no_reason_to_stop(tmp_path: Path, kind: str) -> None:
    content = encode(kind, icc_profile=b"nonsense" * 40, **({"lossless": True} if kind == "WEBP" else {}))
    expected = read(tmp_path, encode(kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert np.array_equal(read(tmp_path, content), expected)


def test_what_pillow_warns_of_is_told_once_with_the_name_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = bytearray(exif())
    spoilt[8:10] = b"\0\x09"  # nine tags, of which one is there
    for name in ("one.jpg", "other.jpg"):
        (tmp_path / name).write_bytes(encode("JPEG", exif=b"Exif\0\0" + bytes(spoilt)))
    before = warnings.filters.copy()
    with caplog.at_level(logging.WARNING):
        for name in ("one.jpg", "other.jpg", "one.jpg"):
            read_image(Item("x", tmp_path / name))
    assert warnings.filters == before
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith(f"{tmp_path / 'one.jpg'}: ")
    assert told[1].startswith(f"{tmp_path / 'other.jpg'}: ")


def test_threads_that_read_at_once_leave_warnings_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    before = warnings.showwarning, warnings.filters.copy()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read_image(Item("a", tmp_path / "a.png")), range(100)))
    assert (warnings.showwarning, warnings.filters) == before


def test_what_c_libraries_print_reaches_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(encode("TIFF", compression="tiff_lzw"))
    content[20:60] = b"\xff" * 40
    with pytest.raises(DecodeError):
        read(tmp_path, bytes(content))
    assert capfd.readouterr() == ("", "")


def test_the_pictures_made_after_reports(shared: Path) -> None:
    red, grey = (200, 30, 30), (131,) * 3
    expected = {
        "png_ztxt_large.png": (red, grey),
        "png_itxt_large.png": (red, grey),
        "png_text_64mb_total.png": (red, grey),
        "png_text_bad_crc.png": (red, grey),
        "png_16_grey_trns.png": ((255,) * 3, (194,) * 3),
        "png_4bit_grey_trns.png": ((255,) * 3, (204,) * 3),
        "tiff_16_white_is_zero.tif": ((65,) * 3, (194,) * 3),
        "tiff_12_packed.tif": ((65,) * 3, (194,) * 3),
        "tiff_16_signed.tif": ((65,) * 3, (194,) * 3),
    }
    for name, halves in expected.items():
        found = np.asarray(read_image(Item(name, shared / "cases" / "images" / name)))
        assert (tuple(found[24, 16]), tuple(found[24, 48])) == halves, name
    with pytest.raises(DecodeError, match="cut short"):
        read_image(Item("x", shared / "cases" / "images" / "jpg_no_eoi.jpg"))
