"""What the numbers of a picture mean: bits, sign, white, and transparency, in files that are written here by hand."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from emoclim.data.manifest import Item
from emoclim.data.media.images.image import read_image
from emoclim.errors import DecodeError

BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, PLANES, EXTRA, FORMAT = 258, 259, 262, 266, 284, 338, 339
SHORT, LONG = 3, 4
RAW, DEFLATE = 1, 8
PHOTOMETRICS = {"WhiteIsZero": 0, "grey": 1, "RGB": 2, "palette": 3, "CMYK": 5, "YCbCr": 6, "LAB": 8}


def pack(numbers: Sequence[int], bits: int, order: str) -> bytes:
    """Put numbers one behind the other, most significant bit first; from 16 bits on, in the byte order of the file."""
    if bits >= 16:
        return struct.pack(f"{order}{len(numbers)}{'H' if bits == 16 else 'I'}", *(n % 2**bits for n in numbers))
    digits = "".join(f"{number % 2**bits:0{bits}b}" for number in numbers)
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big")


def tiff(
    rows: Sequence[Sequence[int]],
    bits: int,
    meaning: str = "grey",
    *,
    samples: int = 1,
    order: str = "<",
    compression: int = RAW,
    planes: bool = False,
    tags: dict[int, Sequence[int]] | None = None,
) -> bytes:
    """A TIFF whose rows of numbers are packed: in one strip, or as one row for each plane."""
    packed = [pack(row, bits, order) for row in rows]
    contents = packed if planes else [b"".join(packed)]
    strips = [zlib.compress(content) if compression == DEFLATE else content for content in contents]
    data = b"".join(strips)
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (LONG, [len(rows[0]) // (1 if planes else samples)]),
        257: (LONG, [1 if planes else len(rows)]),
        PLANES: (SHORT, [2 if planes else 1]),
        BITS: (SHORT, [bits] * samples),
        COMPRESSION: (SHORT, [compression]),
        PHOTOMETRIC: (SHORT, [PHOTOMETRICS[meaning]]),
        273: (LONG, [8 + len(b"".join(strips[:place])) for place in range(len(strips))]),
        277: (SHORT, [samples]),
        278: (LONG, [len(rows)]),
        279: (LONG, list(map(len, strips))),
    }
    entries |= {tag: (SHORT, values) for tag, values in (tags or {}).items()}
    data += b"\0" * (len(data) % 2)
    place = 8 + len(data)
    directory, behind = struct.pack(f"{order}H", len(entries)), b""
    beyond = place + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        if len(packed) > 4:
            where, behind = struct.pack(f"{order}I", beyond + len(behind)), behind + packed
        else:
            where = packed.ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + where
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, place)
    return head + data + directory + bytes(4) + behind


def png(rows: Sequence[Sequence[int]], bits: int, colour: int, channels: int = 1, **chunks: bytes) -> bytes:
    """A PNG with these numbers; further chunks stand before the pixels."""
    lines = b"".join(b"\0" + pack(row, bits, ">") for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]) // channels, len(rows), bits, colour, 0, 0, 0)
    named = [("IHDR", header), *chunks.items(), ("IDAT", zlib.compress(lines)), ("IEND", b"")]
    framed = [
        struct.pack(">I", len(body)) + name.encode() + body + struct.pack(">I", zlib.crc32(name.encode() + body))
        for name, body in named
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def read(folder: Path, content: bytes) -> list[list[list[int]]]:
    path = folder / "picture"
    path.write_bytes(content)
    return np.asarray(read_image(Item("x", path))).tolist()


def grey(folder: Path, content: bytes) -> list[int]:
    """The first row of a picture that is grey."""
    row = read(folder, content)[0]
    assert all(len(set(pixel)) == 1 for pixel in row)
    return [pixel[0] for pixel in row]


# TIFF


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bits", "numbers", "expected"),
    [
        (1, [0, 1, 1, 0, 1], [0, 255, 255, 0, 255]),
        (2, [0, 1, 2, 3, 0], [0, 85, 170, 255, 0]),
        (4, [0, 1, 7, 8, 15], [0, 17, 119, 136, 255]),
        (8, [0, 1, 127, 128, 255], [0, 1, 127, 128, 255]),
        (12, [0, 16, 2048, 1040, 4095], [0, 1, 128, 65, 255]),
        (16, [0, 257, 32896, 16640, 65535], [0, 1, 128, 65, 255]),
        (32, [0, 257, 32896, 16640, 65535], [0, 1, 128, 65, 255]),
    ],
)
@pytest.mark.parametrize("meaning", ["grey", "WhiteIsZero"])
def test_grey_of_any_number_of_bits(
    tmp_path: Path, bits: int, numbers: list[int], expected: list[int], meaning: str, order: str, compression: int
) -> None:
    content = tiff([numbers], bits, meaning, order=order, compression=compression)
    if meaning == "WhiteIsZero":
        expected = [255 - value for value in expected]
    if (bits, meaning) == (32, "WhiteIsZero"):  # 32-bit numbers have no scale that could be turned round
        with pytest.raises(DecodeError):
            grey(tmp_path, content)
    else:
        assert grey(tmp_path, content) == expected


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bits", "numbers", "expected"),
    [
        (8, [0, 1, 64, 127], [0, 2, 129, 255]),
        (16, [0, 8320, 24960, 32767], [0, 65, 194, 255]),
        (32, [0, 257, 16640, 65535], [0, 1, 65, 255]),
    ],
)
def test_numbers_with_a_sign_are_black_at_zero_and_white_at_their_largest(
    tmp_path: Path, bits: int, numbers: list[int], expected: list[int], order: str, compression: int
) -> None:
    signed = {"order": order, "compression": compression, "tags": {FORMAT: [2]}}
    assert grey(tmp_path, tiff([numbers], bits, **signed)) == expected
    with pytest.raises(DecodeError, match="numbers from -5 to"):
        grey(tmp_path, tiff([[*numbers, -5]], bits, **signed))


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_colours_of_8_and_16_bits(tmp_path: Path, bits: int, planes: bool, order: str, compression: int) -> None:
    numbers = [[0, 1], [128, 2], [255, 3]] if planes else [[0, 128, 255, 1, 2, 3]]
    wide = [[number * (1 if bits == 8 else 257) for number in strip] for strip in numbers]
    content = tiff(wide, bits, "RGB", samples=3, order=order, compression=compression, planes=planes)
    if bits == 16 and planes and compression == RAW:
        with pytest.raises(DecodeError, match="lie in a way that cannot be read"):
            read(tmp_path, content)
    else:
        assert read(tmp_path, content) == [[[0, 128, 255], [1, 2, 3]]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_any_number_of_bits(tmp_path: Path, bits: int) -> None:
    colours = [(10 * n, 255 - 10 * n, 7) for n in range(2 ** min(bits, 4))] + [(0, 0, 0)] * (
        2**bits - 2 ** min(bits, 4)
    )
    table = [257 * colour[channel] for channel in range(3) for colour in colours]
    numbers = [0, 1, 2 ** min(bits, 4) - 1]
    found = read(tmp_path, tiff([numbers], bits, "palette", tags={320: table}))
    assert found == [[list(colours[number]) for number in numbers]]


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes_whose_colours_have_8_bits(tmp_path: Path, bits: int, compression: int) -> None:
    colours = [(255, n, 7) for n in range(2**bits)]
    table = [colour[channel] for channel in range(3) for colour in colours]
    found = read(tmp_path, tiff([[1, 0]], bits, "palette", compression=compression, tags={320: table}))
    assert found == [[[255, 1, 7], [255, 0, 7]]]
    table[0] = 256  # now they are of 16 bits, all but black
    assert read(tmp_path, tiff([[1, 0]], bits, "palette", tags={320: table})) == [[[0, 0, 0], [1, 0, 0]]]


@pytest.mark.parametrize(
    ("kind", "numbers", "pixels"),
    [
        (0, [10, 20, 30, 0, 40, 50, 60, 51], [[10, 20, 30], [40, 50, 60]]),  # the fourth means nothing
        (1, [0, 0, 0, 0, 8, 10, 12, 51], [[255, 255, 255], [212, 214, 216]]),  # the others are multiplied by it
        (2, [10, 20, 30, 0, 40, 50, 60, 51], [[255, 255, 255], [212, 214, 216]]),  # they are not
    ],
)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_fourth_channel_of_tiff(
    tmp_path: Path, kind: int, numbers: list[int], pixels: list[list[int]], bits: int, order: str
) -> None:
    wide = [number * (1 if bits == 8 else 257) for number in numbers]
    for compression in (RAW, DEFLATE):
        settings = {"samples": 4, "tags": {EXTRA: [kind]}, "order": order, "compression": compression}
        found = np.array(read(tmp_path, tiff([wide], bits, "RGB", **settings)))[0]
        assert np.abs(found - pixels).max() <= 1


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_grey_with_a_second_channel(tmp_path: Path, kind: int) -> None:
    numbers = [8, 51, 7, 0] if kind == 1 else [40, 51, 7, 0]
    expected = [40, 7] if kind == 0 else [212, 255]
    found = np.array(grey(tmp_path, tiff([numbers], 8, "grey", samples=2, tags={EXTRA: [kind]})))
    assert np.abs(found - expected).max() <= 1


def test_a_palette_with_an_alpha_channel(tmp_path: Path) -> None:
    table = [257 * value for value in [10, 40] + [0] * 254 + [20, 50] + [0] * 254 + [30, 60] + [0] * 254]
    found = read(tmp_path, tiff([[0, 0, 1, 255]], 8, "palette", samples=2, tags={320: table, EXTRA: [2]}))
    assert found == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_is_ink(tmp_path: Path, bits: int, order: str, compression: int) -> None:
    scale = 1 if bits == 8 else 257
    numbers = [scale * n for n in [0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255]]
    content = tiff([numbers], bits, "CMYK", samples=4, order=order, compression=compression)
    assert read(tmp_path, content) == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]


def test_lab_is_lightness_and_two_signed_colours(tmp_path: Path) -> None:
    found = np.array(read(tmp_path, tiff([[255, 0, 0, 0, 0, 0, 136, 80, 67]], 8, "LAB", samples=3))[0])
    assert np.abs(found - [[255, 255, 255], [0, 0, 0], [255, 0, 0]]).max() <= 12  # L 53.3, a 80, b 67 is red


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
def test_brightness_and_colour_apart(tmp_path: Path, compression: int) -> None:
    whole = tiff([[50, 128, 128, 100, 128, 128]], 8, "YCbCr", samples=3, compression=compression, tags={530: [1, 1]})
    assert grey(tmp_path, whole) == [50, 100]
    # Two rows of two pixels that share their colour: the height is put in afterwards.
    for tags in ({}, {530: [2, 2]}):
        content = tiff([[50, 100, 150, 200, 128, 128]], 8, "YCbCr", samples=3, compression=compression, tags=tags)
        content = content.replace(struct.pack("<HHII", 257, LONG, 1, 1), struct.pack("<HHII", 257, LONG, 1, 2))
        with pytest.raises(DecodeError, match="lie in a way" if compression == RAW else "cut short"):
            read(tmp_path, content)


def test_floats_have_no_scale(tmp_path: Path) -> None:
    numbers = [struct.unpack("<I", struct.pack("<f", value))[0] for value in (0.0, 0.5, 1.0)]
    for meaning in ("grey", "WhiteIsZero"):
        with pytest.raises(DecodeError, match="floats"):
            read(tmp_path, tiff([numbers], 32, meaning, tags={FORMAT: [3]}))


RARE = {
    "numbers of 14 bits": tiff([[0, 1, 16383]], 16, tags={BITS: [14]}),
    "numbers of 64 bits": tiff([[0, 1]], 16, tags={BITS: [64]}),
    "colours with a sign": tiff([[0, 64, 127]], 8, "RGB", samples=3, tags={FORMAT: [2] * 3}),
    "floats of 16 bits": tiff([[0, 1]], 16, tags={FORMAT: [3]}),
}


@pytest.mark.parametrize("kind", RARE)
def test_a_rare_kind_is_refused_and_never_read_as_another(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DecodeError, match="rare kind"):
        read(tmp_path, RARE[kind])


@pytest.mark.parametrize(
    ("bits", "numbers", "expected"),
    [
        (1, [0, 1, 1, 0], [0, 255, 255, 0]),
        (2, [0, 1, 2, 3], [0, 85, 170, 255]),
        (8, [0, 1, 128, 255], [0, 1, 128, 255]),
        (16, [0, 16640, 65535], [0, 65, 255]),
    ],
)
def test_bits_that_are_filled_from_the_other_end(
    tmp_path: Path, bits: int, numbers: list[int], expected: list[int]
) -> None:
    content = bytearray(tiff([numbers], bits, tags={FILL_ORDER: [2]}))
    n_bytes = len(pack(numbers, bits, "<"))
    content[8 : 8 + n_bytes] = [int(f"{byte:08b}"[::-1], 2) for byte in content[8 : 8 + n_bytes]]
    assert grey(tmp_path, bytes(content)) == expected


# Other formats


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P1 3 1\n1 0 1\n", [0, 255, 0]),  # 1 is black
        (b"P4 3 1\n\xa0", [0, 255, 0]),
        (b"P2 3 1 15\n0 5 15\n", [0, 85, 255]),
        (b"P5 3 1 100\n\x00\x32\x64", [0, 128, 255]),
        (b"P5 3 1 4095\n" + struct.pack(">3H", 0, 2048, 4095), [0, 128, 255]),
        (b"P5 3 1 65535\n" + struct.pack(">3H", 0, 16640, 65535), [0, 65, 255]),
    ],
)
def test_numbers_of_a_pgm_are_scaled_to_its_own_white(tmp_path: Path, content: bytes, expected: list[int]) -> None:
    assert grey(tmp_path, content) == expected


# Transparency of PNG


@pytest.mark.parametrize(
    ("bits", "numbers", "key", "expected"),
    [
        (1, [0, 1, 1, 0], 1, [0, 255, 255, 0]),
        (1, [0, 1, 1, 0], 0, [255, 255, 255, 255]),
        (2, [0, 1, 2, 3], 2, [0, 85, 255, 255]),
        (2, [0, 1, 2, 3], 0, [255, 85, 170, 255]),
        (4, [0, 3, 9, 15], 3, [0, 255, 153, 255]),
        (4, [0, 3, 9, 15], 0x73, [0, 255, 153, 255]),  # the bits above are to be left out
        (8, [0, 3, 51, 255], 51, [0, 3, 255, 255]),
        (8, [0, 3, 51, 255], 0x733, [0, 3, 255, 255]),
        (16, [0, 770, 771, 772, 65535], 771, [0, 3, 255, 3, 255]),  # 771 is 3 in 8 bits, as its neighbours are
        (16, [0, 771, 51, 30000, 65535], 51, [0, 3, 255, 117, 255]),
    ],
)
def test_the_grey_that_is_transparent(
    tmp_path: Path, bits: int, numbers: list[int], key: int, expected: list[int]
) -> None:
    assert grey(tmp_path, png([numbers], bits, 0, tRNS=struct.pack(">H", key))) == expected


def test_the_colour_that_is_transparent(tmp_path: Path) -> None:
    key = struct.pack(">3H", 10, 20, 30)
    assert read(tmp_path, png([[10, 20, 30, 10, 20, 31]], 8, 2, 3, tRNS=key)) == [[[255] * 3, [10, 20, 31]]]
    wide = [2570, 5140, 7710, 2570, 5140, 7711, 2571, 5140, 7710, 10, 20, 30]
    shown = [[255] * 3, [10, 20, 30], [10, 20, 30], [0, 0, 0]]
    assert read(tmp_path, png([wide], 16, 2, 3, tRNS=struct.pack(">3H", *wide[:3]))) == [shown]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_with_transparent_colours(tmp_path: Path, bits: int) -> None:
    colours = bytes([10, 20, 30, 40, 50, 60])
    found = read(tmp_path, png([[0, 1]], bits, 3, PLTE=colours, tRNS=bytes([51])))
    assert np.abs(np.array(found[0]) - [[206, 208, 210], [40, 50, 60]]).max() <= 1
    assert read(tmp_path, png([[0, 1]], bits, 3, PLTE=colours, tRNS=bytes([255, 0]))) == [[[10, 20, 30], [255] * 3]]


def test_alpha_channels_of_16_bits(tmp_path: Path) -> None:
    assert grey(tmp_path, png([[10280, 65535, 10280, 0]], 16, 4, 2)) == [40, 255]
    assert read(tmp_path, png([[2570, 5140, 7710, 65535, 1, 1, 1, 0]], 16, 6, 4)) == [[[10, 20, 30], [255] * 3]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_transparent_turns_with_the_picture(tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    chunks = {"tRNS": struct.pack(">H", 5140), "eXIf": exif.tobytes().removeprefix(b"Exif\0\0")}
    found = read(tmp_path, png([[0, 257, 514], [5140, 771, 1028]], 16, 0, **chunks))
    as_bytes = io.BytesIO(png([[0, 1, 2], [255, 3, 4]], 8, 0, eXIf=chunks["eXIf"]))
    assert found == np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(as_bytes)).convert("RGB")).tolist()
