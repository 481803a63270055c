"""Decode the pixels of a picture whose header Pillow has read and whose size was found fit.

Convention: whatever way is asked for, what it does not decode is decoded by Pillow, whose verdict on a file counts. So
the same files are refused, in the same words, by all of them; only the pixels of lossy formats may differ.
"""

from collections.abc import Callable, Mapping
from typing import BinaryIO, TypeAlias

import PIL.Image

from emoclim.errors import MissingLibrary

# header read by Pillow, the file it was read from, least side or None -> pixels, neither upright nor RGB yet
Decode: TypeAlias = Callable[[PIL.Image.Image, BinaryIO, int | None], PIL.Image.Image]

PILLOW, DRAFT, TORCHVISION = "pillow", "draft", "torchvision"
LOSSY = frozenset({"JPEG", "MPO", "WEBP"})  # an MPO is a JPEG with more behind it, as some cameras write
PLAIN = frozenset({"RGB", "L"})  # no CMYK, whose way to RGB is Pillow's own, and no transparency


def by_pillow(picture: PIL.Image.Image, _: BinaryIO, __: int | None = None) -> PIL.Image.Image:
    """Decode all pixels by Pillow."""
    picture.load()
    return picture


def by_draft(picture: PIL.Image.Image, stream: BinaryIO, least_side: int | None) -> PIL.Image.Image:
    """Decode a JPEG at 1/2, 1/4 or 1/8 of its size, as long as both its sides keep `least_side` pixels.

    Notes
    -----
    The decoder leaves out the finer of the frequencies of each block of 8 x 8 pixels, so most of the work is not done.
    """
    if least_side is not None:
        picture.draft(None, (least_side, least_side))
    return by_pillow(picture, stream)


def by_torchvision(picture: PIL.Image.Image, stream: BinaryIO, _: int | None) -> PIL.Image.Image:
    """Decode lossy formats in plain colours by torchvision, others by Pillow; a PNG is the same either way."""
    if picture.format not in LOSSY or picture.mode not in PLAIN:
        return by_pillow(picture, stream)
    import torch
    from torchvision.io import decode_image

    if not hasattr(torch.ops.image, "decode_image"):
        raise MissingLibrary("this torchvision was built without decoders of pictures; install it from a wheel")
    stream.seek(0)
    content = torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8)
    try:
        pixels = decode_image(content, mode="RGB")  # (3, H, W)
    except RuntimeError:
        return by_pillow(picture, stream)
    return PIL.Image.fromarray(pixels.permute(1, 2, 0).numpy())


DECODERS: Mapping[str, Decode] = {PILLOW: by_pillow, DRAFT: by_draft, TORCHVISION: by_torchvision}
