"""Manifest x encoder -> cache: encode what is missing, once.

Conventions: items are decoded in worker processes, block by block and in order; segments of several items are packed
into batches of one fixed shape (the last one filled up with zeros), so that a resumed run gives the bytes of an
uninterrupted one; an item is committed when all its segments are encoded.
"""

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from emoclim.allocation import FreedMemory
from emoclim.batching import End, Event, Packer, decode
from emoclim.cache.base import EncodedItem, FeatureCache
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders.base import Encoder
from emoclim.errors import DecodeError
from emoclim.progress import Stopwatch, Track, silent
from emoclim.reports.extraction import Extraction, Failure, Timing

CPU_BATCH, GPU_BATCH = 16, 64  # segments; on a CPU, more take memory and save no time
COMMIT_ITEMS = 256  # are committed as soon as the pause is over, fewer after some time: what a kill may cost
COMMIT_PAUSE, COMMIT_SECONDS = 1.0, 10.0
READERS = 8  # threads that hash files which are not known yet
ITEMS_AT_ONCE = 64  # that one of them takes


def extract(
    manifest: Manifest,
    encoder: Encoder,
    cache: FeatureCache,
    *,
    batch_size: int | None = None,
    workers: int = 0,
    device: torch.device | str = "cpu",
    track: Track = silent,
    keys: Callable[[Item], str] | None = None,
    keep_segments: bool = True,
    retry_failed: bool = False,
    elsewhere: Collection[str] = frozenset(),
) -> Extraction:
    """Encode the items of a manifest that a cache does not hold yet.

    Parameters
    ----------
    manifest
        What to encode.
    encoder
        With what; its module runs in eval mode and without gradients.
    cache
        Opened for writing, of the encoder's spec.
    batch_size
        Segments per forward pass; on a CPU, rounded up to a multiple of its threads. None takes 16 there, 64 elsewhere.
    workers
        Processes that decode; 0 decodes in this one.
    device
        Where the module runs.
    track
        Shows progress over items.
    keys
        Content key of an item, asked by several threads; default a fresh :class:`ContentKeys`.
    keep_segments
        Keep the feature of every segment beside their mean.
    retry_failed
        Try contents again that failed in an earlier run.
    elsewhere
        Content keys that another cache holds: not to be encoded, and counted as reused.

    Raises
    ------
    CacheMismatch
        The cache is of another spec.
    """
    cache.spec.require(encoder.spec, "the cache")
    watch = Stopwatch()
    with watch.time("total"):
        with watch.time("read"):
            done = cache.keys() | (frozenset() if retry_failed else cache.failures().keys()) | frozenset(elsewhere)
            plan = _plan(manifest, done, _keys(manifest, keys or ContentKeys(), track))
        where = torch.device(device)
        packer = Packer(encoder, batch_size or (CPU_BATCH if where.type == "cpu" else GPU_BATCH), where, watch)
        writer = _Writer(cache, encoder, keep_segments, watch)
        memory = FreedMemory(where)
        events = memory.between(watch.each(decode(encoder, [item for _, item in plan.todo], workers), "waiting"))
        with memory, closing(_finished(events, plan.todo, packer, writer)) as finished:
            for _ in track(finished, description=f"encode {manifest.name}", total=len(plan.todo)):
                pass
    reasons = {**cache.failures(), **writer.passing}
    failures = tuple(
        Failure(item.id, item.path, plan.unreadable.get(item.id) or reasons[plan.keys[item.id]])
        for item in manifest.items
        if item.id in plan.unreadable or plan.keys[item.id] in reasons
    )
    return Extraction(
        encoded=writer.encoded,
        reused=len(manifest.items) - len(failures) - writer.encoded,
        failures=failures,
        padded=writer.padded,
        duplicates=plan.duplicates,
        leaks=plan.leaks,
        timing=Timing(**{kind.name: watch.seconds[kind.name] for kind in fields(Timing)}),
        keys=plan.keys,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    keys: dict[str, str]  # id -> content key
    unreadable: dict[str, str]  # id -> reason
    todo: list[tuple[str, Item]]
    duplicates: tuple[str, ...]
    leaks: tuple[str, ...]


def _keys(manifest: Manifest, key_of: Callable[[Item], str], track: Track) -> Iterator[str | DecodeError]:
    """Content key of each item in turn, or why it has none; several threads are ahead."""

    def read(items: Sequence[Item]) -> list[str | DecodeError]:
        return [_key(item, key_of) for item in items]

    items = manifest.items
    parts = [items[first : first + ITEMS_AT_ONCE] for first in range(0, len(items), ITEMS_AT_ONCE)]
    readers = ThreadPoolExecutor(READERS)
    try:
        found = (key for keys in readers.map(read, parts) for key in keys)
        yield from track(found, description=f"read {manifest.name}", total=len(items))
    finally:
        readers.shutdown(cancel_futures=True)


def _key(item: Item, key_of: Callable[[Item], str]) -> str | DecodeError:
    try:
        return key_of(item)
    except DecodeError as error:
        return error


def _plan(manifest: Manifest, done: Collection[str], found: Iterable[str | DecodeError]) -> _Plan:
    """Which contents are to be encoded; each once, however many items share it."""
    keys: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    first: dict[str, Item] = {}
    duplicates, leaks = [], []
    for item, key in zip(manifest.items, found, strict=True):
        if isinstance(key, DecodeError):
            unreadable[item.id] = str(key)
            continue
        keys[item.id] = key
        if (earlier := first.setdefault(key, item)) is not item:
            duplicates.append(item.id)
            if earlier.split and item.split and earlier.split != item.split:
                leaks.append(item.id)
    todo = [(key, item) for key, item in first.items() if key not in done]
    return _Plan(keys, unreadable, todo, tuple(duplicates), tuple(leaks))


class _Writer:
    """Commits finished items, some at a time."""

    def __init__(self, cache: FeatureCache, encoder: Encoder, keep_segments: bool, watch: Stopwatch) -> None:
        self._cache, self._encoder, self._keep_segments, self._watch = cache, encoder, keep_segments, watch
        self._pending: list[EncodedItem] = []
        self._since = time.monotonic()
        self.encoded = 0
        self.padded = 0
        self.passing: dict[str, str] = {}  # reasons that are none of the content's

    def take(self, key: str, item: Item, segments: Tensor, end: End) -> None:
        """Note one finished item: its segments ``(S, D)``, and how it ended."""
        self._watch.seconds["decode"] += end.decoding
        reason = end.reason
        if reason is None and not len(segments):
            reason = "the encoder found no segment in it"
        if reason is None and not segments.isfinite().all():
            reason = "the encoder gave numbers that are not finite"
        if reason is not None:
            if end.lasting:
                with self._watch.time("write"):
                    self._cache.record_failure(key, reason)
            else:
                self.passing[key] = reason
            return
        if self._encoder.spec.views:  # the first row is the item itself
            value, segments = segments[0], segments[1:]
        else:
            value = segments.mean(0)
        encoded = EncodedItem(key, value, seconds=end.seconds)
        if self._keep_segments:
            starts = (item.start or 0.0) + torch.arange(len(segments)) * self._encoder.hop_seconds
            encoded = replace(encoded, segments=segments, starts=starts)
        self._pending.append(encoded)
        self.encoded += 1
        self.padded += 0 < end.seconds < self._encoder.segment_seconds
        if time.monotonic() - self._since > (COMMIT_PAUSE if len(self._pending) >= COMMIT_ITEMS else COMMIT_SECONDS):
            self.commit()

    def commit(self) -> None:
        """Put the pending items into the cache."""
        if self._pending:
            with self._watch.time("write"):
                self._cache.append(self._pending)
        self._pending, self._since = [], time.monotonic()


@dataclass(slots=True)
class _Open:
    """An item on its way: rows decoded, features encoded, and how it ended if it did."""

    decoded: int = 0
    encoded: list[Tensor] = field(default_factory=list)  # (s, D) each
    end: End | None = None

    def is_done(self) -> bool:
        failed = self.end is not None and self.end.reason is not None
        return failed or (self.end is not None and sum(map(len, self.encoded)) == self.decoded)


def _finished(
    events: Iterator[Event[Tensor]], todo: Sequence[tuple[str, Item]], packer: Packer, writer: _Writer
) -> Generator[str, None, None]:
    """Drive decoding, encoding and writing; yield the key of each item that is done."""
    on_the_way: dict[int, _Open] = {}

    def settle(position: int) -> Iterator[str]:
        state = on_the_way[position]
        if state.end is not None and state.is_done():
            key, item = todo[position]
            writer.take(key, item, torch.cat(state.encoded) if state.encoded else torch.empty(0, 0), state.end)
            del on_the_way[position]
            yield key

    def collect(features: Iterator[tuple[int, Tensor]]) -> Iterator[str]:
        for position, rows in features:
            if position in on_the_way:  # or else it failed after its first blocks
                on_the_way[position].encoded.append(rows)
                yield from settle(position)

    try:
        for position, event in events:
            state = on_the_way.setdefault(position, _Open())
            if isinstance(event, End):
                state.end = event
                yield from settle(position)
            else:
                state.decoded += len(event)
                yield from collect(packer.add(position, event))
        yield from collect(packer.flush())
    finally:
        writer.commit()
