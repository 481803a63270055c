"""Encode a manifest into a cache (`emoclim extract`), and keep its note, table of items and failures beside it."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from emoclim.cache import (
    CacheNote,
    FeatureCache,
    ItemStatus,
    State,
    note_or_new,
    note_path,
    open_cache,
    portable_path,
    write_failures,
    write_item_table,
)
from emoclim.config import ExtractConfig
from emoclim.data import Manifest, read_manifest
from emoclim.encoders import load_encoder
from emoclim.errors import ConfigError
from emoclim.modality import Modality
from emoclim.pipeline.encoders import choose_encoder, contamination
from emoclim.pipeline.library import split_manifest
from emoclim.pipeline.machine import choose_device, provenance, usable_cores
from emoclim.pipeline.workspace import Shard, Workspace
from emoclim.progress import Track, silent
from emoclim.reports import Extraction, Timing
from emoclim.stages import extract

log = logging.getLogger(__name__)

SHOWN_FAILURES = 10
MAX_WORKERS = 8  # by default
ADVICE = {
    "read": "a faster disk would help; files that do not change are not read again",
    "decode": "more --workers would help, as far as there are cores, and for large JPEGs --decoder draft",
    "compute": "a GPU would help, or on one a larger --batch-size, --precision bf16 or --compile",
    "write": "a faster disk would help, or --no-segments",
}


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """What one `emoclim extract` did."""

    manifest: Manifest
    n_items: int  # how many of its items were to be encoded: all, or those of a shard
    cache: Path
    failures_file: Path | None  # table of the items that could not be encoded; None if there are none
    extraction: Extraction
    warnings: tuple[str, ...] = ()  # why results on these items may mislead

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "manifest": str(self.manifest.source),
            "items": self.n_items,
            "notes": list(self.manifest.notes),
            "warnings": list(self.warnings),
            "cache": str(self.cache),
            **to_jsonable_python(self.extraction, exclude={"keys"}),  # these stand in the table of items
            "bottleneck": self.extraction.timing.bottleneck,
        }

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        done, source = self.extraction, self.manifest.source
        lines = [f"{source}: {note}" for note in self.manifest.notes]
        lines.append(
            f"{source}: {self.n_items} items, {done.encoded} encoded, {done.reused} reused, "
            f"{len(done.failures)} failed -> {self.cache}"
        )
        if done.encoded:
            lines.append(_time_spent(done.timing, done.encoded))
        if all(item.label is None and not item.tags for item in self.manifest.items):
            lines.append("no item has a label: this library is searched, never trained on")
        if done.padded:
            lines.append(f"{done.padded} are shorter than one segment and were repeated to fill it")
        if same := done.duplicates:
            lines.append(f"{len(same)} have the same content as another item ({same[0]}, for one)")
        if done.leaks:
            lines.append(f"{len(done.leaks)} of them lie in another split than their twin: the test is not clean")
        lines += [f"failed: {failure.id}: {failure.reason}" for failure in done.failures[:SHOWN_FAILURES]]
        if (more := len(done.failures) - SHOWN_FAILURES) > 0:
            lines.append(f"and {more} more")
        return lines + ([f"all failures are in {self.failures_file}"] if self.failures_file else [])


def extract_features(
    modality: Modality,
    source: Path | None = None,
    config: ExtractConfig = ExtractConfig(),
    *,
    workspace: Workspace = Workspace(),
    shard: Shard | None = None,
    device: str = "auto",
    track: Track = silent,
) -> ExtractionResult:
    """Encode the items of a manifest, or of a shard of it, that the cache does not hold yet."""
    where = choose_device(device)
    name = choose_encoder(modality, config.encoder)
    manifest = read_manifest(source or workspace.manifest(modality), modality, unlabelled=config.unlabelled)
    encoder = load_encoder(name, checkpoint=config.checkpoint, track=track, **config.settings)
    if encoder.spec.views and not config.keep_segments:
        raise ConfigError("views are kept as segments, so they cannot be had without; leave out one of the two")
    keys = workspace.content_keys(trust=not config.rehash)
    manifest = split_manifest(manifest, keys, track, seed=config.seed)  # writes: only now that the encoder is there
    whole = workspace.cache_path(encoder.spec, f".{config.backend}")
    path = shard.path(whole) if shard else whole
    part = replace(manifest, items=tuple(shard.select(manifest.items))) if shard else manifest
    elsewhere = _committed(whole) if shard else frozenset()
    with open_cache(path, encoder.spec) as cache, _keep_note(cache, path, manifest, config) as note:
        name = note.sources[-1].name
        try:
            extraction = extract(
                part,
                encoder,
                cache,
                batch_size=config.batch_size,
                workers=min(MAX_WORKERS, usable_cores()) if config.workers is None else config.workers,
                device=where,
                track=track,
                keys=keys,
                keep_segments=config.keep_segments and bool(encoder.segment_seconds or encoder.spec.views),
                compiled=config.compiled,
                retry_failed=config.retry_failed,
                elsewhere=elsewhere,
            )
        finally:
            keys.save()
        statuses = _statuses(part, extraction, cache.keys() | elsewhere)
        if path.exists():  # or nothing at all was kept
            write_item_table(path, name, statuses)
    failures = write_failures(path, name, statuses, part.items)
    warnings = tuple(filter(None, [contamination(encoder.spec, manifest)]))
    for warning in warnings:
        log.warning(warning)
    return ExtractionResult(manifest, len(part.items), path, failures, extraction, warnings)


@contextmanager
def _keep_note(cache: FeatureCache, path: Path, manifest: Manifest, config: ExtractConfig) -> Iterator[CacheNote]:
    """Keep the note beside a cache from before extraction on, so that it is there even if the process is killed."""
    there, before = note_path(path).exists(), len(cache)
    checkpoint = portable_path(config.checkpoint, path) if config.checkpoint else None
    unlabelled = config.unlabelled or all(item.label is None for item in manifest.items)
    note = note_or_new(CacheNote(path, cache.spec, checkpoint, config.settings)).with_source(manifest, unlabelled)
    note.with_run(provenance(), None).save()
    try:
        yield note
    finally:
        if path.exists():
            added = len(cache) - before
            (note.with_run(provenance(), added) if added else note).save()
        elif not there:
            note_path(path).unlink()


def _committed(cache: Path) -> frozenset[str]:
    """Return the keys that a cache holds, if there is one."""
    if not cache.exists():
        return frozenset()
    with open_cache(cache) as opened:
        return opened.keys()


def _statuses(manifest: Manifest, extraction: Extraction, committed: Collection[str]) -> list[ItemStatus]:
    """Return what became of each item."""
    reasons = {failure.id: failure.reason for failure in extraction.failures}
    statuses = []
    for item in manifest.items:
        key = extraction.keys.get(item.id, "")
        state: State = "failed" if item.id in reasons else "committed" if key in committed else "missing"
        statuses.append(ItemStatus(item.id, state, key, reasons.get(item.id, "")))
    return statuses


def _time_spent(timing: Timing, encoded: int) -> str:
    """Say where the time went, and what would make it less."""
    waiting, compute, blocked = (spent / timing.total for spent in (timing.waiting, timing.compute, timing.blocked))
    return (
        f"{timing.total:.1f} s, {encoded / timing.total:.3g} items/s: {waiting:.0%} waiting for files "
        f"(read {timing.read:.1f} s, decode {timing.decode:.1f} s, of all processes), {compute:.0%} compute, "
        f"{blocked:.0%} waiting for the cache (write {timing.write:.1f} s); "
        f"slowest: {timing.bottleneck}; {ADVICE[timing.bottleneck]}"
    )
