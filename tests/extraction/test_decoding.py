"""Blocks from worker processes: what is sent together, and what is told of a process that dies."""

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from emoclim.data.manifest import Item
from emoclim.errors import EmoclimError
from emoclim.extraction import workers as decoding
from emoclim.extraction.workers import End, deaths_told, decode

ITEMS = [Item(str(n)) for n in range(30)]


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
    monkeypatch.setattr(decoding, "SENT", sent)
    monkeypatch.setattr(decoding, "ENDED", ended)
    found: dict[int, list[Any]] = {}
    for position, event in decode(Rows(), ITEMS, 2):
        found.setdefault(position, []).append(event.seconds if isinstance(event, End) else event.tolist())
    assert found == {n: [*([[float(n), part]] for part in range(n % 4)), float(n)] for n in range(len(ITEMS))}


@pytest.mark.parametrize("preparer", [Rows(), Bulks()])
def test_parcels_are_small(preparer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parcels: list[int] = []
    unpacked = decoding._Parcel.unpacked

    def counted(self: decoding._Parcel) -> Iterator[Any]:
        parcels.append(self.rows.nbytes + sum(getattr(event, "nbytes", 0) for _, event in self.events))
        return unpacked(self)

    monkeypatch.setattr(decoding._Parcel, "unpacked", counted)
    monkeypatch.setattr(decoding, "SENT", 300)
    monkeypatch.setattr(decoding, "ENDED", 10)
    assert sum(isinstance(event, End) for _, event in decode(preparer, ITEMS, 1)) == len(ITEMS)
    assert len(parcels) > 2
    assert max(parcels) < 600


def test_a_process_that_was_killed_is_told_whatever_this_one_was_doing() -> None:
    """torch raises that in the midst of whatever runs when the signal comes."""
    with (
        pytest.raises(EmoclimError, match="a decoding process was killed, .* memory; all is well"),
        deaths_told("all is well"),
    ):
        raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed.")


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="something else"), deaths_told("nothing"):
        raise RuntimeError("something else")
