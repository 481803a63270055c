"""Train one encoder in several processes: each encodes its part of every batch, and all compare the whole batch.

Every process draws the same batches and holds the same parameters. The features of all parts are gathered, and each
process computes heads and loss from the whole batch, so that negatives reach across processes and the loss is that of
one process. What differs is the gradient of the encoder: each has that of its own rows, and their sum is the gradient.

Batch normalisation inside the encoder, if it works on batches, sees the rows of its process only. The first process
alone writes files and shows anything.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from emoclim.errors import EmoclimError

T = TypeVar("T")
GAVE_UP = -1  # rows of a process that cannot go on
PATIENCE = timedelta(days=7)  # of a process whose others prepare; whoever started them sees when one of them dies


class Replicas:
    """Rank and number of the processes that train together, and what they exchange."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def first(self) -> bool:
        """Tell whether this is the main process, which writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            distributed.barrier()

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run the block in the main process first, so that the others find its files."""
        if not self.first:
            self.wait()
        try:
            yield
        finally:
            if self.first:
                self.wait()

    def broadcast_result(self, make: Callable[[], T]) -> T:
        """Return in all processes what `make` gives in the main one, or raise the :class:`EmoclimError` of it."""
        if self.count == 1:
            return make()
        said: list[Any] = [None, None]
        if self.first:
            try:
                said[0] = make()
            except EmoclimError as error:
                said[1] = error
        distributed.broadcast_object_list(said)
        if said[1] is not None:
            raise said[1]
        made: T = said[0]
        return made

    def device(self, chosen: torch.device) -> torch.device:
        """Return the chosen device, or of several GPUs the one for this process."""
        if self.count == 1 or chosen.type != "cuda" or chosen.index is not None:
            return chosen
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
        return own

    def part(self, n_rows: int) -> slice:
        """Return which rows of a batch this process encodes; parts follow each other by rank."""
        return slice(self.rank * n_rows // self.count, (self.rank + 1) * n_rows // self.count)

    def gather(self, rows: Tensor) -> Tensor:
        """Gather the rows ``(n, ...)`` of all processes, one after the other; n may differ between them.

        Its gradient is that of the own rows: everyone has the whole gradient already, so nothing is to be added.
        """
        if self.count == 1:
            return rows
        sizes = self._sizes(len(rows), rows.device)
        if min(sizes) == GAVE_UP:
            raise EmoclimError("another of the processes could not go on, and says why; go on with --resume after that")
        gathered: Tensor = _Gather.apply(rows, sizes, self.rank)  # type: ignore[no-untyped-call]
        return gathered

    @contextmanager
    def propagate_errors(self, device: torch.device) -> Iterator[None]:
        """Make the other processes fail as they gather if this one raises an :class:`EmoclimError` in the block."""
        try:
            yield
        except EmoclimError:
            if self.count > 1:
                self._sizes(GAVE_UP, device)
            raise

    def _sizes(self, size: int, device: torch.device) -> list[int]:
        sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.count)]
        distributed.all_gather(sizes, torch.tensor([size], device=device))
        return [int(size) for size in sizes]

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over all processes, in place."""
        self._combine([one.grad for one in parameters if one.grad is not None], 1.0)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Average floating-point tensors over all processes, in place."""
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


@contextmanager
def launched() -> Iterator[Replicas]:
    """Join the process group if torchrun started this process; otherwise it is alone.

    Several processes end on Ctrl-C at once, wherever they are: none could wait for another that does so later.
    """
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    distributed.init_process_group(timeout=PATIENCE)
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield Replicas(distributed.get_rank(), distributed.get_world_size())
    finally:
        signal.signal(signal.SIGINT, before)
        distributed.destroy_process_group()
