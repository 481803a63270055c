"""Items to blocks, in worker processes.

Conventions: an item is known by its position in the list to be decoded. Its blocks come in order; blocks of items that
different workers decode are interleaved, in the same way each time. What workers send is as large as :data:`SENT`, for
each message costs the receiver about as much as copying a picture.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from emoclim.data import Item
from emoclim.encoders import flush_denormals
from emoclim.errors import DecodeError, EmoclimError, PassingError
from emoclim.extraction.glibc_malloc import Trimming, give_back_freed_memory
from emoclim.progress import Stopwatch

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

SENT = 2**20  # bytes of blocks that a worker sends at once; seven pictures of 224 x 224
ENDED = 64  # or so many items
TRIMMED = 1.0  # seconds from one time that a worker gives free memory back to the next; it frees little
DIED = "DataLoader worker (pid"  # how torch begins to tell that a worker is gone, not that it raised something


class Preparer(Protocol[T_co]):
    """What makes blocks of an item in a worker process; every :class:`Encoder` does.

    A block that holds much says how much, as tensors do: `nbytes`.
    """

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


Event: TypeAlias = tuple[int, T | End]  # position in the plan; a block, or the end of the item


def decode(preparer: Preparer[T], items: Sequence[Item], workers: int) -> Iterator[Event[T]]:
    """Decode items into blocks.

    Notes
    -----
    Use it within :func:`deaths_told`.
    """
    if workers == 0 or not items:
        yield from _events(preparer, items, range(len(items)))
        return
    loader = DataLoader(
        _Decoder(preparer, items),
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_is,
        worker_init_fn=_begin,
        generator=torch.Generator(),  # the loader draws a seed that nothing here uses: not from the global one
    )
    for parcel in loader:
        yield from parcel.unpacked()


@contextmanager
def deaths_told(remedy: str) -> Iterator[None]:
    """Say so if a worker process is killed, whatever this one was doing when it learnt of it."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(DIED):
            raise
        raise EmoclimError(f"a decoding process was killed, probably for want of memory; {remedy}") from error


def _events(preparer: Preparer[T], items: Sequence[Item], positions: Sequence[int]) -> Iterator[Event[T]]:
    """The blocks and ends of some of the items."""
    for position in positions:
        watch = Stopwatch()
        try:
            blocks = preparer.prepare(items[position])
            while True:
                try:
                    with watch.time("decode"):
                        block = next(blocks)
                except StopIteration as end:
                    yield position, End(seconds=end.value, decoding=watch.seconds["decode"])
                    break
                yield position, block
        except DecodeError as error:
            lasting = not isinstance(error, PassingError)
            yield position, End(reason=str(error), lasting=lasting, decoding=watch.seconds["decode"])


class _Parcel(NamedTuple):
    """Some events; the blocks among them that are tensors are joined to one."""

    rows: Tensor  # (R, ...)
    events: list[tuple[int, Any]]  # in the place of such a block, the number of its rows

    @classmethod
    def of(cls, events: Sequence[Event[Any]]) -> "_Parcel":
        blocks = [event for _, event in events if isinstance(event, Tensor)]
        told = [(position, len(event) if isinstance(event, Tensor) else event) for position, event in events]
        return cls(torch.cat(blocks) if blocks else torch.empty(0), told)

    def unpacked(self) -> Iterator[Event[Any]]:
        first = 0
        for position, event in self.events:
            if isinstance(event, int):
                yield position, self.rows[first : first + event]
                first += event
            else:
                yield position, event


class _Decoder(IterableDataset[_Parcel]):
    """The events of some items in parcels; worker w of W takes items w, w + W, ..."""

    def __init__(self, preparer: Preparer[Any], items: Sequence[Item]) -> None:
        self._preparer, self._items = preparer, items

    def __iter__(self) -> Iterator[_Parcel]:
        worker = get_worker_info()
        if worker is None:
            raise RuntimeError("parcels are made in worker processes only")
        waiting: list[Event[Any]] = []
        size = ended = 0
        own = range(worker.id, len(self._items), worker.num_workers)
        for position, event in Trimming(TRIMMED).between(_events(self._preparer, self._items, own)):
            waiting.append((position, event))
            size += getattr(event, "nbytes", 0)
            ended += isinstance(event, End)
            if size >= SENT or ended >= ENDED:
                yield _Parcel.of(waiting)
                waiting, size, ended = [], 0, 0
        if waiting:
            yield _Parcel.of(waiting)


def _begin(_: int) -> None:
    flush_denormals()
    give_back_freed_memory()  # what the network of the other process needs would only pile up here


def _as_is(event: Any) -> Any:
    return event
