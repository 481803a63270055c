"""Windows of cached segments, a few seconds each, and the recurrent network that reads them: a modality trained live.

Convention: an equal generator gives the window of the seconds that a crop of the same recording begins with, since both
draw its place first, as a share of what is left of the recording after a crop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import override

from emoclim.data import Features, FeatureSpec, Item, Setting
from emoclim.encoders import Encoder
from emoclim.errors import ManifestError

WIDTH, LAYERS, DROPOUT = 512, 2, 0.1
SECOND = 1.0  # from one segment of a window to the next


@dataclass(frozen=True)
class WindowEncoder:
    """Windows of the segments of items, `length` of them, one for each second."""

    spec: FeatureSpec  # of what is learnt of a window
    dim: int  # D of a segment
    length: int  # segments of a window
    crop_seconds: float  # of a recording, that a window goes with
    seed: int
    items: Mapping[str, tuple[Tensor, Tensor, float]]  # by id: segments (T, D), their starts (T,) and the whole in s

    @classmethod
    def of(cls, tables: Mapping[str, Features], crop_seconds: float, seed: int) -> "WindowEncoder":
        """Make windows of the features of some splits, for crops of a length; features without segments are refused."""
        items: dict[str, tuple[Tensor, Tensor, float]] = {}
        for name, features in tables.items():
            modality = features.spec.modality
            if (found := features.windows) is None:
                raise ManifestError(
                    f"the {modality} features of the {name} split have no segments to make windows of; extract them "
                    "again, without --no-segments"
                )
            segments, offsets, starts = found
            for row, (id_, first, last) in enumerate(zip(features.ids, offsets, offsets[1:], strict=False)):
                if first == last:  # its value stands for all of it
                    items[id_] = features.take(torch.tensor([row])).cpu(), torch.zeros(1), 0.0
                    continue
                known = starts[last - 1] + SECOND if features.seconds is None else features.seconds[row]
                items[id_] = segments[first:last].cpu(), starts[first:last], float(known)
        spec, length = features.spec, max(1, int(crop_seconds))
        settings: dict[str, Setting] = {"seconds": length, "of": spec.digest()}
        own = FeatureSpec(f"{spec.name} windows", spec.modality, WIDTH, "none", settings)
        return cls(own, spec.dim, length, crop_seconds, seed, items)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a window: segments and D."""
        return (self.length, self.dim)

    @cached_property
    def module(self) -> nn.Module:
        """The network, before it is trained."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return WindowNet(self.length, self.dim).eval()

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        """Return the window ``(length, D)`` whose place is drawn; the last segment stands for what lies beyond it."""
        segments, starts, seconds = self.items[item.id]
        place = float(torch.rand((), generator=generator, dtype=torch.float64))
        begin = round(place * max(0.0, seconds - self.crop_seconds))
        times = torch.arange(begin, begin + self.length, dtype=starts.dtype)
        return segments[(torch.searchsorted(starts, times, right=True) - 1).clamp(0, len(starts) - 1)]


LiveEncoder: TypeAlias = Encoder | WindowEncoder


class WindowNet(nn.Module):
    """Windows ``(B, S, D)`` to features ``(B, 512)``: two LSTM layers, all whose outputs go through one linear layer.

    Notes
    -----
    K. Avramidis et al., "On the role of visual context in enriching music representations", ICASSP 2023, section 3.3,
    with the sizes of their published code.
    """

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(size, WIDTH, batch_first=True) for size in [dim, *[WIDTH] * (LAYERS - 1)])
        self.dropout = SeededDropout(DROPOUT)
        self.output = nn.Linear(length * WIDTH, WIDTH)

    @override
    def train(self, mode: bool = True) -> "WindowNet":
        super().train(mode)
        self.layers.train()  # they are the same in both modes, and cuDNN has gradients of them in this one only
        return self

    @override
    def forward(self, windows: Tensor) -> Tensor:
        hidden, _ = self.layers[0](windows)
        for layer in self.layers[1:]:
            hidden, _ = layer(self.dropout(hidden))
        feature: Tensor = self.output(hidden.flatten(1)).relu()
        return feature


class SeededDropout(nn.Module):
    """Dropout whose mask follows from a seed alone, which has to be set before each batch of training."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability, self.seed = probability, 0

    @override
    def forward(self, rows: Tensor) -> Tensor:
        if not self.training:
            return rows
        drawn = torch.rand(rows.shape, generator=torch.Generator().manual_seed(self.seed))
        return rows * (drawn >= self.probability).to(rows) / (1 - self.probability)
