"""CLIP, vision tower only: a picture to the raw output of ``encode_image``, by any model that open_clip knows.

The network and its preprocessing are open_clip's; parameters come from a file of this machine. The text tower is never
built at its full size. Importing open_clip takes seconds, for text models among others, so the package as a whole is
loaded with the network only; its tables and its preprocessing are source files that can be had alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from emoclim.data import FeatureSpec, Setting
from emoclim.encoders.base import ImageEncoder
from emoclim.encoders.checkpoints.published import Published, identity
from emoclim.errors import CheckpointError, EncoderError, MissingLibrary
from emoclim.modality import Modality

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

MODALITY: Modality = "image"
MODEL = "ViT-B-32-quickgelu"
VARIANTS = (MODEL, "ViT-B-16-quickgelu", "ViT-L-14-quickgelu", "ViT-L-14-336-quickgelu", "RN50-quickgelu")  # OpenAI's
PRIVATE = "_emoclim_open_clip"
# What open_clip's table of trainings imports if it can, for downloads of its own. That loads torch, which makes
# listing and describing encoders take seconds instead of a third of one.
SLOW = ("safetensors.torch", "huggingface_hub")
UNPUBLISHED = "none"
SMALLEST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
OPENAI_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})  # in OpenAI's own archives only


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


def published(*, model: str = MODEL, pretrained: str = "openai") -> Published:
    """Return the file of one of open_clip's published trainings."""
    training = _find_training(model, pretrained)
    if not training:
        raise EncoderError("clip with pretrained='none' has no published file; name a checkpoint")
    url = training["url"] or _hugging_face_url(training["hf_hub"])
    openai = re.search(r"openaipublic.*/([0-9a-f]{64})/", url)
    release = re.search(r"mlfoundations.*-([0-9a-f]{8})\.pth?$", url)
    digits = openai or release
    return Published(
        file=f"clip_{model}_{pretrained}{Path(url).suffix}",
        url=url,
        hash=f"sha256:{digits[1]}" if digits else None,
        licence="MIT" if openai else "unknown here; see the page of the file",
        trained_on=("WebImageText (OpenAI, 400 million pairs)",) if openai else ("unknown here",),
    )


def load(*, checkpoint: Path, model: str = MODEL, pretrained: str = "openai") -> ImageEncoder:
    """Make the encoder; the network is built on first use."""
    config = _find_config(model)
    size = _pair(config["vision_cfg"]["image_size"])
    how = _preprocessing(size, _find_training(model, pretrained))
    spec = FeatureSpec(
        name="clip",
        modality=MODALITY,
        dim=config["embed_dim"],
        checkpoint=identity(checkpoint),
        settings={"model": model, "precision": "fp32"} | how.settings(),
    )
    view, build = partial(_view, how=how), partial(build_tower, model, checkpoint)
    normalise = partial(_normalised, mean=how.mean, std=how.std)
    return ImageEncoder(spec, (3, *size), view, view, build, normalise, how.least_side())


def build_tower(model: str, checkpoint: Path) -> nn.Module:
    """Build the vision tower with the parameters of a file: ``(B, 3, H, W) -> (B, D)``."""
    from emoclim.encoders.checkpoints.tensors import fit, read_tensors

    quick = bool(_find_config(model).get("quick_gelu", False))
    tensors = read_tensors(checkpoint)
    if tensors.keys() >= OPENAI_MARKS and not quick:
        raise CheckpointError(f"{checkpoint} needs QuickGELU, as all of OpenAI's do; take the model {model}-quickgelu")
    tower = untrained(model=model)
    fit(tower, tensors, checkpoint)
    return tower


def untrained(*, model: str = MODEL) -> nn.Module:
    """Make the vision tower of one of open_clip's models, before its parameters are read."""
    import open_clip

    config = _find_config(model)
    vision = config["vision_cfg"] | {"output_tokens": False}
    quick = config.get("quick_gelu", False)
    clip = open_clip.CLIP(config["embed_dim"], vision_cfg=vision, text_cfg=SMALLEST_TEXT, quick_gelu=quick)
    tower: nn.Module = clip.visual
    return tower


@lru_cache
def _part(name: str) -> ModuleType:
    """Run one source file of open_clip under a private name, without the package's own start."""
    if PRIVATE not in sys.modules:
        package = ModuleType(PRIVATE)
        package.__path__ = [str(_folder())]
        sys.modules[PRIVATE] = package
    hidden = [module for module in SLOW if module not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: as if they were not installed
    try:
        return importlib.import_module(f"{PRIVATE}.{name}")
    finally:
        for module in hidden:
            del sys.modules[module]


def _folder() -> Path:
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise MissingLibrary("the encoder clip needs open_clip: pip install open_clip_torch")
    return Path(found.submodule_search_locations[0])


def _find_config(model: str) -> dict[str, Any]:
    """Find the configuration of a model, among them those that a program has added to open_clip itself."""
    loaded = sys.modules.get("open_clip")
    files = {path.stem: path for path in (_folder() / "model_configs").glob("*.json")}
    names = sorted(files.keys() | set(loaded.list_models() if loaded else ()))
    if model not in names:
        near = get_close_matches(model, names, n=5, cutoff=0.3)
        raise EncoderError(f"open_clip has no model {model!r}; nearest are: {', '.join(near) or ', '.join(names)}")
    config: dict[str, Any]
    config = json.loads(files[model].read_text()) if model in files or not loaded else loaded.get_model_config(model)
    return config


def _find_training(model: str, pretrained: str) -> Mapping[str, Any]:
    """Find what open_clip notes of a published training; empty for ``"none"``."""
    config, table = _find_config(model), _part("pretrained")
    if pretrained == UNPUBLISHED:
        return {}
    tags = table.list_pretrained_tags_by_model(model)
    if pretrained not in tags:
        raise EncoderError(
            f"clip model {model!r} has no training {pretrained!r}; choose one of: {', '.join(tags)}, none"
        )
    training: Mapping[str, Any] = table.get_pretrained_cfg(model, pretrained)
    if training.get("quick_gelu") and not config.get("quick_gelu"):
        raise EncoderError(f"training {pretrained!r} needs QuickGELU, which {model} lacks; take {model}-quickgelu")
    return training


def _preprocessing(size: tuple[int, int], training: Mapping[str, Any]) -> Preprocessing:
    constants = _part("constants")
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

    transform = _part("transform").image_transform(
        how.size,
        is_train=False,
        mean=how.mean,
        std=how.std,
        interpolation=how.interpolation,
        resize_mode=how.resize_mode,
    )
    return [step for step in transform.transforms if not isinstance(step, ToTensor | Normalize)]


def _hugging_face_url(place: str) -> str:
    """Make the address of open_clip's ``<owner>/<repository>/<file>``, whose file may be left open."""
    repository, _, file = place.rpartition("/")
    return f"https://huggingface.co/{repository}/resolve/main/{file or 'open_clip_model.safetensors'}"


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _normalised(pixels: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Scale and normalise pixels as torchvision does: uint8 ``(..., 3, H, W)`` to float32."""
    return (pixels.float() / 255 - _by_channel(mean, pixels.device)) / _by_channel(std, pixels.device)


@lru_cache
def _by_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Send constants ``(3, 1, 1)`` to a device, once: each sending waits for all that runs there."""
    import torch

    with torch.inference_mode(False):  # they may be needed outside it
        return torch.tensor(values, device=device)[:, None, None]


def _view(picture: Image.Image, generator: torch.Generator | None = None, *, how: Preprocessing) -> Tensor:
    """Run the steps of the preprocessing, to uint8 ``(3, H, W)``; with a generator, the crop is at a random place.

    Where the whole picture is squeezed to a square instead, a random part of it is, with 7/8 of its sides.
    """
    from torchvision.transforms import CenterCrop
    from torchvision.transforms.functional import pil_to_tensor

    view: Any = picture
    steps = _steps(how)
    if generator is not None and not any(isinstance(step, CenterCrop) for step in steps):
        view = _random_crop(picture, (-(-7 * picture.height // 8), -(-7 * picture.width // 8)), generator)
    for step in steps:
        crops = isinstance(step, CenterCrop)
        view = _random_crop(view, step.size, generator) if crops and generator is not None else step(view)
    tensor: Tensor = pil_to_tensor(view)
    return tensor


def _random_crop(picture: Image.Image, size: tuple[int, int], generator: torch.Generator) -> Image.Image:
    import torch

    height, width = size
    left = int(torch.randint(picture.width - width + 1, (), generator=generator))
    top = int(torch.randint(picture.height - height + 1, (), generator=generator))
    return picture.crop((left, top, left + width, top + height))
