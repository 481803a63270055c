"""Bring pictures to 8-bit pixels by torchvision's transforms, and these to what a network takes.

Used by the encoders whose networks come with a preprocessing of torchvision's kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


def normalised(pixels: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Scale and normalise pixels as torchvision does: uint8 ``(..., 3, H, W)`` to float32."""
    return (pixels.float() / 255 - _by_channel(mean, pixels.device)) / _by_channel(std, pixels.device)


@lru_cache
def _by_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Send constants ``(3, 1, 1)`` to a device, once: each sending waits for all that runs there."""
    import torch

    with torch.inference_mode(False):  # they may be needed outside it
        return torch.tensor(values, device=device)[:, None, None]


def view(picture: Image.Image, steps: Sequence[Any], generator: torch.Generator | None = None) -> Tensor:
    """Run the steps of a preprocessing, to uint8 ``(3, H, W)``; with a generator, the crop is at a random place.

    Where the whole picture is squeezed to a square instead, a random part of it is, with 7/8 of its sides.
    """
    from torchvision.transforms import CenterCrop
    from torchvision.transforms.functional import pil_to_tensor

    seen: Any = picture
    if generator is not None and not any(isinstance(step, CenterCrop) for step in steps):
        seen = _random_crop(picture, (-(-7 * picture.height // 8), -(-7 * picture.width // 8)), generator)
    for step in steps:
        crops = isinstance(step, CenterCrop)
        seen = _random_crop(seen, step.size, generator) if crops and generator is not None else step(seen)
    tensor: Tensor = pil_to_tensor(seen)
    return tensor


def _random_crop(picture: Image.Image, size: tuple[int, int], generator: torch.Generator) -> Image.Image:
    import torch

    height, width = size
    left = int(torch.randint(picture.width - width + 1, (), generator=generator))
    top = int(torch.randint(picture.height - height + 1, (), generator=generator))
    return picture.crop((left, top, left + width, top + height))
