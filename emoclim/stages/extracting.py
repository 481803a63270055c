"""Manifest x encoder -> cache: encode what is missing, once.

Conventions: items are read and decoded in worker processes, block by block and in order; segments of several items are
packed into batches of one fixed shape (the last one filled up with zeros), so that a resumed run gives the bytes of an
uninterrupted one; an item is committed when all its segments are encoded.
"""

from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from emoclim.cache import EncodedItem, FeatureCache
from emoclim.data import ContentKeys, Item, Manifest
from emoclim.encoders import Encoder
from emoclim.extraction import (
    Committer,
    End,
    Event,
    ExtractionPlan,
    FreedMemory,
    Known,
    Packer,
    Trimming,
    deaths_told,
    decode,
)
from emoclim.progress import Stopwatch, Track, silent
from emoclim.reports import Extraction, Failure, Timing

KEPT = "what was committed is kept: run again, with fewer --workers"
CPU_BATCH, GPU_BATCH = 8, 64  # segments; on a CPU, more take memory and save no time


def extract(
    manifest: Manifest,
    encoder: Encoder,
    cache: FeatureCache,
    *,
    batch_size: int | None = None,
    workers: int = 0,
    device: torch.device | str = "cpu",
    track: Track = silent,
    keys: ContentKeys | None = None,
    keep_segments: bool = True,
    compiled: bool = False,
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
        Segments per forward pass; on a CPU, more than its threads are rounded up to a multiple of them. None takes 8
        there, 64 elsewhere.
    workers
        Processes that decode; 0 decodes in this one.
    device
        Where the module runs.
    track
        Shows progress over items.
    keys
        Knows what the files are that were read before, and is told of the others; default knows none.
    keep_segments
        Keep the feature of every segment beside their mean.
    compiled
        Compile the network first, which takes a while, and moves features by some millionths.
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
        done = cache.keys() | (frozenset() if retry_failed else cache.failures().keys()) | frozenset(elsewhere)
        plan = ExtractionPlan(manifest, done, keys or ContentKeys(), track)
        where = torch.device(device)
        packer = Packer(
            encoder, batch_size or (CPU_BATCH if where.type == "cpu" else GPU_BATCH), where, watch, compiled=compiled
        )
        events = Trimming().between(watch.each(decode(plan.reader(encoder), plan.todo, workers), "waiting"))
        with FreedMemory(where), deaths_told(KEPT), Committer(cache, watch) as committer:
            run = _Run(plan, packer, encoder, committer, keep_segments, watch)
            with closing(run.finished(events)) as finished:
                for _ in track(finished, description=f"encode {manifest.name}", total=len(plan.todo)):
                    pass
    found, reasons = plan.keys(), {**cache.failures(), **run.passing}
    failures = tuple(
        Failure(item.id, item.path, plan.unreadable.get(item.id) or reasons[found[item.id]])
        for item in manifest.items
        if item.id in plan.unreadable or found[item.id] in reasons
    )
    duplicates, leaks = plan.twins()
    return Extraction(
        encoded=run.encoded,
        reused=len(manifest.items) - len(failures) - run.encoded,
        failures=failures,
        padded=run.padded,
        duplicates=duplicates,
        leaks=leaks,
        timing=Timing(**{kind.name: watch.seconds[kind.name] for kind in fields(Timing)}),
        keys=found,
    )


@dataclass(slots=True)
class _Open:
    """An item on its way: whether it is wanted, rows decoded, features encoded, and how it ended if it did."""

    wanted: bool = True
    decoded: int = 0
    encoded: list[Tensor] = field(default_factory=list)  # (s, D) each
    end: End | None = None

    def is_done(self) -> bool:
        if self.end is None:
            return False
        return not self.wanted or self.end.reason is not None or sum(map(len, self.encoded)) == self.decoded


@dataclass
class _Run:
    """Takes items from what is decoded of them to what is committed, and counts."""

    plan: ExtractionPlan
    packer: Packer
    encoder: Encoder
    committer: Committer
    keep_segments: bool
    watch: Stopwatch
    encoded: int = 0
    padded: int = 0
    passing: dict[str, str] = field(default_factory=dict)  # reasons that are none of the content's, by key
    _open: dict[int, _Open] = field(default_factory=dict)

    def finished(self, events: Iterator[Event[Tensor | Known]]) -> Generator[str, None, None]:
        """Yield the id of each item that is done."""
        for position, event in events:
            self.committer.commit_in_time()
            state = self._open.setdefault(position, _Open())
            if isinstance(event, End):
                state.end = event
                yield from self._settle(position)
            elif isinstance(event, Known):
                self.watch.seconds["read"] += event.seconds
                self.watch.seconds["decode"] -= event.seconds  # which the end will bring
                state.wanted = self.plan.learn(self.plan.todo[position], event.fingerprint)
            elif state.wanted:
                state.decoded += len(event)
                yield from self._collect(self.packer.add(position, event))
        yield from self._collect(self.packer.flush())

    def _collect(self, features: Iterator[tuple[int, Tensor]]) -> Iterator[str]:
        for position, rows in features:
            if position in self._open:  # or else it failed after its first blocks
                self._open[position].encoded.append(rows)
                yield from self._settle(position)

    def _settle(self, position: int) -> Iterator[str]:
        state = self._open[position]
        if state.end is not None and state.is_done():
            item = self.plan.todo[position]
            self.watch.seconds["decode"] += state.end.decoding
            if state.wanted:
                self._take(item, torch.cat(state.encoded) if state.encoded else torch.empty(0, 0), state.end)
            del self._open[position]
            yield item.id

    def _take(self, item: Item, segments: Tensor, end: End) -> None:
        """Note one finished item: its segments ``(S, D)``, and how it ended."""
        key, reason = self.plan.key(item), end.reason
        if key is None:
            self.plan.unreadable[item.id] = reason or "its content cannot be told"
            return
        if reason is None and not len(segments):
            reason = "the encoder found no segment in it"
        if reason is None and not segments.isfinite().all():
            reason = "the encoder gave numbers that are not finite"
        if reason is None:
            self.committer.append(self._encoded(key, item, segments, end.seconds))
            self.encoded += 1
            self.padded += 0 < end.seconds < self.encoder.segment_seconds
        elif end.lasting:
            self.committer.record_failure(key, reason)
        else:
            self.passing[key] = reason

    def _encoded(self, key: str, item: Item, segments: Tensor, seconds: float) -> EncodedItem:
        if self.encoder.spec.views:  # the first row is the item itself
            value, segments = segments[0], segments[1:]
        else:
            value = segments.mean(0)
        if not self.keep_segments:
            return EncodedItem(key, value, seconds=seconds)
        starts = (item.start or 0.0) + torch.arange(len(segments)) * self.encoder.hop_seconds
        return EncodedItem(key, value, segments, starts, seconds)
