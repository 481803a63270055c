"""CLIP, text tower only: up to 77 tokens of English to the raw output of ``encode_text``, in the space of `clip`.

Network and tokenizer are open_clip's, of any of its models that bring both; the parameters are in the files that `clip`
takes its pictures' tower from. With the same file, a text and a picture can be compared as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoclim.data import FeatureSpec
from emoclim.encoders.checkpoints.published import identity
from emoclim.encoders.families.open_clip_tables import (
    MODEL,
    OPENAI_MARKS,
    VARIANTS,
    find_config,
    find_training,
    open_clip_part,
    published,
    read_tower_file,
)
from emoclim.encoders.text_encoder import TextEncoder, passage_settings
from emoclim.errors import EncoderError
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VARIANTS", "load", "published", "untrained"]

MODALITY: Modality = "text"
OF_ANY_FILE = {"pretrained": "none"}  # settings that go with a checkpoint whose training nobody names
SMALLEST_VISION = {"image_size": 2, "patch_size": 2, "width": 64, "layers": 1}
OTHER_PARTS = ("visual.", "logit_", *OPENAI_MARKS)


def load(*, checkpoint: Path, model: str = MODEL, pretrained: str = "openai") -> TextEncoder:
    """Make the encoder; the network is built on first use."""
    text = _find_text(model)
    find_training(model, pretrained)
    spec = FeatureSpec(
        name="clip_text",
        modality=MODALITY,
        dim=find_config(model)["embed_dim"],
        checkpoint=identity(checkpoint),
        settings={
            "model": model,
            "tokenizer": f"open_clip's byte pairs, cleaned by {_cleaning(text)}",
            **passage_settings(text["context_length"]),
            "precision": "fp32",
        },
    )
    tokenize, build = partial(_token_ids, _cleaning(text)), partial(build_tower, model, checkpoint)
    return TextEncoder(spec, text["context_length"], tokenize, build, language="English")


def build_tower(model: str, checkpoint: Path) -> nn.Module:
    """Build the text tower with the parameters of a file: ``(B, length) -> (B, D)``."""
    from emoclim.encoders.checkpoints.tensors import fit

    tensors = read_tower_file(model, checkpoint)
    tower = untrained(model=model)
    fit(tower, tensors, checkpoint, aside=OTHER_PARTS)
    return tower


def untrained(*, model: str = MODEL) -> nn.Module:
    """Make the text tower of one of open_clip's models, before its parameters are read."""
    import open_clip

    config, text = find_config(model), _find_text(model)
    quick = config.get("quick_gelu", False)
    clip = open_clip.CustomTextCLIP(config["embed_dim"], vision_cfg=SMALLEST_VISION, text_cfg=text, quick_gelu=quick)
    tower: nn.Module = clip.text
    return tower


def _find_text(model: str) -> Mapping[str, Any]:
    """Find the configuration of a text tower that open_clip has itself."""
    config = find_config(model)
    text: Mapping[str, Any] = config["text_cfg"]
    if "multimodal_cfg" in config or any(key.startswith("hf_") for key in text):
        raise EncoderError(f"clip_text knows no text tower of {model}'s kind; take a model such as {MODEL}")
    return {"context_length": 77, **text, "output_tokens": False}


def _cleaning(text: Mapping[str, Any]) -> str:
    """Name what open_clip's tokenizer does to texts first."""
    return str(text.get("tokenizer_kwargs", {}).get("clean", "lower"))


@lru_cache
def _tokenizer(cleaning: str) -> Any:
    return open_clip_part("tokenizer").SimpleTokenizer(clean=cleaning)


def _token_ids(cleaning: str, text: str) -> list[int]:
    tokenizer = _tokenizer(cleaning)
    return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]
