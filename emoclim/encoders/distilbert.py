"""DistilBERT: up to 512 tokens of English to 768 values, the last layer at the mark of the beginning (``[CLS]``).

It is ``distilbert-base-uncased``, which was trained to fill gaps in texts; what its features are good for comes with
the heads, or with training it end to end.

References
----------
Sanh et al., "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter", 2019.
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
LENGTH = 512  # tokens, the most that it can take
HUB = "distilbert/distilbert-base-uncased"
PLACE = f"https://huggingface.co/{HUB}/resolve/main"
BODY = {
    "vocab_size": 30_522,
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
    "max_position_embeddings": LENGTH,
}
TOKENIZER = TokenizerKind(HUB, ("vocab.txt",), BODY["vocab_size"], BERT_TOKENS)
FILL, UNKNOWN = (dict(BERT_TOKENS)[token] for token in ("[PAD]", "[UNK]"))


def published() -> Published:
    """Return the file of the hub."""
    # the vocabulary is that of BERT in lower case
    vocabulary = "sha256:07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    return Published(
        file="distilbert/model.safetensors",
        url=f"{PLACE}/model.safetensors",
        hash=None,
        licence="Apache-2.0",
        trained_on=("English Wikipedia", "Toronto Book Corpus"),
        beside=(Part("vocab.txt", f"{PLACE}/vocab.txt", vocabulary),),
    )


def load(*, checkpoint: Path, length: int = LENGTH) -> TextEncoder:
    """Make the encoder; the network is built on first use."""
    tokenizer = find_tokenizer(TOKENIZER, checkpoint, published())
    if length > LENGTH:
        raise EncoderError(f"distilbert takes a length of at most {LENGTH} tokens, not {length}")
    spec = FeatureSpec(
        name="distilbert",
        modality=MODALITY,
        dim=BODY["dim"],
        checkpoint=identity(checkpoint),
        settings={
            "tokenizer": tokenizer.identity,
            **passage_settings(length),
            "pooling": "[CLS] of the last layer",
            "precision": "fp32",
        },
    )
    return TextEncoder(spec, length, tokenizer, partial(_build, checkpoint), FILL, UNKNOWN, "English")


def untrained() -> Sentences:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.sentences import Sentences, first_token, make_body

    return Sentences(make_body("DistilBert", BODY), first_token, FILL)


def _build(checkpoint: Path) -> Sentences:
    from emoclim.encoders.nets.sentences import read_body

    return read_body(untrained(), checkpoint)
