"""What a run of extraction did, and where its time went."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be encoded, and why."""

    id: str
    path: Path | None
    reason: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a run went, in seconds.

    Attributes
    ----------
    read
        Reading files to know their content, where the memo did not, added up over the processes that did it.
    decode
        Decoding and cutting, added up in the same way.
    waiting
        Waiting for something decoded; without worker processes, reading and decoding itself.
    compute
        The network.
    write
        The cache, in a thread of its own.
    blocked
        Waiting for that thread.
    total
        By the clock.
    """

    read: float
    decode: float
    waiting: float
    compute: float
    write: float
    blocked: float
    total: float

    @property
    def bottleneck(self) -> str:
        """What kept the clock running longest: ``read``, ``decode``, ``compute`` or ``write``."""
        source = "read" if self.read > self.decode else "decode"
        kinds = {source: self.waiting, "compute": self.compute, "write": self.blocked}
        return max(kinds, key=kinds.__getitem__)


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a run of :func:`emoclim.stages.extract.extract` did with the items of its manifest.

    Attributes
    ----------
    encoded
        Items encoded now.
    reused
        Items that were in the cache, or have the same content as another item.
    failures
        Items that cannot be encoded, now or in an earlier run, in the manifest's order.
    padded
        Items encoded now that are shorter than one segment, and were repeated to fill it.
    duplicates
        Ids that share their content with an earlier item.
    leaks
        The ids among them whose earlier item is in another split.
    timing
        Where the time went.
    keys
        Content key by id, of the items whose content can be read.
    """

    encoded: int
    reused: int
    failures: tuple[Failure, ...]
    padded: int
    duplicates: tuple[str, ...]
    leaks: tuple[str, ...]
    timing: Timing
    keys: Mapping[str, str]
