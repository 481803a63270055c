"""LAION CLAP, text tower only: up to 77 tokens of English to one unit vector, in the space of `clap`.

The parameters are in the files that `clap` takes its tower of sound from: with the same file, a text and a recording
can be compared as they are. The tokenizer is that of ``roberta-base``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.data import FeatureSpec
from emoclim.encoders.checkpoints.published import Part, Published, identity
from emoclim.encoders.checkpoints.tokenizers import TokenizerKind, find_tokenizer
from emoclim.encoders.families import laion_clap_files
from emoclim.encoders.families.laion_clap_files import VARIANTS
from emoclim.encoders.text_encoder import TextEncoder, passage_settings
from emoclim.modality import Modality

if TYPE_CHECKING:
    from emoclim.encoders.nets.clap_text import ClapText

__all__ = ["VARIANTS", "load", "published", "untrained"]

MODALITY: Modality = "text"
LENGTH = 77  # tokens
DIM = 512
ROBERTA = "FacebookAI/roberta-base"
BODY = {
    "vocab_size": 50_265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
TOKENS = (("<s>", 0), ("<pad>", 1), ("</s>", 2), ("<unk>", 3))
FILL, UNKNOWN = 1, 3
TOKENIZER = TokenizerKind(ROBERTA, ("vocab.json", "merges.txt"), 50_265, TOKENS)
OTHER_PARTS = (
    *("audio_branch.", "audio_projection.", "audio_transform.", "text_transform.", "logit_scale_"),
    *("text_branch.embeddings.position_ids", "text_branch.embeddings.token_type_ids"),  # constants of older versions
)


def published(*, model: str = "630k") -> Published:
    """Return the file of one of the `VARIANTS`, with the tokenizer beside it."""
    place = f"https://huggingface.co/{ROBERTA}/resolve/main"
    merges = "git-blob:226b0752cac7789c48f0cb3ec53eda48b7be36cc"
    beside = (Part("vocab.json", f"{place}/vocab.json", None), Part("merges.txt", f"{place}/merges.txt", merges))
    return replace(laion_clap_files.published(model=model), beside=beside)


def load(*, checkpoint: Path, model: str = "630k") -> TextEncoder:
    """Make the encoder; the network is built on first use."""
    tokenizer = find_tokenizer(TOKENIZER, checkpoint, published(model=model))
    spec = FeatureSpec(
        name="clap_text",
        modality=MODALITY,
        dim=DIM,
        checkpoint=identity(checkpoint),
        settings={"tokenizer": tokenizer.identity, **passage_settings(LENGTH), "precision": "fp32"},
    )
    return TextEncoder(spec, LENGTH, tokenizer, partial(build_tower, checkpoint), FILL, UNKNOWN, "English")


def build_tower(checkpoint: Path) -> ClapText:
    """Build the text tower with the parameters of a published file; leave its tower of sound aside."""
    from emoclim.encoders.checkpoints.tensors import fit, read_tensors

    tower = untrained()
    fit(tower, read_tensors(checkpoint), checkpoint, aside=OTHER_PARTS)
    return tower


def untrained() -> ClapText:
    """Make the text tower, before its parameters are read."""
    from emoclim.encoders.nets.clap_text import ClapText
    from emoclim.encoders.nets.sentences import make_body

    return ClapText(make_body("Roberta", BODY, pooled=True), int(BODY["hidden_size"]), FILL)
