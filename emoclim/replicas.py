"""Several processes that train one encoder: each encodes its part of every batch, and all compare the whole of it.

Every process draws the same batches and holds the same parameters. The features of all parts are gathered, and each
process computes heads and loss from the whole batch, so that negatives reach across processes and the loss is that of
one process. What differs is the gradient of the encoder: each has that of its own rows, and their sum is the gradient.

Batch normalisation inside the encoder, if it works on batches, sees the rows of its process only.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn


class Replicas:
    """What one of the processes has to know.

    Parameters
    ----------
    rank
        Which one it is, from 0.
    count
        How many there are; with one, nothing is communicated. Otherwise the default process group is used.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    def part(self, n_rows: int) -> slice:
        """The rows of a batch that this process encodes; parts follow each other by rank."""
        return slice(self.rank * n_rows // self.count, (self.rank + 1) * n_rows // self.count)

    def gather(self, rows: Tensor) -> Tensor:
        """Rows ``(n, ...)`` of all processes one after the other; n may differ between them.

        Its gradient is that of the own rows: everyone has the whole gradient already, so nothing is to be added.
        """
        if self.count == 1:
            return rows
        sizes = [rows.new_zeros(1, dtype=torch.int64) for _ in range(self.count)]
        distributed.all_gather(sizes, rows.new_tensor([len(rows)], dtype=torch.int64))
        gathered: Tensor = _Gather.apply(rows, [int(size) for size in sizes], self.rank)  # type: ignore[no-untyped-call]
        return gathered

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all processes in place of each gradient."""
        self._combine([one.grad for one in parameters if one.grad is not None], 1.0)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over all processes in place of each tensor of floating-point numbers."""
        self._combine([tensor for tensor in tensors if tensor.is_floating_point()], 1.0 / self.count)

    @torch.no_grad()
    def _combine(self, tensors: Sequence[Tensor], scale: float) -> None:
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat.mul_(scale), [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int], rank: int) -> Tensor:
        first = sum(sizes[:rank])
        ctx.own = slice(first, first + sizes[rank])
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        everyone = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(everyone, padded)
        return torch.cat([part[:size] for part, size in zip(everyone, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.own].contiguous(), None, None


ALONE = Replicas()
