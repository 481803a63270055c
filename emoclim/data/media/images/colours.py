"""Bring the numbers of a decoded picture to 8-bit RGB, by what its file says that they mean.

Pillow keeps numbers of more than 8 bits as they are, whatever a header says of their scale: how many bits they have,
whether they have a sign, whether 0 is white, which of them is transparent.

* Black is 0, and white the largest number that the file's bits allow (12 bits: 4095; with a sign, half of it), or the
  other way round where the file says so. Halves round up. 32-bit integers are taken as 16-bit values, and refused
  beyond that range, as floats and numbers below 0 are: nothing tells their scale.
* CMYK, L*a*b*, palettes and 8-bit grey become RGB by Pillow's plain formulas; of 16-bit colours the upper 8 are taken.
* What is transparent is laid over white, :data:`BACKGROUND`: what has an alpha channel (drawings, cut-outs, logos) is
  mostly made to be seen on a white page, and dark lines would vanish on black. So is what the first frame of an
  animation leaves of its canvas, whatever the header says of transparency.
"""

from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImagePalette
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COLORMAP,
    OPEN_INFO,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    STRIPBYTECOUNTS,
    TiffImageFile,
)

from emoclim.errors import DecodeError

Image: TypeAlias = PIL.Image.Image

BACKGROUND = (255, 255, 255, 255)
WIDE = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
RGB_16, RGB_16_LOWER = "RGB;16B", "RGB;16L"  # what Pillow calls 16-bit colours, of which it takes one byte or the other
ANIMATION, ANIMATED = 12, 2  # where a WebP says that it is extended and how, and the bit of it for an animation
SIGNED, PLANES = 2, 2  # of TIFF's sample format and of its planar configuration

# What Pillow can unpack and does not look for: the other byte order, or white at 0, of what it knows. It has one table
# for all of the process; the rows added let files be opened that it refuses otherwise, and change no other.
for order, white, bits, modes in (
    (b"MM", 0, 16, ("I;16B", "I;16B")),
    (b"MM", 1, 32, ("I", "I;32B")),
    *((order, white, 12, ("I;16", "I;12")) for order in (b"II", b"MM") for white in (0, 1)),
):
    OPEN_INFO.setdefault((order, white, (1,), 1, (bits,), ()), modes)
NATIVE = {
    "I;16BS": "I;16NS",
    "I;32BS": "I;32NS",
    "I;32B": "I;32N",
}  # what libtiff unpacks is in the machine's byte order


@dataclass(frozen=True, slots=True)
class Scale:
    """What a header says of the numbers of a picture that Pillow leaves as they are."""

    white: int = 65535
    inverted: bool = False  # 0 is white, and `white` black
    signed: bool = False
    key: int | tuple[int, ...] | None = None  # the 16-bit number, or the colour, that is transparent
    frame: tuple[int, int, int, int] | None = None  # left, top, right, bottom of the part that has pixels; None: all


def read_scale(picture: Image) -> Scale:
    """Read the scale of a picture whose header was read, before its pixels are; make a key of few bits one of 8."""
    if isinstance(picture, TiffImageFile):
        return _read_tiff_scale(picture)
    if isinstance(picture, GifImageFile):
        return Scale(frame=picture.tile[0][1])
    if not isinstance(picture, PngImageFile) or not isinstance(picture.info.get("transparency"), int | tuple):
        return Scale()
    key, layout = picture.info["transparency"], str(picture.tile[0][3])
    if layout.startswith("I;16") or layout == RGB_16:
        return Scale(key=picture.info.pop("transparency"))
    if picture.mode == "L":
        largest = 2 ** int(layout.partition(";")[2] or 8) - 1
        picture.info["transparency"] = (key & largest) * (255 // largest)
    elif picture.mode == "RGB":
        picture.info["transparency"] = tuple(number & 255 for number in key)
    return Scale()


def _read_tiff_scale(picture: TiffImageFile) -> Scale:
    tags = picture.tag_v2
    bits, signed = tags.get(BITSPERSAMPLE, (1,))[0], tags.get(SAMPLEFORMAT, (1,))[0] == SIGNED
    codec, layout = picture.tile[0][0], picture.tile[0][3]
    if codec == "raw":
        planes = tags.get(PLANAR_CONFIGURATION) == PLANES and bits > 8 and len(picture.getbands()) > 1
        fewer = picture.mode == "YCbCr" and sum(tags.get(STRIPBYTECOUNTS, ())) < 3 * picture.width * picture.height
        if planes or fewer:  # which would be read as if they lay otherwise
            raise DecodeError("the colours of the picture lie in a way that cannot be read; save it again, or as a PNG")
    elif isinstance(layout, tuple) and layout[0] in NATIVE:
        picture.tile = [_laid_out(tile, (NATIVE[layout[0]], *layout[1:])) for tile in picture.tile]
    if picture.mode in ("P", "PA") and max(colours := tags[COLORMAP]) <= 255:  # not of 16 bits, as libtiff takes it too
        picture.palette = ImagePalette.raw("RGB;L", bytes(colours))
    white = 65535 if bits > 16 else 2 ** (bits - signed) - 1
    return Scale(white, inverted=bits > 8 and tags.get(PHOTOMETRIC_INTERPRETATION) == 0, signed=signed)


def _laid_out(tile: Any, layout: Any) -> Any:
    """Return a part of a picture as Pillow describes it, but for how its numbers lie."""
    return tile._replace(args=layout) if hasattr(tile, "_replace") else (*tile[:3], layout)


def to_rgb(picture: Image, scale: Scale, stream: BinaryIO) -> Image:
    """Bring a decoded picture to RGB; `stream` is what it was read from."""
    if picture.mode == "F":
        raise DecodeError("the picture holds floats of unknown scale; save it with 8 or 16 bits per channel")
    hidden = None if scale.key is None else _is_key(picture, scale.key, stream)
    if picture.mode in WIDE:
        picture = _to_8_bit(np.asarray(picture), scale)
    elif picture.mode == "L" and scale.signed:
        picture = _to_8_bit(np.asarray(picture).view(np.int8), scale)
    elif picture.mode == "La":  # multiplied by its alpha channel
        picture = picture.convert("LA")
    elif picture.format == "WEBP" and picture.mode == "RGB" and _is_animated_webp(stream):  # it has alpha all the same
        picture = PIL.Image.frombytes("RGBA", picture.size, picture.tobytes("raw", "RGBX"))
    if hidden is not None:
        picture = picture.convert("RGB")
        picture.putalpha(PIL.Image.fromarray(np.where(hidden, np.uint8(0), np.uint8(255))))
    if picture.has_transparency_data:
        page = PIL.Image.new("RGBA", picture.size, BACKGROUND)
        picture = PIL.Image.alpha_composite(page, picture.convert("RGBA"))
    picture = picture if picture.mode == "RGB" else picture.convert("RGB")
    if scale.frame in (None, (0, 0, *picture.size)):
        return picture
    page = PIL.Image.new("RGB", picture.size, BACKGROUND[:3])
    page.paste(picture.crop(scale.frame), scale.frame)
    return page


def _is_animated_webp(stream: BinaryIO) -> bool:
    stream.seek(ANIMATION)
    head = stream.read(9)
    return head[:4] == b"VP8X" and bool(head[8] & ANIMATED)


def _is_key(picture: Image, key: int | tuple[int, ...], stream: BinaryIO) -> NDArray[np.bool_]:
    """Return where a PNG of 16 bits has the number, or the colour, that is transparent."""
    values, wanted = np.asarray(picture), np.array(key)
    hidden: NDArray[np.bool_] = values == wanted
    if picture.mode == "RGB":  # its upper bytes
        stream.seek(0)
        again = PngImageFile(stream)
        again.tile = [_laid_out(tile, RGB_16_LOWER) for tile in again.tile]
        hidden = (values == wanted >> 8).all(axis=-1) & (np.asarray(again) == wanted & 255).all(axis=-1)
    return hidden


def _to_8_bit(values: NDArray[Any], scale: Scale) -> Image:
    if values.min() < 0 or values.max() > scale.white:
        raise DecodeError(
            f"the picture holds numbers from {values.min()} to {values.max()}, of which nothing says what is black and "
            "what is white; save it with 8 or 16 bits per channel"
        )
    numbers = np.arange(scale.white + 1)
    steps = (510 * (scale.white - numbers if scale.inverted else numbers) + scale.white) // (2 * scale.white)
    result, table = np.empty(values.shape, np.uint8), steps.astype(np.uint8)
    for row, place in zip(values, result, strict=True):  # one by one: looking up makes each number one of 8 bytes
        place[:] = table[row]
    return PIL.Image.fromarray(result)
