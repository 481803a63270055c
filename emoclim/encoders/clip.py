"""CLIP, vision tower only: a picture to the raw output of ``encode_image``, by any model that open_clip knows.

The network and its preprocessing are open_clip's; parameters come from a file of this machine. The text tower is never
built at its full size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emoclim.data import FeatureSpec, Setting
from emoclim.encoders.base import ImageEncoder
from emoclim.encoders.checkpoints.published import identity
from emoclim.encoders.families.open_clip_tables import (
    MODEL,
    VARIANTS,
    find_config,
    find_training,
    open_clip_part,
    published,
    read_tower_file,
)
from emoclim.encoders.families.pictures import normalised, view
from emoclim.modality import Modality

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

__all__ = ["VARIANTS", "load", "published", "untrained"]

MODALITY: Modality = "image"
TEXT = "clip_text"
SMALLEST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}


class Preprocessing(NamedTuple):
    """What open_clip's evaluation transform depends on."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str

    def settings(self) -> dict[str, Setting]:
        """Return the entries that tell it from others in a spec."""
        return {
            "image_size": f"{self.size[0]}x{self.size[1]}",
            "resize": f"Pillow {self.interpolation}, {self.resize_mode}",
            "crop": "centre",
            "mean": " ".join(map(str, self.mean)),
            "std": " ".join(map(str, self.std)),
        }

    def least_side(self) -> int:
        """Return the pixels that a side needs for no view to be scaled up: squeezed views are 7/8 of it."""
        side = max(self.size)
        return side if self.resize_mode == "shortest" else -(-8 * side // 7)


def load(*, checkpoint: Path, model: str = MODEL, pretrained: str = "openai") -> ImageEncoder:
    """Make the encoder; the network is built on first use."""
    config = find_config(model)
    size = _pair(config["vision_cfg"]["image_size"])
    how = _preprocessing(size, find_training(model, pretrained))
    spec = FeatureSpec(
        name="clip",
        modality=MODALITY,
        dim=config["embed_dim"],
        checkpoint=identity(checkpoint),
        settings={"model": model, "precision": "fp32"} | how.settings(),
    )
    prepare, build = partial(_view, how=how), partial(build_tower, model, checkpoint)
    normalise = partial(normalised, mean=how.mean, std=how.std)
    return ImageEncoder(spec, (3, *size), prepare, prepare, build, normalise, how.least_side())


def build_tower(model: str, checkpoint: Path) -> nn.Module:
    """Build the vision tower with the parameters of a file: ``(B, 3, H, W) -> (B, D)``."""
    from emoclim.encoders.checkpoints.tensors import fit

    tensors = read_tower_file(model, checkpoint)
    tower = untrained(model=model)
    fit(tower, tensors, checkpoint)
    return tower


def untrained(*, model: str = MODEL) -> nn.Module:
    """Make the vision tower of one of open_clip's models, before its parameters are read."""
    import open_clip

    config = find_config(model)
    vision = config["vision_cfg"] | {"output_tokens": False}
    quick = config.get("quick_gelu", False)
    clip = open_clip.CLIP(config["embed_dim"], vision_cfg=vision, text_cfg=SMALLEST_TEXT, quick_gelu=quick)
    tower: nn.Module = clip.visual
    return tower


def _preprocessing(size: tuple[int, int], training: Mapping[str, Any]) -> Preprocessing:
    constants = open_clip_part("constants")
    return Preprocessing(
        size,
        tuple(training.get("mean", constants.OPENAI_DATASET_MEAN)),
        tuple(training.get("std", constants.OPENAI_DATASET_STD)),
        training.get("interpolation", "bicubic"),
        training.get("resize_mode", "shortest"),
    )


@lru_cache
def _steps(how: Preprocessing) -> Sequence[Any]:
    """Make those steps of open_clip's evaluation transform that turn a picture into a picture."""
    from torchvision.transforms import Normalize, ToTensor

    transform = open_clip_part("transform").image_transform(
        how.size,
        is_train=False,
        mean=how.mean,
        std=how.std,
        interpolation=how.interpolation,
        resize_mode=how.resize_mode,
    )
    return [step for step in transform.transforms if not isinstance(step, ToTensor | Normalize)]


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _view(picture: Image.Image, generator: torch.Generator | None = None, *, how: Preprocessing) -> Tensor:
    """Run the steps of the preprocessing."""
    return view(picture, _steps(how), generator)
