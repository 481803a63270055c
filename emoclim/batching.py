"""Items to batches: decoding in worker processes, and packing of segments into batches of one fixed shape.

Conventions: an item is known by its position in the list to be encoded. Its blocks come in order; blocks of items that
different workers decode are interleaved, in the same way each time.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from emoclim.data.manifest import Item
from emoclim.encoders.base import Encoder, frozen
from emoclim.errors import DecodeError, EmoclimError, MissingLibrary
from emoclim.progress import Stopwatch

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Preparer(Protocol[T_co]):
    """What makes blocks of an item in a worker process; every :class:`Encoder` does."""

    def prepare(self, item: Item) -> Generator[T_co, None, float]:
        """Yield the blocks of an item; return its decoded length in seconds; or raise :class:`DecodeError`."""
        ...


@dataclass(frozen=True, slots=True)
class End:
    """The last word on one item: its decoded seconds, or why there are none."""

    seconds: float = 0.0
    reason: str | None = None
    lasting: bool = True  # another run would find the same reason
    decoding: float = 0.0  # seconds that it took a worker


DIED = "DataLoader worker (pid"  # how torch begins to tell that a worker is gone, not that it raised something

Event: TypeAlias = tuple[int, T | End]  # position in the plan; a block, or the end of the item


class _Decoder(IterableDataset[Event[T]], Generic[T]):
    """The blocks of some items; worker w of W takes items w, w + W, ..."""

    def __init__(self, preparer: Preparer[T], items: Sequence[Item]) -> None:
        self._preparer, self._items = preparer, items

    def __iter__(self) -> Iterator[Event[T]]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for position in range(first, len(self._items), step):
            watch = Stopwatch()
            try:
                blocks = self._preparer.prepare(self._items[position])
                while True:
                    try:
                        with watch.time("decode"):
                            block = next(blocks)
                    except StopIteration as end:
                        yield position, End(seconds=end.value, decoding=watch.seconds["decode"])
                        break
                    yield position, block
            except DecodeError as error:
                lasting = not isinstance(error, MissingLibrary)
                yield position, End(reason=str(error), lasting=lasting, decoding=watch.seconds["decode"])


def _as_is(event: Any) -> Any:
    return event


def decode(preparer: Preparer[T], items: Sequence[Item], workers: int) -> Iterator[Event[T]]:
    """Decode items into blocks.

    Parameters
    ----------
    preparer
        Makes the blocks: an encoder, for one.
    items
        What to decode.
    workers
        Processes that do it; 0 decodes in this one.

    Yields
    ------
    tuple
        ``(position, block)`` for each block, and ``(position, End)`` once for each item.

    Raises
    ------
    EmoclimError
        One of the processes was killed.
    """
    dataset = _Decoder(preparer, items)
    if workers == 0 or not items:
        yield from dataset
        return
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_is,
        generator=torch.Generator(),  # the loader draws a seed that nothing here uses: not from the global one
    )
    try:
        yield from loader
    except RuntimeError as error:
        if not str(error).startswith(DIED):
            raise
        raise EmoclimError(
            "a decoding process was killed, probably for want of memory; what was committed is kept: "
            "run again, with fewer --workers"
        ) from error


class Packer:
    """Collects segments of any items into batches of a fixed shape, and hands back features by item.

    Features of a GPU are fetched when it has the next batch to work on. The time of the network is counted as
    ``compute``.
    """

    def __init__(
        self, encoder: Encoder, batch_size: int, device: torch.device, watch: Stopwatch, *, ahead: int | None = None
    ) -> None:
        self._encoder, self._device, self._watch = encoder, device, watch
        self._ahead = (1 if device.type == "cuda" else 0) if ahead is None else ahead
        self._launched: deque[tuple[Tensor, list[tuple[int, int]]]] = deque()  # ((batch size, D), (position, rows))
        self._batch_size = _even(batch_size) if device.type == "cpu" else batch_size
        self._waiting: deque[tuple[int, Tensor]] = deque()  # (position, (S, *input_shape))
        self._rows = 0

    def add(self, position: int, block: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Take a block; yield ``(position, (s, D))`` of whatever got encoded."""
        self._waiting.append((position, block.clone()))  # gives the memory shared with a worker back
        self._rows += len(block)
        while self._rows >= self._batch_size:
            yield from self._encode()

    def flush(self) -> Iterator[tuple[int, Tensor]]:
        """Encode what is left, in a batch filled up with zeros."""
        if self._rows:
            yield from self._encode()
        while self._launched:
            yield from self._fetch()

    def _encode(self) -> Iterator[tuple[int, Tensor]]:
        batch = torch.zeros(self._batch_size, *self._encoder.input_shape, pin_memory=self._device.type == "cuda")
        owners: list[tuple[int, int]] = []  # (position, rows)
        filled = 0
        while self._waiting and filled < self._batch_size:
            position, block = self._waiting.popleft()
            taken = min(len(block), self._batch_size - filled)
            batch[filled : filled + taken] = block[:taken]
            if taken < len(block):
                self._waiting.appendleft((position, block[taken:]))
            owners.append((position, taken))
            filled += taken
        self._rows -= filled
        with self._watch.time("compute"):
            module = self._module  # not moved in inference mode, in which its parameters could never be trained again
            with frozen(self._encoder.spec, self._device):
                self._launched.append((module(batch.to(self._device, non_blocking=True)).float(), owners))
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
    def _module(self) -> nn.Module:
        """Built when the first batch is full: a run with nothing to do builds nothing."""
        return self._encoder.module.to(self._device)


def _even(batch_size: int) -> int:
    """A batch that the threads of the CPU share evenly: in others, a row's last bits depend on its place.

    With two threads, a network gave other bits (by up to 4e-6) to some rows of a batch of 7 when they were rotated, and
    never in one of 8 or 12.
    """
    threads = torch.get_num_threads()
    return batch_size if batch_size <= threads else -(-batch_size // threads) * threads
