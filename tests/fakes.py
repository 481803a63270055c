"""A small encoder of text for tests of the stages: nothing to decode, and every number can be worked out by hand."""

from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from emoclim.data.features import FeatureSpec
from emoclim.data.manifest import Item, Manifest
from emoclim.errors import DecodeError

LENGTH = 4


@dataclass
class TextEncoder:
    """Segments of four characters, two apart; the feature is a fixed linear map of their code points.

    An item whose text is ``"!<reason>"`` fails after its first block; ``built`` counts how often the network was made.
    """

    spec: FeatureSpec = field(default_factory=lambda: FeatureSpec("letters", "text", 3, "none", {"length": LENGTH}))
    input_shape: tuple[int, ...] = (LENGTH,)
    hop_seconds: float = 0.5
    segment_seconds: float = 1.0
    block: int = 3
    built: int = 0

    @cached_property
    def module(self) -> nn.Module:
        self.built += 1
        layer = nn.Linear(LENGTH, 3)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(3, LENGTH, generator=generator))
            layer.bias.zero_()
        return layer.eval()

    def segments(self, item: Item) -> Tensor:
        codes = torch.tensor([float(ord(letter)) for letter in item.text or ""])
        if len(codes) < LENGTH:
            return codes.repeat(LENGTH)[None, :LENGTH]
        return codes.unfold(0, LENGTH, 2)

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        for block in self.segments(item).split(self.block):
            yield block
            if item.text is not None and item.text.startswith("!"):
                raise DecodeError(item.text[1:])
        return len(item.text or "") / LENGTH

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        segments = self.segments(item)
        return segments[int(torch.randint(len(segments), (), generator=generator))]


def text_manifest(*texts: str, splits: tuple[str | None, ...] = ()) -> Manifest:
    """One item per text, called t0, t1, ..."""
    where = splits or (None,) * len(texts)
    items = tuple(
        Item(f"t{n}", text=text, split=split) for n, (text, split) in enumerate(zip(texts, where, strict=True))
    )
    return Manifest("texts", "text", Path("texts.csv"), items)
