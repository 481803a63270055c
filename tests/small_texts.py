"""Networks and tokenizers of texts that are small enough to be made often, in the layout of the published ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

from tokenizers.implementations import BertWordPieceTokenizer
from tokenizers.pre_tokenizers import ByteLevel

WORDS = "it was rain ##ed a happy sad day on the sea and i felt very lonely friend ##s , . ! [ ]".split()
VOCABULARY = [
    "[PAD]",
    *(f"[unused{place}]" for place in range(99)),
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *WORDS,
    *(letter for letter in ascii_lowercase + digits if letter not in WORDS),
    *(f"##{letter}" for letter in ascii_lowercase),
]
TEXTS = (
    "It rained on the sea.",
    "A sad day! I felt very lonely, and my friends lonelier.",
    "",
    "Rain [MASK] rain [PAD] ☂",
    "happy " * 40,
)
BERT: Mapping[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
}
DISTILBERT: Mapping[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "dim": 24,
    "n_layers": 2,
    "n_heads": 3,
    "hidden_dim": 48,
    "max_position_embeddings": 512,
}


def write_vocabulary(folder: Path) -> Path:
    """A tokenizer of BERT's as ``vocab.txt``."""
    path = folder / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in VOCABULARY), encoding="utf-8")
    return path


def write_tokenizer(folder: Path) -> Path:
    """The same as ``tokenizer.json``, which cuts and fills up as that of the published MiniLM does."""
    tokenizer = BertWordPieceTokenizer(str(write_vocabulary(folder)), lowercase=True)
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    (folder / "vocab.txt").unlink()
    tokenizer.save(str(path := folder / "tokenizer.json"))
    return path


def write_byte_pairs(folder: Path) -> tuple[Path, Path]:
    """A tokenizer of RoBERTa's as ``vocab.json`` and ``merges.txt``."""
    merges = ["Ġ t", "h e", "Ġt he", "a i", "r ai", "rai n", "Ġ s"]
    tokens = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)]
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *tokens, "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges), encoding="utf-8")
    return folder / "vocab.json", folder / "merges.txt"


ROBERTA: Mapping[str, Any] = {
    "vocab_size": 4 + 256 + 7 + 1,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
