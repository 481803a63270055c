"""Decode one picture.

Conventions: the result is 8-bit RGB, upright (EXIF orientation applied), of the file's own size. What a file is follows
from its content, never from its name.

* What the numbers of its pixels mean is as :mod:`.colours` says; embedded colour profiles are ignored, as CLIP's
  own preprocessing does.
* What tells nothing of the pixels, such as comments, keeps no picture from being read (:mod:`.side_data`).
* Of an animation, or of several pages, the first frame is taken.
* At most :data:`MAX_PIXELS` pixels and :data:`MAX_RATIO` between the sides, checked from the header, before any pixel
  is allocated.
* A file whose end is missing is refused, even if that is but the end mark of a JPEG: then it cannot be told whether
  pixels are missing too.
* Only the :data:`FORMATS` are tried: Pillow's other readers include ones that start programs (EPS).
* Pixels are decoded by Pillow, or in another of the ways of :mod:`.decoders`; headers are read by Pillow always.
  What it warns of is told once, with the name of the file.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, TypeAlias

import PIL.Image
from PIL.ExifTags import Base
from PIL.Image import Transpose

from emoclim.data.items.item import Item
from emoclim.data.media.c_messages import without_c_messages
from emoclim.data.media.checks import check_file
from emoclim.data.media.images.colours import read_scale, to_rgb
from emoclim.data.media.images.decoders import DECODERS, PILLOW
from emoclim.data.media.images.side_data import JPEG_SIGNATURE, PNG_SIGNATURE, essential_chunks, without_photoshop
from emoclim.errors import DecodeError, MissingLibrary, PassingError, reason_of
from emoclim.files import open_regular

Image: TypeAlias = PIL.Image.Image
log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
MAX_RATIO = 2000  # of the sides: a longer strip would grow to gigabytes when its short side is scaled up
MAX_PIXELS = 2**28 // 3  # 256 MiB as RGB; the size from which Pillow warns
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

for plugin in "Avif Bmp Gif Jpeg Png Ppm Tiff WebP".split():  # all of Pillow's take as long as 10 pictures
    with suppress(ImportError):  # older Pillow has no AVIF
        import_module(f"PIL.{plugin}ImagePlugin")

HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})


def read_image(item: Item, *, decoder: str = PILLOW, least_side: int | None = None) -> Image:
    """Decode the picture of an item."""
    decode = DECODERS[decoder]
    path, head = check_file(item)
    formats = _formats(head)
    try:
        with open_regular(path) as file, _told_warnings(path), without_c_messages():
            stream = essential_chunks(file) if head.startswith(PNG_SIGNATURE) else file
            try:
                picture = _open(stream, formats)
            except PIL.UnidentifiedImageError:
                if not head.startswith(JPEG_SIGNATURE):
                    raise
                stream = without_photoshop(file)
                picture = _open(stream, formats)
            scale = read_scale(picture)
            pixels = decode(picture, stream, least_side)
            orientation = _orientation(picture)
            return _upright(to_rgb(pixels, scale, stream), orientation)
    except (DecodeError, MissingLibrary):
        raise
    except PIL.UnidentifiedImageError as error:
        readable = ", ".join((*FORMATS, "HEIC"))
        raise DecodeError(
            f"this is no picture that can be read ({readable}), one of a rare kind, or its header is damaged"
        ) from error
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
    return [name for name in FORMATS if name in PIL.Image.OPEN]


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
    except Exception as error:  # noqa: BLE001 - side data that are damaged, in whatever way, are no reason to stop
        warnings.warn(f"its EXIF cannot be read ({error}); it is taken as upright", stacklevel=1)
        return None


def _upright(picture: Image, orientation: object) -> Image:
    # Pillow's own exif_transpose also rewrites the EXIF block, and fails on photos whose other tags are odd.
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture.copy()


@contextmanager
def _told_warnings(path: Path) -> Iterator[None]:
    """Tell what Pillow warns of with the name of the file; in the main thread only, for what is caught is of all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(" ".join(str(one.message).split()) for one in caught):
        _tell(path, message)


@lru_cache(maxsize=4096)
def _tell(path: Path, message: str) -> None:
    """Tell something of a file, once."""
    log.warning("%s: %s", path, message)
