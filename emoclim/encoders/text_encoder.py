"""Say what an encoder of texts is: a tokenizer and a network, and how a text becomes passages. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim import data
from emoclim.data import PASSAGES, FeatureSpec, Item, Remark, Setting
from emoclim.encoders.base import Encoder, build_network
from emoclim.errors import DecodeError, EncoderError, name_some

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

log = logging.getLogger(__name__)

WORD_TOKENS = 32  # of a word, a phrase or a prompt; texts are filled up to the length
ROWS = 32  # of these, embedded at once
SHORTEST = 8  # tokens of a passage: its marks, and room for any one letter
SHOWN_WORDS, SHOWN_LETTERS = 3, 20  # of words that are told


@dataclass(frozen=True)
class TextEncoder:
    """An encoder of texts, cut into passages that its network takes whole.

    `tokenize` goes to worker processes: a function of a module, or a partial of one that reads its file once.
    """

    spec: FeatureSpec  # with `passage_settings`
    length: int  # tokens of one passage, marks of beginning and end included
    tokenize: Callable[[str], Sequence[int]]  # token ids of a passage, with its marks, NOT truncated
    build: Callable[[], nn.Module]  # makes the network: (B, length) int64 ids, filled up with `fill`, to (B, D) float32
    fill: int = 0  # id that fills a row up; the network masks it
    unknown: int | None = None  # id of tokens that the vocabulary lacks; counted and told
    language: str | None = None  # that it was trained on, one of `emoclim.data.LANGUAGES`; texts in others are told
    hop_seconds: float = 0.0
    segment_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.length < SHORTEST:
            raise EncoderError(f"{self.spec.name} takes a length from {SHORTEST} tokens, not {self.length}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def beside(self) -> tuple[Path, ...]:
        """Files that belong beside its checkpoint: those of its tokenizer, where these are files."""
        return getattr(self.tokenize, "paths", ())

    @cached_property
    def module(self) -> nn.Module:
        return build_network(self.build)

    def passages(self, item: Item) -> list[str]:
        """Return the passages of an item, one for each of its segments."""
        text, _ = data.read_prose(item)
        return [passage for passage, ids in self._cut(text)[0] if self._is_known(ids)]

    def prepare(self, item: Item) -> Generator[Tensor | Remark, None, float]:
        import torch

        text, remarks = data.read_prose(item)
        passages, torn = self._cut(text)
        # A passage of which no token is known says nothing; that its words are not known is told
        known = [ids for _, ids in passages if self._is_known(ids)]
        if not known:
            raise DecodeError(f"{self.spec.name} knows no word of this text; leave it out, or take another encoder")
        yield from remarks
        if torn:
            yield Remark("have words longer than a passage, which were cut", _quoted(torn))
        if self.language and (shown := data.foreign_to(self.language, text)):
            yield Remark(f"seem not to be in {self.language}, which {self.spec.name} was trained on", shown)
        if strange := self._unknown_words(passages):
            yield Remark(f"have words that {self.spec.name} does not know", _quoted(strange))
        yield torch.tensor([[*ids, *[self.fill] * (self.length - len(ids))] for ids in known], dtype=torch.int64)
        return 0.0

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        import torch

        (rows,) = (block for block in self.prepare(item) if isinstance(block, torch.Tensor))
        return rows[int(torch.randint(len(rows), (), generator=generator))]

    def _cut(self, text: str) -> tuple[list[tuple[str, Sequence[int]]], list[str]]:
        """Return passages with their ids, and the words that were cut in two."""
        if len(ids := self.tokenize(text)) <= self.length:  # most texts; no token is made twice
            return [(text, ids)], []
        passages, torn = data.cut_passages(text, lambda passage: len(self.tokenize(passage)) <= self.length)
        return [(passage, self.tokenize(passage)) for passage in passages], torn

    @cached_property
    def _meaningless(self) -> frozenset[int | None]:
        return frozenset({*self.tokenize(""), self.fill, self.unknown})

    def _is_known(self, ids: Sequence[int]) -> bool:
        return not self._meaningless.issuperset(ids)

    def _unknown_words(self, passages: Sequence[tuple[str, Sequence[int]]]) -> list[str]:
        if self.unknown is None:
            return []
        words = (word for passage, ids in passages if self.unknown in ids for word in passage.split())
        return [word for word in dict.fromkeys(words) if self.unknown in self.tokenize(word)]


def passage_settings(length: int) -> dict[str, Setting]:
    """Return the settings that say what a passage is: every encoder of text has them in its spec."""
    return {"length": length, "passages": PASSAGES}


def embed_anew(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """Embed texts that a network takes whole, ``(N, D)``; tell what is odd of them."""
    import torch

    rows, odd = [], dict[str, list[str]]()
    for text in texts:
        parts: list[Tensor] = []
        try:
            for part in encoder.prepare(Item(text, text=text)):
                if isinstance(part, Remark):
                    odd.setdefault(part.about, []).append(part.example)
                else:
                    parts.append(part)
        except DecodeError as error:
            raise EncoderError(f"{encoder.spec.name} cannot embed {text!r:.80} ({error}); take another word") from error
        if len(row := torch.cat(parts)) > 1:
            raise EncoderError(f"{encoder.spec.name} takes {text!r:.80} in {len(row)} parts only; shorten it")
        rows.append(row)
    for about, examples in odd.items():
        log.warning("%d of %d words and prompts %s (%s)", len(examples), len(texts), about, examples[0])
    with torch.inference_mode():
        found = [encoder.module(part) for part in torch.split(torch.cat(rows), ROWS)]
    return torch.cat(found).clone()


def _quoted(words: Sequence[str]) -> str:
    return name_some([repr(word[:SHOWN_LETTERS]) for word in words], SHOWN_WORDS)
