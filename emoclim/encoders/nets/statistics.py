"""A feature made of named statistics instead of learnt layers.

Convention: a statistic is brought to about zero mean and unit spread by two constants of its own, which belong to its
definition and are never fitted, and is then bounded; each group of statistics has the same say in the length of the
feature, however many values it has. So none of them rules the direction of a feature, which is all a head keeps of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

View = TypeVar("View")

BOUND = 3.0
AT_ONCE = 64  # values: a multiple of what torch computes at once, on any CPU


def alike(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a function of one value to all, and round each alike.

    Those that are left over when torch has computed as many as it can at once, it computes otherwise: the last bit of a
    sigmoid or a power in a batch would depend on the place of the row.
    """
    flat = values.reshape(-1)
    return function(functional.pad(flat, (0, -len(flat) % AT_ONCE)))[: len(flat)].view(values.shape)


@dataclass(frozen=True, slots=True)
class Statistic(Generic[View]):
    """A group of related values."""

    compute: Callable[[View], Tensor]  # from the common view of a batch to `(B, n)`; its name is the name of the group
    centre: tuple[float, ...]
    spread: tuple[float, ...]  # n typical deviations from them


class StatisticBank(nn.Module, Generic[View]):
    """Groups of statistics, scaled and set side by side: a batch of inputs to ``(B, D)``."""

    centre: Tensor
    spread: Tensor
    weight: Tensor

    def __init__(self, view: Callable[[Tensor], View], statistics: tuple[Statistic[View], ...]) -> None:
        super().__init__()
        self.view = view
        self.statistics = statistics
        ends = torch.tensor([len(statistic.centre) for statistic in statistics]).cumsum(0).tolist()
        self.groups = {
            statistic.compute.__name__: slice(end - len(statistic.centre), end)
            for statistic, end in zip(statistics, ends, strict=True)
        }
        weight = [1 / math.sqrt(len(statistic.centre)) for statistic in statistics for _ in statistic.centre]
        self.register_buffer("centre", torch.tensor([c for statistic in statistics for c in statistic.centre]), False)
        self.register_buffer("spread", torch.tensor([s for statistic in statistics for s in statistic.spread]), False)
        self.register_buffer("weight", torch.tensor(weight), False)

    def forward(self, batch: Tensor) -> Tensor:
        """Feature ``(B, D)`` of a batch; entry d lies within ``BOUND * weight[d]`` of zero."""
        view = self.view(batch)
        raw = torch.cat([statistic.compute(view) for statistic in self.statistics], dim=1)
        return BOUND * torch.tanh((raw - self.centre) / (BOUND * self.spread)) * self.weight
