"""`emoclim extract`: a manifest and an encoder's name -> a cache, its note and its list of failures."""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emoclim.cache import FeatureCache, open_cache
from emoclim.data import ContentKeys, Manifest, Setting, read_manifest
from emoclim.encoders import find_encoder, load_encoder
from emoclim.errors import ConfigError, EncoderError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.contamination import contamination
from emoclim.pipeline.item_table import ItemStatus, State, failures_path, write_csv, write_item_table
from emoclim.pipeline.libraries import CacheNote, note_or_new, note_path, portable_path
from emoclim.pipeline.library import split_manifest
from emoclim.pipeline.workspace import Shard, Workspace, choose_device, usable_cores
from emoclim.progress import Track, silent
from emoclim.reports import Extraction
from emoclim.stages import extract

log = logging.getLogger(__name__)

SHOWN_FAILURES = 10
MAX_WORKERS = 8  # by default


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
        """Plain values, for JSON."""
        counts = asdict(replace(self.extraction, keys={}))  # one for each item; they stand in the table of items
        del counts["keys"]
        failures = [failure | {"path": str(failure["path"])} for failure in counts.pop("failures")]
        return {
            "manifest": str(self.manifest.source),
            "items": self.n_items,
            "notes": list(self.manifest.notes),
            "warnings": list(self.warnings),
            "cache": str(self.cache),
            **counts,
            "bottleneck": self.extraction.timing.bottleneck,
            "failures": failures,
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        done, source = self.extraction, self.manifest.source
        lines = [f"{source}: {note}" for note in self.manifest.notes]
        lines.append(
            f"{source}: {self.n_items} items, {done.encoded} encoded, {done.reused} reused, "
            f"{len(done.failures)} failed -> {self.cache}"
        )
        if done.encoded:
            lines.append(_time_spent(done))
        if all(item.label is None for item in self.manifest.items):
            lines.append("no item has a label: this library is searched, never trained on")
        if done.padded:
            lines.append(f"{done.padded} are shorter than one segment and were repeated to fill it")
        if done.duplicates:
            lines.append(
                f"{len(done.duplicates)} have the same content as another item ({done.duplicates[0]}, for one)"
            )
        if done.leaks:
            lines.append(f"{len(done.leaks)} of them lie in another split than their twin: the test is not clean")
        lines += [f"failed: {failure.id}: {failure.reason}" for failure in done.failures[:SHOWN_FAILURES]]
        if len(done.failures) > SHOWN_FAILURES:
            lines.append(f"and {len(done.failures) - SHOWN_FAILURES} more")
        return lines + ([f"all failures are in {self.failures_file}"] if self.failures_file else [])


def extract_features(
    modality: Modality,
    source: Path | None = None,
    *,
    encoder: str | None = None,
    checkpoint: Path | None = None,
    settings: Mapping[str, Setting] | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    unlabelled: bool = False,
    keep_segments: bool = True,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    backend: str = "h5",
    compiled: bool = False,
    retry_failed: bool = False,
    rehash: bool = False,
    shard: Shard | None = None,
    seed: int = 42,
    track: Track = silent,
) -> ExtractionResult:
    """Encode what a cache does not hold yet of a manifest."""
    name = encoder or MODALITIES[modality].encoder
    if name is None:
        raise EncoderError(f"no encoder takes {modality} by default; name one")
    if (takes := find_encoder(name).MODALITY) != modality:
        raise EncoderError(f"encoder {name!r} takes {takes}, not {modality}; name one for {modality}")
    manifest = read_manifest(source or workspace.manifest(modality), modality, unlabelled=unlabelled)
    loaded = load_encoder(name, checkpoint=checkpoint, track=track, **(settings or {}))
    if loaded.spec.views and not keep_segments:
        raise ConfigError("views are kept as segments, so they cannot be had without; leave out one of the two")
    where = choose_device(device)
    keys = ContentKeys(workspace.caches / "content.json", trust=not rehash)
    manifest = split_manifest(manifest, keys, track, seed=seed)
    whole = workspace.cache_path(loaded.spec, f".{backend}")
    path = whole if shard is None else shard.path(whole)
    part = manifest if shard is None else replace(manifest, items=tuple(shard.select(manifest.items)))
    elsewhere = _committed(whole) if shard else frozenset()
    unlabelled = unlabelled or all(item.label is None for item in manifest.items)
    with (
        open_cache(path, loaded.spec) as cache,
        _noted(cache, path, manifest, unlabelled, checkpoint, settings) as note,
    ):
        try:
            extraction = extract(
                part,
                loaded,
                cache,
                batch_size=batch_size,
                workers=min(MAX_WORKERS, usable_cores()) if workers is None else workers,
                device=where,
                track=track,
                keys=keys,
                keep_segments=keep_segments and bool(loaded.segment_seconds or loaded.spec.views),
                compiled=compiled,
                retry_failed=retry_failed,
                elsewhere=elsewhere,
            )
        finally:
            keys.save()
        if path.exists():  # or nothing at all was kept
            states = _states(part, extraction, cache.keys() | elsewhere)
            write_item_table(path, note.sources[-1].name, states)
    warnings = tuple(filter(None, [contamination(loaded.spec, manifest)]))
    for warning in warnings:
        log.warning(warning)
    failures = _write_failures(path, note.sources[-1].name, extraction)
    return ExtractionResult(manifest, len(part.items), path, failures, extraction, warnings)


@contextmanager
def _noted(
    cache: FeatureCache,
    path: Path,
    manifest: Manifest,
    unlabelled: bool,
    checkpoint: Path | None,
    settings: Mapping[str, Setting] | None,
) -> Iterator[CacheNote]:
    """Keep the note beside a cache while something is extracted into it, so that it is there whatever happens."""
    there, before = note_path(path).exists(), len(cache)
    given = portable_path(checkpoint, path) if checkpoint else None
    note = note_or_new(CacheNote(path, cache.spec, given, settings or {}))
    note = note.with_source(manifest, unlabelled)
    note.with_run(None).save()
    try:
        yield note
    finally:
        if path.exists():
            added = len(cache) - before
            (note.with_run(added) if added else note).save()
        elif not there:
            note_path(path).unlink()


def _committed(cache: Path) -> frozenset[str]:
    """Keys that a cache holds, if there is one."""
    if not cache.exists():
        return frozenset()
    with open_cache(cache) as opened:
        return opened.keys()


def _states(manifest: Manifest, extraction: Extraction, committed: Collection[str]) -> list[ItemStatus]:
    """What became of each item."""
    reasons = {failure.id: failure.reason for failure in extraction.failures}
    states = []
    for item in manifest.items:
        key = extraction.keys.get(item.id, "")
        state: State = "failed" if item.id in reasons else "committed" if key in committed else "missing"
        states.append(ItemStatus(item.id, state, key, reasons.get(item.id, "")))
    return states


def _write_failures(cache: Path, manifest_name: str, extraction: Extraction) -> Path | None:
    """The failures of a manifest as a table beside the cache; an earlier table is removed where there are none."""
    path = failures_path(cache, manifest_name)
    if not extraction.failures:
        path.unlink(missing_ok=True)
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(failure.id, failure.path, failure.reason) for failure in extraction.failures]
    write_csv(path, [("id", "path", "reason"), *rows])
    return path


def _time_spent(done: Extraction) -> str:
    """One sentence on where the time went, and what would make it less."""
    timing = done.timing
    advice = {
        "read": "a faster disk would help; files that do not change are not read again",
        "decode": "more --workers would help, as far as there are cores, and for large JPEGs --decoder draft",
        "compute": "a GPU would help, or on one a larger --batch-size, --precision bf16 or --compile",
        "write": "a faster disk would help, or --no-segments",
    }
    waiting, compute, blocked = (spent / timing.total for spent in (timing.waiting, timing.compute, timing.blocked))
    return (
        f"{timing.total:.1f} s, {done.encoded / timing.total:.3g} items/s: {waiting:.0%} waiting for files "
        f"(read {timing.read:.1f} s, decode {timing.decode:.1f} s, of all processes), {compute:.0%} compute, "
        f"{blocked:.0%} waiting for the cache (write {timing.write:.1f} s); "
        f"slowest: {timing.bottleneck}; {advice[timing.bottleneck]}"
    )
