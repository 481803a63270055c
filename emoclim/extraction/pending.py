"""Which items of a manifest are to be encoded: those whose content no cache holds, each content once.

What a file holds is learnt by reading it. Where nobody has done that before, the process that decodes it does it just
before, so that decoding finds the bytes in the memory of the system, and tells what it found.
"""

from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

from emoclim.data import ContentKeys, Fingerprint, Item, Manifest, content_key, read_fingerprint, require_unchanged
from emoclim.errors import DecodeError
from emoclim.extraction.workers import Preparer
from emoclim.progress import Stopwatch, Track

T = TypeVar("T")


class ExtractionPlan:
    """What is known so far of the contents of items."""

    def __init__(self, manifest: Manifest, done: Collection[str], contents: ContentKeys, track: Track) -> None:
        self._items, self._done, self._contents = manifest.items, frozenset(done), contents
        self._keys: dict[str, str] = {}  # id -> content key
        self._claimed: set[str] = set()
        self.todo: list[Item] = []
        self.unreadable: dict[str, str] = {}
        for item in track(manifest.items, description=f"look up {manifest.name}", total=len(manifest.items)):
            try:
                is_part = item.start is not None or item.duration is not None  # of a file that others may share
                key = contents(item) if is_part else contents.known(item)
            except DecodeError as error:
                self.unreadable[item.id] = str(error)
                continue
            if key is None or self._claim(item, key):
                self.todo.append(item)

    def key(self, item: Item) -> str | None:
        """The content key of an item, if it is known."""
        return self._keys.get(item.id)

    def learn(self, item: Item, fingerprint: Fingerprint) -> bool:
        """Take what was read of an item's file; return whether the item is to be encoded."""
        return self._claim(item, self._contents.learn(item, fingerprint))

    def _claim(self, item: Item, key: str) -> bool:
        """Note the key of an item; False if its content is encoded already, or another item's part."""
        self._keys[item.id] = key
        if key in self._done or key in self._claimed:
            return False
        self._claimed.add(key)
        return True

    def reader(self, preparer: Preparer[T]) -> "Reader[T]":
        """What decodes the items that are to be done, and reads those that are not known."""
        unknown = frozenset(item.id for item in self.todo if item.id not in self._keys)
        return Reader(preparer, unknown, self._contents, set(self._done))

    def keys(self) -> dict[str, str]:
        """Content key by id, in order, of the items whose content could be read."""
        return {item.id: self._keys[item.id] for item in self._items if item.id in self._keys}

    def twins(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids that share their content with an earlier item; those of them whose earlier item is in another split."""
        first: dict[str, Item] = {}
        duplicates, leaks = [], []
        for item in self._items:
            if item.id not in self._keys or (earlier := first.setdefault(self._keys[item.id], item)) is item:
                continue
            duplicates.append(item.id)
            if earlier.split and item.split and earlier.split != item.split:
                leaks.append(item.id)
        return tuple(duplicates), tuple(leaks)


@dataclass(frozen=True, slots=True)
class Known:
    """What a file was found to be, and the seconds that reading it took."""

    fingerprint: Fingerprint
    seconds: float


@dataclass(frozen=True)
class Reader(Generic[T]):
    """Prepares items like another preparer, with a :class:`Known` before the blocks of those not known before."""

    preparer: Preparer[T]
    unknown: frozenset[str]  # ids of the items of which the plan is to be told what they are
    contents: ContentKeys  # what knows the others, and by now perhaps some of these
    settled: set[str]  # content keys that need no decoding if they are found out; grows by those

    def prepare(self, item: Item) -> Generator[T | Known, None, float]:
        """Yield what the file is, if that is not known, and the blocks, unless there is no need."""
        if item.path is None:
            return (yield from self.preparer.prepare(item))
        fingerprint = self.contents.fingerprint(item)
        if fingerprint is None or item.id in self.unknown:
            watch = Stopwatch()
            with watch.time("read"):
                fingerprint = fingerprint or read_fingerprint(item)
            yield Known(fingerprint, watch.seconds["read"])
            key = content_key(item, fingerprint)
            if key in self.settled:
                return 0.0
            self.settled.add(key)
        seconds = yield from self.preparer.prepare(item)
        require_unchanged(item, fingerprint)
        return seconds
