"""Statistics of colour, texture and layout: an encoder of images without parameters.

Convention: a picture is squeezed to a square, so that all of it counts; see :mod:`emoclim.encoders.nets.colour`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from emoclim.data import FeatureSpec, Setting
from emoclim.encoders.base import ImageEncoder
from emoclim.errors import EncoderError
from emoclim.modality import Modality

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

MODALITY: Modality = "image"
DIM = 99  # of its statistics
VERSION = 1
HUES = ("red", "orange", "yellow", "chartreuse", "green", "spring green")
COLD_HUES = ("cyan", "azure", "blue", "violet", "magenta", "rose")
COLOURS = ("black", "grey", "white", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
PLANES = ("lightness", "red over green", "yellow over blue", "edges")
PLACES = ("top", "middle", "bottom")
SCALES = ("fine", "middle", "coarse")
NAMES: Mapping[str, Sequence[str]] = {  # by group of :mod:`emoclim.encoders.nets.colour`
    "light": ("lightness", "contrast of light and dark", "lightness skewness"),
    "vividness": ("saturation", "saturation variation", "colourfulness"),
    "affect": ("pleasure", "arousal", "dominance"),
    "hue_moments": (
        *("hue cosine", "hue sine", "doubled hue cosine", "doubled hue sine"),
        *("warmth", "contrast of warm and cold"),
    ),
    "hues": [f"hue {name}" for name in (*HUES, *COLD_HUES)],
    "levels": [
        *(f"lightness level {number} of 8" for number in range(1, 9)),
        *(f"saturation level {number} of 5" for number in range(1, 6)),
    ],
    "colour_terms": [f"colour {name}" for name in COLOURS],
    "layout": [f"{what}, {row} {side}" for side in ("centre", "sides") for what in PLANES for row in PLACES],
    "edges": [f"{what}, {scale} scale" for what in ("slope", "share of edges") for scale in SCALES],
    "orientation": [f"{slant} edges" for slant in ("upright", "steep", "diagonal", "flat", "level")],
    "tamura_contrast": [f"contrast, {scale} scale" for scale in SCALES],
    "tamura_coarseness": ("coarseness", "coarseness variation"),
    "co_occurrence": [f"{what} over {lag} pixels" for lag in (2, 8, 32) for what in ("homogeneity", "correlation")],
    "symmetry": ("symmetry left to right", "symmetry top to bottom"),
}
SIZES = range(64, 1025, 32)


def load(*, size: int = 256) -> ImageEncoder:
    """Make the encoder."""
    if size not in SIZES:
        raise EncoderError(f"colour takes a size that is a multiple of 32 from 64 to 1024, not {size}")
    settings: dict[str, Setting] = {"version": VERSION, "size": size, "pixels": "squeezed, Pillow bicubic"}
    spec = FeatureSpec("colour", MODALITY, DIM, "none", settings)
    transform, augment = partial(squeeze, size=size), partial(squeeze_part, size=size)
    least_side = math.ceil(size * math.sqrt(2))  # half of an area has sides of 1 / sqrt(2), at the least
    return ImageEncoder(spec, (3, size, size), transform, augment, build, least_side=least_side)


def names() -> Sequence[str]:
    """Name the statistics, in order."""
    return [name for group in NAMES.values() for name in group]


def build() -> nn.Module:
    """Make the network."""
    from emoclim.encoders.nets.colour import colour_statistics

    return colour_statistics()


def squeeze(image: Image.Image, *, size: int, box: tuple[float, float, float, float] | None = None) -> Tensor:
    """Bring a picture, or the part of it in `box` (left, top, right, bottom), to ``(3, size, size)`` in 0..1."""
    import torch

    square = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous().float() / 255


def squeeze_part(image: Image.Image, generator: torch.Generator, *, size: int) -> Tensor:
    """Bring a random part of a picture to ``(3, size, size)``: uniform in place and, from half to all, in area."""
    import torch

    area, x, y = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    width, height = (math.sqrt(0.5 + 0.5 * area) * side for side in image.size)
    left, top = x * (image.width - width), y * (image.height - height)
    return squeeze(image, size=size, box=(left, top, min(left + width, image.width), min(top + height, image.height)))
