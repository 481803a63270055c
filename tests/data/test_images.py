"""Pictures: what is read, how it becomes RGB, and what is refused."""

import io
import os
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageOps
from soaking import examples, soak

from emoclim.data.manifest import Item
from emoclim.data.media.images import image
from emoclim.data.media.images.decoders import DECODERS
from emoclim.data.media.images.image import read_image
from emoclim.errors import DecodeError, MissingLibrary

WIDTH, HEIGHT = 96, 64
LOSSLESS = ["PNG", "GIF", "BMP", "TIFF", "PPM"]
LOSSY = ["JPEG", "WEBP"]


def photo() -> PIL.Image.Image:
    """Smooth colours, with a red block at the top left."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([x * 2, y * 3, (x + y)], axis=-1).astype(np.uint8)
    pixels[:16, :16] = (255, 0, 0)
    return PIL.Image.fromarray(pixels)


def encode(picture: PIL.Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file with these header values, and these scan lines (each with its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def read(folder: Path, content: bytes, name: str = "picture") -> NDArray[np.uint8]:
    path = folder / name
    path.write_bytes(content)
    picture = read_image(Item("x", path))
    assert picture.mode == "RGB"
    return np.asarray(picture)


def reason(folder: Path, content: bytes, name: str = "picture") -> str:
    """Why a file is refused; a reason never names the path."""
    with pytest.raises((DecodeError, MissingLibrary)) as failure:
        read(folder, content, name)
    told = str(failure.value)
    assert str(folder) not in told
    assert "\n" not in told
    return told


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_are_exact(tmp_path: Path, kind: str) -> None:
    # A GIF keeps at most 256 colours: compare with what it was given.
    picture = photo().quantize(256, dither=PIL.Image.Dither.NONE) if kind == "GIF" else photo()
    assert np.array_equal(read(tmp_path, encode(picture, kind)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("kind", LOSSY)
@pytest.mark.parametrize("name", ["picture", "UPPER.JPG", "été 🎵, quote' and %20.png"])
def test_lossy_formats_are_close_whatever_the_name(tmp_path: Path, kind: str, name: str) -> None:
    pixels = read(tmp_path, encode(photo(), kind, quality=95), name)
    assert np.abs(pixels.astype(int) - np.asarray(photo())).mean() < 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_modes_become_rgb_as_pillow_converts_them(tmp_path: Path, mode: str) -> None:
    picture = photo().convert(mode)
    kind = "TIFF" if mode in {"CMYK", "YCbCr"} else "PNG"
    assert np.array_equal(read(tmp_path, encode(picture, kind)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_orientation_is_applied_once(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    content = encode(photo(), kind, exif=exif)
    expected = ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(content)))
    assert np.array_equal(read(tmp_path, content), np.asarray(expected.convert("RGB")))


def test_orientation_6_puts_the_top_left_block_at_the_top_right(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    pixels = read(tmp_path, encode(photo(), "PNG", exif=exif))
    assert pixels.shape == (WIDTH, HEIGHT, 3)
    assert (pixels[:16, -16:] == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_with_broken_exif_is_read_as_it_lies(tmp_path: Path, kind: str) -> None:
    content = encode(photo(), kind, exif=b"Exif\0\0this is no EXIF at all")
    assert read(tmp_path, content).shape == (HEIGHT, WIDTH, 3)


def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # exactly 0, 1, ... 255 in 8 bits
    pixels = read(tmp_path, encode(PIL.Image.fromarray(ramp), "PNG"))
    assert np.array_equal(pixels, np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2))
    near = np.array([[0, 128, 129, 65406, 65407, 65535]], dtype=np.uint16)
    assert read(tmp_path, encode(PIL.Image.fromarray(near), "PNG"))[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]


@pytest.mark.parametrize(("mode", "dtype"), [("I;16", "<u2"), ("I;16B", ">u2"), ("I", "<i4")])
def test_grey_beyond_8_bits_in_tiff(tmp_path: Path, mode: str, dtype: str) -> None:
    values = np.array([0, 257 * 100, 65535], dtype=dtype)
    picture = PIL.Image.frombytes(mode, (3, 1), values.tobytes())
    assert read(tmp_path, encode(picture, "TIFF"))[0, :, 1].tolist() == [0, 100, 255]


@pytest.mark.parametrize(("dtype", "told"), [(np.int32, "from 0 to 100000"), (np.float32, "floats")])
def test_numbers_without_a_scale_are_refused(tmp_path: Path, dtype: type[np.generic], told: str) -> None:
    values = np.array([[0, 100_000]]).astype(dtype)
    assert told in reason(tmp_path, encode(PIL.Image.fromarray(values), "TIFF"))


def test_rgb_of_16_bits(tmp_path: Path) -> None:
    row = struct.pack(">6H", 0, 257 * 10, 65535, 65535, 257 * 200, 0)
    assert read(tmp_path, png(2, 1, 16, 2, b"\0" + row)).tolist() == [[[0, 10, 255], [255, 200, 0]]]


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((4, 8, 4), np.uint8)
    pixels[:, :4] = (0, 255, 0, 0)  # hidden green
    pixels[:, 4:6] = (10, 20, 30, 255)
    pixels[:, 6:] = (0, 0, 0, 51)  # a fifth
    for kind, options in {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}.items():
        result = read(tmp_path, encode(PIL.Image.fromarray(pixels), kind, **options))
        assert (result[:, :4] == 255).all()
        assert (result[:, 4:6] == (10, 20, 30)).all()
        assert (result[:, 6:] == 204).all()


def test_transparent_colours_and_grey_are_laid_over_white(tmp_path: Path) -> None:
    palette = PIL.Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    palette.putpalette([0, 255, 0, 10, 20, 30])
    assert read(tmp_path, encode(palette, "PNG", transparency=0)).tolist() == [[[255] * 3, [10, 20, 30]]]
    grey = PIL.Image.fromarray(np.array([[[7, 0], [7, 255]]], np.uint8), "LA")
    assert read(tmp_path, encode(grey, "PNG")).tolist() == [[[255] * 3, [7] * 3]]
    key = PIL.Image.fromarray(np.array([[[0, 255, 0], [1, 2, 3]]], np.uint8))
    assert read(tmp_path, encode(key, "PNG", transparency=(0, 255, 0))).tolist() == [[[255] * 3, [1, 2, 3]]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_several_is_taken(tmp_path: Path, kind: str) -> None:
    frames = [PIL.Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    assert (read(tmp_path, content) == (255, 0, 0)).all()


def drawing() -> list[PIL.Image.Image]:
    """Two frames of a blue square, then with red in it, on a canvas that no frame covers."""
    first = PIL.Image.new("RGBA", (64, 64))
    first.paste((0, 0, 255, 255), (16, 16, 48, 48))
    second = first.copy()
    second.paste((255, 0, 0, 255), (20, 20, 24, 24))
    return [first, second]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
def test_what_the_first_frame_leaves_of_its_canvas_is_white(tmp_path: Path, kind: str, decoder: str) -> None:
    path, options = tmp_path / "picture", {"lossless": True} if kind == "WEBP" else {}
    first, second = drawing()
    path.write_bytes(encode(first, kind, save_all=True, append_images=[second], **options))
    expected = np.full((64, 64, 3), 255)
    expected[16:48, 16:48] = (0, 0, 255)
    assert (np.asarray(read_image(Item("x", path), decoder=decoder)) == expected).all()


def test_a_single_frame_of_an_animation_need_not_cover_its_canvas_either(tmp_path: Path) -> None:
    first, second = drawing()
    content = encode(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    alone = content[: content.rindex(b"ANMF")]
    found = read(tmp_path, alone[:4] + struct.pack("<I", len(alone) - 8) + alone[8:])
    assert found[4, 4].tolist() == [255, 255, 255]
    assert found[20, 20].tolist() == [0, 0, 255]


@pytest.mark.parametrize("colours", [b"\xff\0\0\0\0\xff", b"\0\0\0\1\1\1"])  # of the latter Pillow makes grey
def test_a_gif_without_transparency_is_white_round_its_frame(tmp_path: Path, colours: bytes) -> None:
    packed = b"\x02\x02\x4c\x01\0"  # one pixel, of colour 1
    header = b"GIF89a" + struct.pack("<HHBBB", 3, 2, 0x80, 0, 0) + colours
    found = read(tmp_path, header + b"," + struct.pack("<HHHHB", 1, 0, 1, 1, 0) + packed + b";")
    expected = np.full((2, 3, 3), 255)
    expected[0, 1] = list(colours[3:])
    assert found.tolist() == expected.tolist()


def test_a_picture_beside_an_animation_is_taken_as_those_show_it_who_know_none(tmp_path: Path) -> None:
    red, lime = (PIL.Image.new("RGB", (8, 6), colour) for colour in ("red", "lime"))
    content = encode(red, "PNG", save_all=True, append_images=[lime, lime], default_image=True)
    assert (read(tmp_path, content) == (255, 0, 0)).all()


@pytest.mark.parametrize("size", [(1, 1), (3000, 2)])
def test_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    assert read(tmp_path, encode(PIL.Image.new("RGB", size), "PNG")).shape == (size[1], size[0], 3)


def test_the_result_is_detached_and_the_same_each_time(tmp_path: Path) -> None:
    path = tmp_path / "p.gif"
    photo().save(path, save_all=True, append_images=[photo()])
    first, second = read_image(Item("x", path)), read_image(Item("x", path))
    path.unlink()
    assert type(first) is PIL.Image.Image
    assert first.tobytes() == second.tobytes() == pickle.loads(pickle.dumps(first)).tobytes()


# What is refused


@pytest.mark.parametrize("limit", ["Pillow's", "none"])
@pytest.mark.parametrize("size", [(60_000, 60_000), (12_000, 8_000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, size: tuple[int, int]
) -> None:
    def load(_: object) -> None:
        pytest.fail("pixels were decoded")

    if limit == "none":
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    before = PIL.Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", load)
    assert size[0] * size[1] > image.MAX_PIXELS
    assert "more than 89 million pixels" in reason(tmp_path, png(*size, 8, 2, b"a few bytes"))
    assert before == PIL.Image.MAX_IMAGE_PIXELS


def test_pillow_warns_of_nothing_that_is_accepted() -> None:
    assert (PIL.Image.MAX_IMAGE_PIXELS or 0) >= image.MAX_PIXELS


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
@pytest.mark.parametrize("part", [0.4, 0.9])
def test_a_truncated_picture_is_refused(tmp_path: Path, kind: str, part: float) -> None:
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    content = encode(noise, kind)
    told = reason(tmp_path, content[: int(part * len(content))])
    assert "cut short" in told or "header is damaged" in told


def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    content = bytearray(encode(photo(), "PNG"))
    content[-16] ^= 1  # of the last IDAT chunk, before the 12 bytes of IEND
    assert "wrong checksum of its chunk IDAT" in reason(tmp_path, bytes(content))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"plain text, as it were\n" * 9, "no picture that can be read"),
        (b"\xef\xbb\xbf\n <!doctype html><html>404</html>", "web page"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "markup"),
        (png(0, 5, 8, 2, b""), "no picture that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture that can be read"),
    ],
)
@pytest.mark.parametrize("name", ["p.jpg", "p.png", "p.eps"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes, told: str, name: str) -> None:
    assert told in reason(tmp_path, content, name)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    cases = {"folder.jpg": "a folder", "missing.jpg": "is missing", "pipe.jpg": "a pipe", "\0": "a null"}
    for name, told in cases.items():
        with pytest.raises(DecodeError, match=told):
            read_image(Item("x", tmp_path / name))
    with pytest.raises(DecodeError, match="names no file"):
        read_image(Item("x", text="a sunset"))


@soak
@examples(150)
@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM", "TIFF"]))
def test_damage_never_raises_anything_else(
    data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = bytearray(encode(photo(), kind, exif=exif))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert read_image(Item("x", path)).mode == "RGB"
    except DecodeError as error:
        assert str(path) not in str(error)  # noqa: PT017 - either outcome is right


# Optional formats


def test_heic_is_read_upright(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs the extra [media]")
    heif.register_heif_opener()
    picture, exif = photo(), PIL.Image.Exif()
    exif[0x0112] = 6
    picture.info["exif"] = exif.tobytes()  # from here, the writer also rotates the picture itself, as phones do
    pixels = read(tmp_path, encode(picture, "HEIF", quality=95), "p.jpg")
    assert pixels.shape == (WIDTH, HEIGHT, 3)
    assert np.abs(pixels[4:12, -12:-4].astype(int) - (255, 0, 0)).max() < 40


def test_heic_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    told = reason(tmp_path, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "p.heic")
    assert "pip install 'emoclim[media]'" in told


def test_avif_is_read(tmp_path: Path) -> None:
    PIL.Image.init()
    if "AVIF" not in PIL.Image.SAVE:
        pytest.skip("this Pillow was built without AVIF")
    assert np.abs(read(tmp_path, encode(photo(), "AVIF")).astype(int) - np.asarray(photo())).mean() < 4


def test_strips_that_would_grow_to_gigabytes_are_refused(tmp_path: Path) -> None:
    PIL.Image.new("1", (20_000, 1)).save(tmp_path / "strip.png")
    with pytest.raises(DecodeError, match="more than 2000 times as long as it is wide"):
        read_image(Item("strip", tmp_path / "strip.png"))
