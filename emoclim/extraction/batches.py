"""Pack segments of any items into batches of one fixed shape, and hand features back by item. Used by `extract`.

Invariant: an item's features do not depend on what lies beside it in a batch. An item is known by its position in the
list to be encoded.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from emoclim.encoders import Encoder, frozen
from emoclim.progress import Stopwatch


class BatchPacker:
    """Encode blocks of segments in batches of a fixed shape; the time of the network is counted as ``compute``.

    Features of a GPU are fetched when it has the next batch to work on (`ahead` batches later; default 1 on a GPU).
    """

    def __init__(
        self,
        encoder: Encoder,
        batch_size: int,
        device: torch.device,
        watch: Stopwatch,
        *,
        compiled: bool = False,
        ahead: int | None = None,
    ) -> None:
        self._encoder, self._device, self._watch, self._compiled = encoder, device, watch, compiled
        self._on_gpu = device.type == "cuda"
        self._ahead = int(self._on_gpu) if ahead is None else ahead
        self._launched: deque[tuple[Tensor, list[tuple[int, int]]]] = deque()  # ((batch size, D), (position, rows))
        self._batch_size = even_batch(batch_size) if device.type == "cpu" else batch_size
        self._batch: Tensor | None = None  # (batch size, *input_shape), which is being filled
        self._owners: list[tuple[int, int]] = []  # (position, rows) of it
        self._filled = 0

    def add(self, position: int, block: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Copy a block into batches; yield ``(position, (s, D))`` of whatever got encoded."""
        while len(block):
            if self._batch is None:
                shape = (self._batch_size, *self._encoder.input_shape)
                self._batch = torch.empty(shape, dtype=block.dtype, pin_memory=self._on_gpu)
            taken = min(len(block), self._batch_size - self._filled)
            # By NumPy, in this thread: one of torch's would spin for milliseconds afterwards, on a core that decodes
            self._batch.numpy()[self._filled : self._filled + taken] = block[:taken].numpy()
            self._owners.append((position, taken))
            self._filled += taken
            block = block[taken:]
            if self._filled == self._batch_size:
                yield from self._encode(self._batch)

    def flush(self) -> Iterator[tuple[int, Tensor]]:
        """Encode what is left, in a batch filled up with zeros."""
        if self._batch is not None:
            self._batch[self._filled :] = 0
            yield from self._encode(self._batch)
        while self._launched:
            yield from self._fetch()

    def _encode(self, batch: Tensor) -> Iterator[tuple[int, Tensor]]:
        with self._watch.time("compute"):
            module = self._module  # not moved in inference mode, in which its parameters could never be trained again
            with frozen(self._encoder.spec, self._device):
                features = module(batch.to(self._device, non_blocking=self._on_gpu)).float()
        self._launched.append((features, self._owners))
        self._batch, self._owners, self._filled = None, [], 0
        if len(self._launched) > self._ahead:
            yield from self._fetch()

    def _fetch(self) -> Iterator[tuple[int, Tensor]]:
        """Wait for the batch that was launched first."""
        features, owners = self._launched.popleft()
        with self._watch.time("compute"):
            features = features.cpu()
        counts = [rows for _, rows in owners]
        for (position, _), rows in zip(owners, torch.split(features[: sum(counts)], counts), strict=True):
            yield position, rows

    @cached_property
    def _module(self) -> Callable[[Tensor], Tensor]:
        """Move the network when the first batch is full: a run with nothing to do builds nothing."""
        module = self._encoder.module.to(self._device)
        return torch.compile(module, dynamic=False) if self._compiled else module


def even_batch(batch_size: int) -> int:
    """Round a batch size up to what the threads of the CPU share evenly.

    In others, a row's last bits depend on its place: with two threads, a network gave other bits (by up to 4e-6) to
    some rows of a batch of 7 when they were rotated, and never in one of 8 or 12.
    """
    threads = torch.get_num_threads()
    return batch_size if batch_size <= threads else -(-batch_size // threads) * threads
