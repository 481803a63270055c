"""Encode the items of a manifest that a cache does not hold yet. Used by `emoclim extract` and `cache verify`.

Items are read and decoded in worker processes, block by block and in order; segments of several items are packed into
batches of one fixed shape, so that a resumed run gives the bytes of an uninterrupted one; an item is committed when all
its segments are encoded.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from emoclim.cache import EncodedItem, FeatureCache, ItemStatus, State
from emoclim.data import ContentKeys, Item, Manifest, Remark
from emoclim.encoders import Encoder, choose_device
from emoclim.extraction import (
    AsyncWriter,
    BatchPacker,
    Event,
    ExtractionPlan,
    FileRead,
    ItemEnd,
    decode,
    explain_worker_death,
    keep_freed_memory,
    trim_periodically,
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
    given_up: Mapping[str, str] | None = None,
) -> Extraction:
    """Encode the items of a manifest that a cache does not hold yet.

    Parameters
    ----------
    manifest
        What to encode; afterwards `cache.features` knows its items by their ids.
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
    given_up
        Reasons, by id, of items that failed elsewhere just now, and are not tried again before another run.

    Raises
    ------
    CacheMismatch
        The cache is of another spec.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from emoclim import load_encoder, open_cache, read_manifest
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "calm").mkdir()
    >>> Image.new("RGB", (8, 8), "blue").save(folder / "calm" / "sea.png")
    >>> encoder = load_encoder("colour")
    >>> with open_cache(folder / "colour.h5", encoder.spec) as cache:
    ...     result = extract(read_manifest(folder, "image"), encoder, cache)
    ...     result.encoded, len(cache)
    (1, 1)
    """
    cache.spec.require(encoder.spec, "the cache")
    watch = Stopwatch()
    with watch.time("total"):
        done = cache.keys() | (frozenset() if retry_failed else cache.failures().keys()) | frozenset(elsewhere)
        plan = ExtractionPlan(manifest, done, keys or ContentKeys(), track)
        transient = plan.give_up(given_up or {})
        where = choose_device(device)
        size = batch_size or (CPU_BATCH if where.type == "cpu" else GPU_BATCH)
        packer = BatchPacker(encoder, size, where, watch, compiled=compiled)
        events = trim_periodically(watch.each(decode(plan.preparer(encoder), plan.todo, workers), "waiting"))
        with keep_freed_memory(where), explain_worker_death(KEPT), AsyncWriter(cache, watch) as writer:
            run = _Run(plan, packer, encoder, writer, keep_segments, watch, transient=transient)
            with closing(run.finish_items(events)) as finished:
                for _ in track(finished, description=f"encode {manifest.name}", total=len(plan.todo)):
                    pass
    found, reasons = plan.keys(), {**cache.failures(), **run.transient}
    failures = tuple(
        Failure(item.id, item.path, plan.unreadable.get(item.id) or reasons[found[item.id]])
        for item in manifest.items
        if item.id in plan.unreadable or found[item.id] in reasons
    )
    cache.record_items(manifest.name, _statuses(manifest, found, failures, cache.keys() | frozenset(elsewhere)))
    duplicates, leaks = plan.duplicates()
    return Extraction(
        encoded=run.encoded,
        reused=len(manifest.items) - len(failures) - run.encoded,
        failures=failures,
        padded=run.padded,
        duplicates=duplicates,
        leaks=leaks,
        timing=Timing(**{kind.name: watch.seconds[kind.name] for kind in fields(Timing)}),
        keys=found,
        segments=run.segments,
        remarks=run.remarks,
    )


def _statuses(
    manifest: Manifest, keys: Mapping[str, str], failures: Iterable[Failure], committed: Collection[str]
) -> list[ItemStatus]:
    """Tell what became of each item, and of the files that are none."""
    reasons = {failure.id: failure.reason for failure in failures}
    statuses = []
    for item in manifest.items:
        key = keys.get(item.id, "")
        state: State = "failed" if item.id in reasons else "committed" if key in committed else "missing"
        statuses.append(ItemStatus(item.id, state, key, reasons.get(item.id, "")))
    return statuses + [ItemStatus(path, "left out", "", reason) for path, reason in manifest.left_out.items()]


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
class _Run:
    """Takes items from what is decoded of them to what is committed, and counts."""

    plan: ExtractionPlan
    packer: BatchPacker
    encoder: Encoder
    writer: AsyncWriter
    keep_segments: bool
    watch: Stopwatch
    encoded: int = 0
    padded: int = 0
    segments: int = 0
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)  # examples by id, by what is remarked
    transient: dict[str, str] = field(default_factory=dict)  # reasons that are none of the content's, by key
    _progress: dict[int, _Progress] = field(default_factory=dict)  # by position

    def finish_items(self, events: Iterator[Event[Tensor | FileRead | Remark]]) -> Generator[str, None, None]:
        """Yield the id of each item that is done."""
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
                self.remarks.setdefault(event.about, {})[self.plan.todo[position].id] = event.example
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
            self.encoded += 1
            self.segments += len(segments)
            self.padded += 0 < end.seconds < self.encoder.segment_seconds
        elif end.permanent:
            self.writer.record_failure(key, reason)
        else:
            self.transient[key] = reason

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
