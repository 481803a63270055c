"""Blocks from worker processes: what is sent together, and what is told of a process that dies."""

import resource
import sys
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from emoclim.data.manifest import Item
from emoclim.errors import EmoclimError
from emoclim.extraction import workers
from emoclim.extraction.workers import ItemEnd, decode, explain_worker_death

ITEMS = [Item(str(n), text=str(n)) for n in range(30)]


class Rows:
    """Each item as some blocks of one row."""

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        for part in range(int(item.id) % 4):
            yield torch.tensor([[float(item.id), part]])
        return float(item.id)


class Bulk(NamedTuple):
    """A block that is no tensor."""

    content: bytes

    @property
    def nbytes(self) -> int:
        return len(self.content)


class Bulks:
    """Each item as one such block."""

    def prepare(self, item: Item) -> Generator[Bulk, None, float]:
        yield Bulk(item.id.encode() * 100)
        return 1.0


@pytest.mark.parametrize("sent", [1, 40, 10**6])
@pytest.mark.parametrize("ended", [1, 3, 10**6])
def test_what_is_sent_together_arrives_one_by_one(sent: int, ended: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MESSAGE_BYTES", sent)
    monkeypatch.setattr(workers, "MESSAGE_ITEMS", ended)
    found: dict[int, list[Any]] = {}
    for position, event in decode(Rows(), ITEMS, 2):
        found.setdefault(position, []).append(event.seconds if isinstance(event, ItemEnd) else event.tolist())
    assert found == {n: [*([[float(n), part]] for part in range(n % 4)), float(n)] for n in range(len(ITEMS))}


@pytest.mark.parametrize("preparer", [Rows(), Bulks()])
def test_messages_are_small(preparer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[int] = []
    events = workers.Message.events

    def counted(self: workers.Message) -> Iterator[Any]:
        messages.append(self.rows.nbytes + sum(getattr(event, "nbytes", 0) for _, event in self.contents))
        return events(self)

    monkeypatch.setattr(workers.Message, "events", counted)
    monkeypatch.setattr(workers, "MESSAGE_BYTES", 300)
    monkeypatch.setattr(workers, "MESSAGE_ITEMS", 10)
    assert sum(isinstance(event, ItemEnd) for _, event in decode(preparer, ITEMS, 1)) == len(ITEMS)
    assert len(messages) > 2
    assert max(messages) < 600


def test_a_process_that_was_killed_is_told_whatever_this_one_was_doing() -> None:
    """torch raises that in the midst of whatever runs when the signal comes."""
    with (
        pytest.raises(EmoclimError, match="killed.*all is well"),
        explain_worker_death("all is well"),
    ):
        raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed.")


class Crowded(Rows):
    """Items in a process that may not make a file, nor shared memory, of more than ten bytes."""

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        return super().prepare(item)


@pytest.mark.skipif(sys.platform != "linux", reason="of shared memory, others count no files")
def test_what_has_no_room_in_shared_memory_is_told_rather_than_waited_for() -> None:
    with pytest.raises(EmoclimError, match="--shm-size.*all is well"), explain_worker_death("all is well"):
        list(decode(Crowded(), ITEMS, 2))


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="something else"), explain_worker_death("nothing"):
        raise RuntimeError("something else")
