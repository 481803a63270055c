"""Decode items in DataLoader worker processes. Used by extraction, the waveform store and training on files.

An item is known by its position in the list to be decoded. Its blocks come in order; blocks of items that different
workers decode are interleaved, in the same way each time. Workers send messages of about :data:`MESSAGE_BYTES`, for
each costs the receiver about as much as copying a picture.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from emoclim.data import Item
from emoclim.encoders import flush_denormals
from emoclim.errors import DecodeError, EmoclimError, MissingLibrary, PassingError
from emoclim.extraction.glibc_malloc import give_back_freed_memory, trim_periodically
from emoclim.progress import Stopwatch

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

MESSAGE_BYTES = 2**20  # of blocks that a worker sends at once; seven pictures of 224 x 224
MESSAGE_ITEMS = 64  # or so many items that have ended
TRIM_INTERVAL = 1.0  # seconds from one time that a worker gives free memory back to the next; it frees little
DIED = "DataLoader worker (pid"  # how torch begins to tell that a worker is gone, not that it raised something
SHARED = "</torch_"  # what torch names in shared memory begins so


class Preparer(Protocol[T_co]):
    """Makes blocks of an item in a worker process; every :class:`Encoder` does. Large blocks have `nbytes`."""

    def prepare(self, item: Item) -> Generator[T_co, None, float]:
        """Yield the blocks of an item; return its decoded length in seconds; or raise :class:`DecodeError`."""


@dataclass(frozen=True, slots=True)
class ItemEnd:
    """Last event of an item: its decoded seconds, or why there are none."""

    seconds: float = 0.0
    reason: str | None = None
    permanent: bool = True  # another run would fail for the same reason
    decoding: float = 0.0  # seconds that it took a worker


Event: TypeAlias = tuple[int, T | ItemEnd]  # position in the list; a block, or the end of the item


def decode(preparer: Preparer[T], items: Sequence[Item], workers: int) -> Iterator[Event[T]]:
    """Decode items into blocks, in this process if `workers` is 0; use it within :func:`explain_worker_death`."""
    if workers == 0 or not items:
        yield from _events(preparer, items, range(len(items)))
        return
    for message in plain_loader(_MessageDataset(preparer, items), workers):
        yield from message.events()


def plain_loader(dataset: Dataset[T], workers: int, **options: Any) -> DataLoader[T]:
    """Load what a data set yields, as it is, in worker processes that compute and free memory as decoding needs it."""
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_is,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # the loader draws a seed that nothing here uses: not from the global one
        **options,
    )


@contextmanager
def explain_worker_death(advice: str) -> Iterator[None]:
    """Raise :class:`EmoclimError` with `advice` if a worker process is killed, or cannot send what it decoded."""
    try:
        yield
    except RuntimeError as error:
        if SHARED in str(error):
            reason = "there is no room in shared memory for what is decoded; make more (docker run --shm-size=2g)"
        elif str(error).startswith(DIED):
            reason = "a decoding process was killed, probably for want of memory"
        else:
            raise
        raise EmoclimError(f"{reason}; {advice}") from error


def shared(tensor: Tensor) -> Tensor:
    """Move what a worker process is to send into shared memory; where the loader does it, an error is only printed."""
    if len(tensor) and get_worker_info() is not None:
        tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


def _events(preparer: Preparer[T], items: Sequence[Item], positions: Sequence[int]) -> Iterator[Event[T]]:
    """Yield the blocks and ends of some of the items."""
    for position in positions:
        watch = Stopwatch()
        try:
            blocks = preparer.prepare(items[position])
            while True:
                try:
                    with watch.time("decode"):
                        block = next(blocks)
                except StopIteration as end:
                    yield position, ItemEnd(seconds=end.value, decoding=watch.seconds["decode"])
                    break
                yield position, block
        except (DecodeError, MissingLibrary) as error:
            permanent = not isinstance(error, (PassingError, MissingLibrary))
            yield position, ItemEnd(reason=str(error), permanent=permanent, decoding=watch.seconds["decode"])


class Message(NamedTuple):
    """Some events of a worker; the blocks among them that are tensors are joined to one."""

    rows: Tensor  # (R, ...)
    contents: list[tuple[int, Any]]  # events; in the place of a block that is a tensor, the number of its rows

    @classmethod
    def of(cls, events: Sequence[Event[Any]]) -> "Message":
        """Pack events."""
        blocks = [event for _, event in events if isinstance(event, Tensor)]
        contents = [(position, len(event) if isinstance(event, Tensor) else event) for position, event in events]
        return cls(shared(torch.cat(blocks)) if blocks else torch.empty(0), contents)

    def events(self) -> Iterator[Event[Any]]:
        """Unpack the events."""
        first = 0
        for position, event in self.contents:
            if isinstance(event, int):
                yield position, self.rows[first : first + event]
                first += event
            else:
                yield position, event


class _MessageDataset(IterableDataset[Message]):
    """The events of some items as messages; worker w of W takes items w, w + W, ..."""

    def __init__(self, preparer: Preparer[Any], items: Sequence[Item]) -> None:
        self._preparer, self._items = preparer, items

    def __iter__(self) -> Iterator[Message]:
        worker = get_worker_info()
        if worker is None:
            raise RuntimeError("messages are made in worker processes only")
        waiting: list[Event[Any]] = []
        size = ended = 0
        own = range(worker.id, len(self._items), worker.num_workers)
        for position, event in trim_periodically(_events(self._preparer, self._items, own), TRIM_INTERVAL):
            waiting.append((position, event))
            size += getattr(event, "nbytes", 0)
            ended += isinstance(event, ItemEnd)
            if size >= MESSAGE_BYTES or ended >= MESSAGE_ITEMS:
                yield Message.of(waiting)
                waiting, size, ended = [], 0, 0
        if waiting:
            yield Message.of(waiting)


def _start_worker(_: int) -> None:
    flush_denormals()
    give_back_freed_memory()  # what the network of the other process needs would only pile up here


def _as_is(event: Any) -> Any:
    return event
