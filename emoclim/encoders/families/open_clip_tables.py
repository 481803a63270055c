"""Read open_clip's own tables of models and published trainings, and name the files of those.

Used by the encoders that take one tower of them each. Importing open_clip takes seconds, for text models among others,
so its tables are read from their source files alone; the package as a whole is loaded with a network only.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from emoclim.encoders.checkpoints.published import Published
from emoclim.errors import CheckpointError, EncoderError, MissingLibrary

if TYPE_CHECKING:
    from torch import Tensor

MODEL = "ViT-B-32-quickgelu"
VARIANTS = (MODEL, "ViT-B-16-quickgelu", "ViT-L-14-quickgelu", "ViT-L-14-336-quickgelu", "RN50-quickgelu")  # OpenAI's
PRIVATE = "_emoclim_open_clip"
# What open_clip's table of trainings imports if it can, for downloads of its own. That loads torch, which makes
# listing and describing encoders take seconds instead of a third of one.
SLOW = ("safetensors.torch", "huggingface_hub")
UNPUBLISHED = "none"
OPENAI_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})  # in OpenAI's own archives only


def published(*, model: str = MODEL, pretrained: str = "openai") -> Published:
    """Return the file of one of open_clip's published trainings."""
    training = find_training(model, pretrained)
    if not training:
        raise EncoderError("CLIP with pretrained='none' has no published file; name a checkpoint")
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


@lru_cache
def open_clip_part(name: str) -> ModuleType:
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
        raise MissingLibrary("encoders of CLIP need open_clip: pip install open_clip_torch")
    return Path(found.submodule_search_locations[0])


def find_config(model: str) -> dict[str, Any]:
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


def find_training(model: str, pretrained: str) -> Mapping[str, Any]:
    """Find what open_clip notes of a published training; empty for ``"none"``."""
    config, table = find_config(model), open_clip_part("pretrained")
    if pretrained == UNPUBLISHED:
        return {}
    tags = table.list_pretrained_tags_by_model(model)
    if pretrained not in tags:
        raise EncoderError(
            f"CLIP model {model!r} has no training {pretrained!r}; choose one of: {', '.join(tags)}, none"
        )
    training: Mapping[str, Any] = table.get_pretrained_cfg(model, pretrained)
    if training.get("quick_gelu") and not config.get("quick_gelu"):
        raise EncoderError(f"training {pretrained!r} needs QuickGELU, which {model} lacks; take {model}-quickgelu")
    return training


def _hugging_face_url(place: str) -> str:
    """Make the address of open_clip's ``<owner>/<repository>/<file>``, whose file may be left open."""
    repository, _, file = place.rpartition("/")
    return f"https://huggingface.co/{repository}/resolve/main/{file or 'open_clip_model.safetensors'}"


def read_tower_file(model: str, checkpoint: Path) -> dict[str, Tensor]:
    """Read a file of both towers; one of OpenAI's, which all have QuickGELU, is refused for a model without."""
    from emoclim.encoders.checkpoints.tensors import read_tensors

    tensors = read_tensors(checkpoint)
    if tensors.keys() >= OPENAI_MARKS and not find_config(model).get("quick_gelu", False):
        raise CheckpointError(f"{checkpoint} needs QuickGELU, as all of OpenAI's do; take the model {model}-quickgelu")
    return tensors
