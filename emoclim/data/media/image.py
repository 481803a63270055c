"""Decode one picture.

Conventions: the result is 8-bit RGB, upright (EXIF orientation applied), of the file's own size. What a file is follows
from its content, never from its name.

* Colour: CMYK, palettes and grey become RGB by Pillow's plain formulas; embedded colour profiles are ignored, as CLIP's
  own preprocessing does.
* 16-bit grey maps 0..65535 to 0..255 by rounding (Pillow alone clips it to white); 32-bit integers are taken as 16-bit
  values, and refused beyond that range, as floats are: nothing tells their scale.
* Transparency is laid over white, :data:`BACKGROUND`: what has an alpha channel (drawings, cut-outs, logos) is mostly
  made to be seen on a white page, and dark lines would vanish on black.
* Of an animation, or of several pages, the first frame is taken.
* At most :data:`MAX_PIXELS` pixels and :data:`MAX_RATIO` between the sides, checked from the header, before any pixel
  is allocated.
* Only the :data:`FORMATS` are tried: Pillow's other readers include ones that start programs (EPS).
* Pixels are decoded by Pillow, or in another of the ways of :mod:`.image_decoders`; headers and checksums
  are checked by Pillow always.
"""

from typing import BinaryIO, TypeAlias

import numpy as np
import PIL.Image
from PIL.ExifTags import Base
from PIL.Image import Transpose

from emoclim.data.manifest import Item
from emoclim.data.media.checks import check_file
from emoclim.data.media.image_decoders import DECODERS, PILLOW
from emoclim.errors import DecodeError, MissingLibrary, PassingError, reason_of

Image: TypeAlias = PIL.Image.Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
MAX_RATIO = 2000  # of the sides: a longer strip would grow to gigabytes when its short side is scaled up
MAX_PIXELS = 2**28 // 3  # 256 MiB as RGB; the size from which Pillow warns
BACKGROUND = (255, 255, 255, 255)
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}  # EXIF orientation -> what undoes it

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
GREY_16 = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})


def read_image(item: Item, *, decoder: str = PILLOW, least_side: int | None = None) -> Image:
    """Decode the picture of an item."""
    decode = DECODERS[decoder]
    path, head = check_file(item)
    formats = _formats(head)
    try:
        with path.open("rb") as stream:
            if head.startswith(PNG_SIGNATURE):
                # Decoding skips the checksums of pixel data, and an image that was verified cannot be decoded any more.
                _open(stream, formats).verify()
                stream.seek(0)
            picture = _open(stream, formats)
            pixels = decode(picture, stream, least_side)
            return _to_rgb(_upright(pixels, _orientation(picture)))
    except DecodeError:
        raise
    except PIL.UnidentifiedImageError as error:
        readable = ", ".join((*FORMATS, "HEIC"))
        raise DecodeError(f"this is no picture that can be read ({readable}), or its header is damaged") from error
    except MemoryError as error:
        raise PassingError("there was not enough memory for the picture; run again with fewer --workers") from error
    except Exception as error:  # Pillow's readers raise nearly anything on damaged bytes
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Pillow
            raise PassingError(f"the file cannot be read ({reason_of(error)})") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(f"the picture is damaged or cut short ({reason}); fetch it again") from error


def _formats(head: bytes) -> list[str]:
    """Choose Pillow's readers for a file that begins with `head`."""
    avif = b"avif" in head[8:] or b"avis" in head[8:]
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS and not avif:
        try:
            import pillow_heif
        except ImportError as error:
            raise MissingLibrary("HEIC pictures need one more library: pip install 'emoclim[media]'") from error
        pillow_heif.register_heif_opener()
        return ["HEIF"]
    PIL.Image.init()
    return [name for name in FORMATS if name in PIL.Image.OPEN]  # older Pillow has no AVIF


def _open(stream: BinaryIO, formats: list[str]) -> Image:
    """Read the header only, and refuse too many pixels."""
    too_large = f"the picture has more than {MAX_PIXELS / 1e6:.0f} million pixels; scale it down"
    try:
        picture = PIL.Image.open(stream, formats=formats)
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise DecodeError(too_large) from error
    if max(picture.size) > MAX_RATIO * min(picture.size):
        raise DecodeError(f"the picture is more than {MAX_RATIO} times as long as it is wide; crop it")
    if picture.width * picture.height > MAX_PIXELS:
        raise DecodeError(too_large)
    return picture


def _orientation(picture: Image) -> object:
    """Read the orientation in EXIF, whatever that may be."""
    try:
        return picture.getexif().get(Base.Orientation)
    except SyntaxError:  # no EXIF, whatever the file says
        return None


def _upright(picture: Image, orientation: object) -> Image:
    # Pillow's own exif_transpose also rewrites the EXIF block, and fails on photos whose other tags are odd.
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture.copy()


def _to_rgb(picture: Image) -> Image:
    if picture.mode in GREY_16:
        picture = _to_8_bit(picture)
    if picture.mode == "F":
        raise DecodeError("the picture holds floats of unknown scale; save it with 8 or 16 bits per channel")
    if picture.has_transparency_data:
        page = PIL.Image.new("RGBA", picture.size, BACKGROUND)
        picture = PIL.Image.alpha_composite(page, picture.convert("RGBA"))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _to_8_bit(picture: Image) -> Image:
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DecodeError("the picture holds 32-bit numbers of unknown scale; save it with 8 or 16 bits per channel")
    return PIL.Image.fromarray(((values + 128) // 257).astype(np.uint8))
