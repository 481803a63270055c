"""Palette: mean and spread of the colours in each ninth of a picture; an encoder of images without parameters.

Put this file into ``emoclim/encoders/``, and ``emoclim extract images --encoder palette`` works.
"""

from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from emoclim.data import FeatureSpec, Setting
from emoclim.encoders import ImageEncoder
from emoclim.errors import EncoderError
from emoclim.modality import Modality

MODALITY: Modality = "image"
VERSION = 1  # to be raised whenever the code gives other numbers
GRID = 3  # cells of each side
DIM = 2 * 3 * GRID**2
TINY = 1e-4  # keeps the slope of the root finite where a cell has one colour


class Palette(nn.Module):
    """Pictures ``(B, 3, S, S)`` in 0..1, S a multiple of 3, to ``(B, 54)``."""

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        side = pictures.shape[-1] // GRID
        cells = pictures.reshape(-1, 3, GRID, side, GRID, side)
        spread = (cells.var((3, 5), correction=0) + TINY).sqrt()
        return torch.cat([cells.mean((3, 5)), spread], dim=1).flatten(1)


def load(*, size: int = 96) -> ImageEncoder:
    """Make the encoder.

    Parameters
    ----------
    size
        Pixels of each side of the square that a picture is squeezed to; a multiple of 3.

    Raises
    ------
    EncoderError
        The size is no such number.
    """
    if size < GRID or size % GRID:
        raise EncoderError(f"palette takes a size that is a multiple of {GRID}, not {size}")
    settings: dict[str, Setting] = {"version": VERSION, "size": size, "pixels": "squeezed, Pillow bicubic"}
    spec = FeatureSpec("palette", MODALITY, DIM, "none", settings)
    return ImageEncoder(spec, (3, size, size), partial(squeeze, size=size), partial(squeeze_part, size=size), Palette)


def squeeze(picture: Image.Image, *, size: int) -> Tensor:
    """Bring a picture to ``(3, size, size)`` in 0..1."""
    square = picture.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255


def squeeze_part(picture: Image.Image, generator: torch.Generator, *, size: int) -> Tensor:
    """Bring a random part of a picture, three quarters of each side, to ``(3, size, size)`` in 0..1."""
    width, height = (-(-3 * side // 4) for side in picture.size)
    left = int(torch.randint(picture.width - width + 1, (), generator=generator))
    top = int(torch.randint(picture.height - height + 1, (), generator=generator))
    return squeeze(picture.crop((left, top, left + width, top + height)), size=size)
