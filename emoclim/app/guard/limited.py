"""An encoder that decodes elsewhere, and what is done there. Used by what decodes within bounds."""

import pickle
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emoclim.data import FeatureSpec, Item, Remark
from emoclim.encoders import Encoder

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class LimitedEncoder:
    """An encoder whose items are decoded in other processes."""

    encoder: Encoder
    run: Callable[[Item], Generator[Any, None, float]]

    @property
    def spec(self) -> FeatureSpec:
        return self.encoder.spec

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.encoder.input_shape

    @property
    def hop_seconds(self) -> float:
        return self.encoder.hop_seconds

    @property
    def segment_seconds(self) -> float:
        return self.encoder.segment_seconds

    @property
    def module(self) -> "nn.Module":
        return self.encoder.module

    def crop(self, item: Item, generator: "torch.Generator") -> "Tensor":
        return self.encoder.crop(item, generator)

    def prepare(self, item: Item) -> Generator["Tensor | Remark", None, float]:
        """Yield what the encoder does, as its blocks come from the other process."""
        import torch

        running = self.run(item)
        while True:
            try:
                block = next(running)
            except StopIteration as end:
                return float(end.value)
            yield block if isinstance(block, Remark) else torch.from_numpy(block)


_encoders: dict[bytes, Encoder] = {}  # of a decoding process


def prepare(content: bytes, item: Item) -> Generator[Any, None, float]:
    """Yield the blocks of an item, as arrays, of the encoder that was sent."""
    if content not in _encoders:
        _encoders[content] = pickle.loads(content)
    blocks = _encoders[content].prepare(item)
    while True:
        try:
            block = next(blocks)
        except StopIteration as end:
            return float(end.value)
        yield block if isinstance(block, Remark) else block.numpy()
