"""Encode the items of a plan: decoded in workers, packed into batches, committed in a thread. Used by `extract`.

It is a module of its own because it loads torch, which a run with nothing to encode does without.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from emoclim.cache import EncodedItem, FeatureCache
from emoclim.data import Item, Remark
from emoclim.encoders import Encoder, choose_device
from emoclim.extraction import (
    AsyncWriter,
    BatchPacker,
    Encoded,
    Event,
    ExtractionPlan,
    FileRead,
    ItemEnd,
    decode,
    explain_worker_death,
    keep_freed_memory,
    trim_periodically,
)
from emoclim.progress import Stopwatch

KEPT = "what was committed is kept: run again, with fewer --workers"
CPU_BATCH, GPU_BATCH = 8, 64  # segments; on a CPU, more take memory and save no time


@dataclass(slots=True)
class _Progress:
    """An item on its way: whether it is wanted, rows decoded, features encoded, and how it ended if it did."""

    wanted: bool = True
    decoded: int = 0
    encoded: list[Tensor] = field(default_factory=list)  # (s, D) each
    end: ItemEnd | None = None

    def is_done(self) -> bool:
        if self.end is None:
            return False
        return not self.wanted or self.end.reason is not None or sum(map(len, self.encoded)) == self.decoded


@dataclass
class Encoding:
    """Takes items from what is decoded of them to what is committed, and counts."""

    plan: ExtractionPlan
    encoder: Encoder
    cache: FeatureCache
    keep_segments: bool
    watch: Stopwatch
    told: Encoded
    packer: BatchPacker = field(init=False)
    writer: AsyncWriter = field(init=False)
    _progress: dict[int, _Progress] = field(default_factory=dict)  # by position

    def finish_items(
        self, batch_size: int | None, workers: int, device: torch.device | str, *, compiled: bool
    ) -> Generator[str, None, None]:
        """Yield the id of each item that is done."""
        where = choose_device(device)
        size = batch_size or (CPU_BATCH if where.type == "cpu" else GPU_BATCH)
        self.packer = BatchPacker(self.encoder, size, where, self.watch, compiled=compiled)
        decoded = decode(self.plan.preparer(self.encoder), self.plan.todo, workers)
        events = trim_periodically(self.watch.each(decoded, "waiting"))
        with keep_freed_memory(where), explain_worker_death(KEPT), AsyncWriter(self.cache, self.watch) as self.writer:
            yield from self._follow(events)

    def _follow(self, events: Iterator[Event[Tensor | FileRead | Remark]]) -> Iterator[str]:
        for position, event in events:
            self.writer.commit_in_time()
            progress = self._progress.setdefault(position, _Progress())
            if isinstance(event, ItemEnd):
                progress.end = event
                yield from self._settle(position)
            elif isinstance(event, FileRead):
                self.watch.seconds["read"] += event.seconds
                self.watch.seconds["decode"] -= event.seconds  # which the end will bring
                progress.wanted = self.plan.learn(self.plan.todo[position], event.fingerprint)
            elif isinstance(event, Remark):
                self.told.remarks.setdefault(event.about, {})[self.plan.todo[position].id] = event.example
            elif progress.wanted:
                progress.decoded += len(event)
                yield from self._collect(self.packer.add(position, event))
        yield from self._collect(self.packer.flush())

    def _collect(self, features: Iterator[tuple[int, Tensor]]) -> Iterator[str]:
        for position, rows in features:
            if position in self._progress:  # or else it failed after its first blocks
                self._progress[position].encoded.append(rows)
                yield from self._settle(position)

    def _settle(self, position: int) -> Iterator[str]:
        progress = self._progress[position]
        if progress.end is not None and progress.is_done():
            item = self.plan.todo[position]
            self.watch.seconds["decode"] += progress.end.decoding
            if progress.wanted:
                self._keep(item, torch.cat(progress.encoded) if progress.encoded else torch.empty(0, 0), progress.end)
            del self._progress[position]
            yield item.id

    def _keep(self, item: Item, segments: Tensor, end: ItemEnd) -> None:
        """Commit one finished item by its segments ``(S, D)``, or record why it failed."""
        key, reason = self.plan.key(item), end.reason
        if key is None:
            self.plan.unreadable[item.id] = reason or "its content cannot be told"
            return
        if reason is None and not len(segments):
            reason = "the encoder found no segment in it"
        if reason is None and not segments.isfinite().all():
            reason = "the encoder gave numbers that are not finite"
        if reason is None:
            self.writer.append(self._encoded(key, item, segments, end.seconds))
            self.told.encoded += 1
            self.told.segments += len(segments)
            self.told.padded += 0 < end.seconds < self.encoder.segment_seconds
        elif end.permanent:
            self.writer.record_failure(key, reason)
        else:
            self.told.transient[key] = reason

    def _encoded(self, key: str, item: Item, segments: Tensor, seconds: float) -> EncodedItem:
        if self.encoder.spec.views:  # the first row is the item itself
            value, segments = segments[0], segments[1:]
        else:
            value = segments.mean(0)
        if not self.keep_segments:
            return EncodedItem(key, value, seconds=seconds)
        # Segments of what has no length, such as passages, are numbered
        step = self.encoder.hop_seconds if self.encoder.segment_seconds or self.encoder.spec.views else 1.0
        starts = (item.start or 0.0) + torch.arange(len(segments)) * step
        return EncodedItem(key, value, segments, starts, seconds)
