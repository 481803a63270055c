"""Find the items of a manifest whose content no cache holds yet, each content once. Used by `extract`.

A file that nobody has hashed before is hashed by the worker just before it decodes it, when its bytes are in the
system's memory anyway; the worker sends the fingerprint ahead of the blocks.
"""

from collections.abc import Collection, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from emoclim.data import (
    ContentKeys,
    Fingerprint,
    Item,
    Manifest,
    UnreachableHosts,
    content_key,
    fetched,
    is_remote,
    read_fingerprint,
    require_unchanged,
)
from emoclim.errors import DecodeError
from emoclim.progress import Stopwatch, Track

if TYPE_CHECKING:
    from emoclim.extraction.workers import Preparer  # loads torch, and a plan may leave nothing to decode

T = TypeVar("T")


class ExtractionPlan:
    """Items to be encoded, with the content keys known so far."""

    def __init__(self, manifest: Manifest, done: Collection[str], contents: ContentKeys, track: Track) -> None:
        self._items, self._done, self._contents = manifest.items, frozenset(done), contents
        self._keys: dict[str, str] = {}  # id -> content key
        self._claimed: dict[str, str] = {}  # content key -> id of the item that is encoded for it
        self._tried: set[str] = set()  # ids of items that were
        self.todo: list[Item] = []
        self.unreadable: dict[str, str] = {}  # reasons by id
        for item in track(manifest.items, description=f"look up {manifest.name}", total=len(manifest.items)):
            try:
                is_part = _is_part(item)  # of a file that others may share
                key = contents(item) if is_part else contents.known(item)
            except DecodeError as error:
                self.unreadable[item.id] = str(error)
                continue
            if key is None or self._claim(item, key):
                self.todo.append(item)

    def key(self, item: Item) -> str | None:
        """Return the content key of an item, if it is known."""
        return self._keys.get(item.id)

    def give_up(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Leave out items, by id, that failed elsewhere; return the reasons by key of those whose content is known."""
        failed = [item for item in self.todo if item.id in reasons]
        self.todo = [item for item in self.todo if item.id not in reasons]
        self.unreadable |= {item.id: reasons[item.id] for item in failed if item.id not in self._keys}
        return {self._keys[item.id]: reasons[item.id] for item in failed if item.id in self._keys}

    def learn(self, item: Item, fingerprint: Fingerprint) -> bool:
        """Record the fingerprint of an item's file; return whether the item is to be encoded."""
        return self._claim(item, self._contents.learn(item, fingerprint))

    def _claim(self, item: Item, key: str) -> bool:
        """Record the key of an item; return False if its content is encoded already, or another item's part."""
        self._keys[item.id] = key
        if key in self._done or key in self._claimed:
            return False
        self._claimed[key] = item.id
        return True

    def try_copies(self, *settled: Collection[str]) -> None:
        """Plan, of each content that is not settled now, another item that has it, where there is one.

        The one that it was to be encoded of could not be read, or has become another.
        """
        self._tried |= {*self._claimed.values()}
        self._claimed, self.todo = {}, []
        for item in self._items:
            key = None if item.id in self._tried else self._keys.get(item.id)
            if key is not None and not any(key in one for one in settled) and self._claim(item, key):
                self.todo.append(item)

    def preparer(self, preparer: "Preparer[T]") -> "HashingPreparer[T]":
        """Wrap a preparer so that it hashes the files of items whose content is not known."""
        unknown = frozenset(item.id for item in self.todo if item.id not in self._keys)
        return HashingPreparer(preparer, unknown, self._contents, set(self._done))

    def keys(self) -> dict[str, str]:
        """Return the content key by id, in order, of the items whose content could be read."""
        return {item.id: self._keys[item.id] for item in self._items if item.id in self._keys}

    def duplicates(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Find ids that share their content with an earlier item, and those of them whose splits differ."""
        first: dict[str, Item] = {}
        duplicates, leaks = [], []
        for item in self._items:
            if item.id not in self._keys or (earlier := first.setdefault(self._keys[item.id], item)) is item:
                continue
            duplicates.append(item.id)
            if earlier.split and item.split and earlier.split != item.split:
                leaks.append(item.id)
        return tuple(duplicates), tuple(leaks)


@dataclass
class Encoded:
    """What encoding the items of a plan came to."""

    encoded: int = 0
    padded: int = 0
    segments: int = 0
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)  # examples by id, by what is remarked
    transient: dict[str, str] = field(default_factory=dict)  # reasons that are none of the content's, by key


@dataclass(frozen=True, slots=True)
class FileRead:
    """Event of a worker: the fingerprint of an item's file, and the seconds that reading it took."""

    fingerprint: Fingerprint
    seconds: float


@dataclass(frozen=True)
class HashingPreparer(Generic[T]):
    """Prepare items like another preparer, with a :class:`FileRead` before the blocks of those not known before."""

    preparer: "Preparer[T]"
    unknown: frozenset[str]  # ids of the items whose fingerprint the plan needs
    contents: ContentKeys  # knows the others, and by now perhaps some of these
    settled: set[str]  # content keys that need no decoding; grows by those found
    hosts: UnreachableHosts = field(default_factory=UnreachableHosts)

    def prepare(self, item: Item) -> Generator[T | FileRead, None, float]:
        """Yield the fingerprint of the file, if it is not known, then the blocks, unless its content is settled."""
        if item.path is None:
            return (yield from self.preparer.prepare(item))
        fingerprint = self.contents.fingerprint(item)
        if not is_remote(item.path):
            return (yield from self._prepare(item, fingerprint))
        with ExitStack() as stack:
            with (watch := Stopwatch()).time("read"):
                here = stack.enter_context(fetched(item, self.hosts))
                found = read_fingerprint(here)
            is_known = fingerprint is not None and fingerprint.digest == found.digest
            return (yield from self._prepare(here, found, not is_known, watch.seconds["read"]))

    def _prepare(
        self, item: Item, fingerprint: Fingerprint | None, is_new: bool = False, fetching: float = 0.0
    ) -> Generator[T | FileRead, None, float]:
        if is_new or fingerprint is None or item.id in self.unknown:
            watch = Stopwatch()
            with watch.time("read"):
                fingerprint = fingerprint or read_fingerprint(item)
            yield FileRead(fingerprint, fetching + watch.seconds["read"])
            key = content_key(item, fingerprint)
            if key in self.settled:
                return 0.0
            self.settled.add(key)
        seconds = yield from self.preparer.prepare(item)
        require_unchanged(item, fingerprint)
        return seconds


def _is_part(item: Item) -> bool:
    """Tell whether an item is a part of a file on this machine, which is read for its content beforehand."""
    timed = item.start is not None or item.duration is not None
    return timed and item.path is not None and not is_remote(item.path)
