"""Parameters that nobody trained, but the same on every machine, and a CLIP that is small enough to be built often."""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

TINY_CLIP = "emoclim-tiny-quickgelu"
TINY_TOWER = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TINY_TEXT = {"context_length": 16, "vocab_size": 49_408, "width": 16, "heads": 1, "layers": 1}
CONSTANTS = frozenset({"window", "fb", "bw_Q"})
DECIBEL_NORMS = frozenset({"spec_bn", "hstft_bn", "bn0"})  # normalisations of spectrograms


def pseudo_random(template: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fill a state dict by name and shape, with values of a trained network's size; constants and counters are kept."""
    return {name: _fill(name, tensor) for name, tensor in template.items()}


def pseudo_trained(net: nn.Module) -> dict[str, Tensor]:
    """State dict of a network with what training changes filled; its constants are kept."""
    state = net.state_dict()
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    changed = {name for name in state if name in trained or name.rpartition(".")[2].startswith("running_")}
    return state | pseudo_random({name: state[name] for name in changed})


def _fill(name: str, tensor: Tensor) -> Tensor:
    leaf = name.rpartition(".")[2]
    if not tensor.is_floating_point() or tensor.ndim == 0 or leaf in CONSTANTS:
        return tensor.clone()
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if DECIBEL_NORMS & set(name.split(".")) and leaf.startswith("running_"):
        return 400 * (1 + 0.1 * noise).abs() if leaf == "running_var" else -20 + 2 * noise
    if leaf == "running_var" or (leaf == "weight" and tensor.ndim == 1):
        return (1 + 0.1 * noise).abs()
    if tensor.ndim == 1:
        return 0.1 * noise
    return noise / math.sqrt(math.prod(tensor.shape[1:]))


def register_tiny_clip(folder: Path) -> str:
    """Make the tiny model known to open_clip, and return its name."""
    import open_clip  # takes seconds, and most files of tests do without

    path = folder / f"{TINY_CLIP}.json"
    path.write_text(json.dumps({"embed_dim": 16, "quick_gelu": True, "vision_cfg": TINY_TOWER, "text_cfg": TINY_TEXT}))
    open_clip.add_model_config(path)
    return TINY_CLIP
