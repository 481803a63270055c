"""Hold what a run of extraction did with its items, and where its time went."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from emoclim.errors import name_some

SHOWN = 3  # of the items that something is odd about


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be encoded, and why."""

    id: str
    path: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a run went, in seconds."""

    read: float  # or fetch files, to know their content where the memo did not; added up over processes
    decode: float  # and cut; added up over processes
    waiting: float  # for something decoded; without worker processes, reading and decoding itself
    compute: float  # the network
    write: float  # the cache, in a thread of its own
    blocked: float  # waiting for that thread
    total: float  # by the clock

    @property
    def bottleneck(self) -> str:
        """What kept the clock running longest: ``read``, ``decode``, ``compute`` or ``write``."""
        source = "read" if self.read > self.decode else "decode"
        kinds = {source: self.waiting, "compute": self.compute, "write": self.blocked}
        return max(kinds, key=kinds.__getitem__)


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a run of :func:`emoclim.stages.extracting.extract` did with the items of its manifest."""

    encoded: int
    reused: int  # were in the cache, or have the same content as another item
    failures: tuple[Failure, ...]  # now or in an earlier run, in the manifest's order
    padded: int  # encoded now, shorter than one segment, and repeated to fill it
    duplicates: tuple[str, ...]  # ids that share their content with an earlier item
    leaks: tuple[str, ...]  # those among them whose earlier item is in another split
    timing: Timing
    keys: Mapping[str, str]  # content key by id, of the items whose content can be read
    segments: int = 0  # of the items that were encoded now
    # Of those encoded, by workers of a command that was stopped; of their shards, only total leaves out the seconds
    resumed: int = 0
    # What is odd about items that were encoded now, in words that follow "12 texts"; of each an example, by id
    remarks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def remarks_on(self, nouns: str) -> list[str]:
        """Say what is odd about items, a sentence each, in the words for them: ``"2 of 400 texts have words ..."``."""
        told = []
        for about, examples in self.remarks.items():
            shown = [id_ + (f": {example}" if example else "") for id_, example in examples.items()]
            told.append(f"{len(examples)} of {self.encoded} {nouns} {about} ({name_some(shown, SHOWN, '; ')})")
        return told
