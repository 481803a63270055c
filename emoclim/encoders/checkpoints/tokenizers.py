"""Find and read the files of a tokenizer: the one rule for every encoder of text that has parameters.

They are looked for beside the checkpoint, where the published files lie, and in the Hugging Face cache of this machine,
in this order; never on the network. Which ones were found is part of the encoder's spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from emoclim.encoders.checkpoints.download import hub_copy
from emoclim.encoders.checkpoints.published import Published, identity, location, require_file
from emoclim.errors import CheckpointError, on_one_line

WHOLE = "tokenizer.json"  # a tokenizer in one file, as the library `tokenizers` writes it


@dataclass(frozen=True, slots=True)
class TokenizerKind:
    """What a network takes for its tokenizer."""

    repository: str  # on the Hugging Face hub, of whose files a copy on this machine will do
    files: tuple[str, ...]  # from which it can be made where there is no `WHOLE`; a key of `MAKERS`
    vocabulary: int  # tokens that the network knows
    special: tuple[tuple[str, int], ...]  # tokens that it must have, with their ids


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The files of a tokenizer on this machine; a text becomes token ids with marks, not truncated."""

    kind: TokenizerKind
    paths: tuple[Path, ...]

    def __call__(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        ids: list[int] = _read(self.kind, self.paths).encode(text).ids
        return ids

    @property
    def identity(self) -> str:
        """Tell them from others, in a spec."""
        return ", ".join(map(identity, self.paths))


def find_tokenizer(kind: TokenizerKind, checkpoint: Path, published: Published) -> TokenizerFiles:
    """Find the tokenizer that goes with a file of parameters; it is read when it is first called."""
    require_file(checkpoint)
    home, folders = f"https://huggingface.co/{kind.repository}", (checkpoint.parent, location(published).parent)
    for paths in _places(kind, folders, home):
        if len(here := tuple(path for path in paths if path and path.is_file())) == len(paths):
            return TokenizerFiles(kind, here)
    raise CheckpointError(
        f"no tokenizer lies beside {checkpoint}, nor in {folders[1]}, nor ({kind.repository}) in the Hugging Face "
        f"cache of this machine; put {WHOLE}, or {' and '.join(kind.files)}, of {home} beside the checkpoint"
    )


def _places(kind: TokenizerKind, folders: Sequence[Path], home: str) -> Iterator[Sequence[Path | None]]:
    """Yield sets of files, of which the first that is whole is taken."""
    forms = ((WHOLE,), kind.files)
    yield from ([folder / name for name in names] for folder in folders for names in forms)
    yield from ([hub_copy(f"{home}/resolve/main/{name}") for name in names] for names in forms)


@lru_cache(maxsize=8)
def _read(kind: TokenizerKind, paths: tuple[Path, ...]) -> Any:
    from tokenizers import Tokenizer

    make: Callable[..., Any] = Tokenizer.from_file if paths[0].name == WHOLE else MAKERS[kind.files]
    try:
        tokenizer = make(*map(str, paths))
    except Exception as error:  # the library raises nothing narrower
        reason = on_one_line(str(error))
        raise CheckpointError(f"{paths[0]} cannot be read as a tokenizer ({reason}); put another there") from error
    tokenizer.no_truncation()  # files may say that they cut what is long
    tokenizer.no_padding()
    wrong = [f"{name} has another id" for name, own in kind.special if tokenizer.token_to_id(name) != own]
    if (size := max(tokenizer.get_vocab().values(), default=-1) + 1) > kind.vocabulary:
        wrong.append(f"{size} tokens, of at most {kind.vocabulary}")
    if not tokenizer.encode("").ids:
        wrong.append("it marks no beginning and end")
    if wrong:
        raise CheckpointError(f"{paths[0]} is the tokenizer of another network ({wrong[0]}); put its own there")
    return tokenizer


def _word_pieces(vocabulary: str) -> Any:
    """Make the tokenizer of BERT's networks in lower case."""
    from tokenizers.implementations import BertWordPieceTokenizer

    return BertWordPieceTokenizer(vocabulary, lowercase=True)


def _byte_pairs(vocabulary: str, merges: str) -> Any:
    """Make the tokenizer of RoBERTa's networks."""
    from tokenizers import AddedToken, processors
    from tokenizers.implementations import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer(vocabulary, merges)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
    tokenizer._tokenizer.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
    return tokenizer


MAKERS: Mapping[tuple[str, ...], Callable[..., Any]] = {
    ("vocab.txt",): _word_pieces,
    ("vocab.json", "merges.txt"): _byte_pairs,
}
BERT_TOKENS = (("[PAD]", 0), ("[UNK]", 100), ("[CLS]", 101), ("[SEP]", 102))
