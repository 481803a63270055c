"""Encode a manifest into a cache (`emoclim extract`), and keep its note, table of items and failures beside it."""

import logging
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from emoclim import encoders
from emoclim.cache import (
    CacheNote,
    FeatureCache,
    ItemStatus,
    item_table_path,
    note_or_new,
    note_path,
    open_cache,
    portable_path,
    read_item_table,
    read_note,
    write_failures,
)
from emoclim.cluster import Engine, open_engine
from emoclim.config import ExtractConfig
from emoclim.data import ContentKeys, Manifest, annotated_items, read_manifest
from emoclim.encoders import Encoder, load_encoder
from emoclim.errors import CacheError, ConfigError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.encoders import choose_encoder, contamination
from emoclim.pipeline.extraction_result import ExtractionResult, advice_for, replaced_items, strange_labels
from emoclim.pipeline.library import split_manifest
from emoclim.pipeline.machine import decoders, provenance
from emoclim.pipeline.scaling.extraction import Spread, Spreading
from emoclim.pipeline.workspace import Shard, Workspace
from emoclim.progress import Track, silent
from emoclim.reports import Extraction
from emoclim.stages import extract

log = logging.getLogger(__name__)


def extract_features(
    modality: Modality,
    source: Path | None = None,
    config: ExtractConfig = ExtractConfig(),
    *,
    workspace: Workspace = Workspace(),
    shard: Shard | None = None,
    on: str | None = None,
    device: str = "auto",
    track: Track = silent,
) -> ExtractionResult:
    """Encode the items of a manifest, or of a shard of it, that the cache does not hold yet, here or on an engine."""
    if on and shard:
        raise ConfigError("--on makes shards of its own; leave out --shard, or --on")
    engine = open_engine(on, device) if on else None
    if device not in ("auto", "cpu"):
        encoders.choose_device(device)  # refuse one that is not here before anything is written
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
    doubts = _replaced(path, manifest, len(part.items)), strange_labels(manifest), contamination(encoder.spec, manifest)
    warnings = tuple(filter(None, doubts))
    with open_cache(path, encoder.spec) as cache, _keep_note(cache, path, manifest, config) as note:
        for warning in warnings:
            log.warning(warning)
        part = replace(part, name=note.sources[-1].name)
        try:
            how: dict[str, Any] = {"keys": keys, "elsewhere": elsewhere, "device": device, "track": track}
            extraction = _encode(part, encoder, cache, config, engine, **how)
        finally:
            keys.save()
    failed = [ItemStatus(one.id, "failed", "", one.reason) for one in extraction.failures]
    failures = write_failures(path, note.sources[-1].name, failed, part.items)
    on_cpu = not extraction.encoded or encoders.choose_device(device).type == "cpu"  # asking loads torch
    advice = advice_for(extraction.timing, encoder, on_cpu, config, decoders(config.workers))
    return ExtractionResult(manifest, len(part.items), path, failures, extraction, advice, warnings)


def _encode(
    manifest: Manifest,
    encoder: Encoder,
    cache: FeatureCache,
    config: ExtractConfig,
    engine: Engine | None,
    *,
    keys: ContentKeys,
    elsewhere: frozenset[str],
    device: str,
    track: Track,
) -> Extraction:
    """Encode what a cache lacks: on the workers of an engine, if there is one, and what is left here."""
    keep_segments = config.keep_segments and bool(MODALITIES[manifest.modality].segments or encoder.spec.views)
    common: dict[str, Any] = {"keys": keys, "keep_segments": keep_segments, "device": device, "track": track}
    spread = Spreading(engine, manifest, encoder, cache, config, **common).run() if engine else Spread()
    extraction = extract(
        manifest,
        encoder,
        cache,
        batch_size=config.batch_size,
        workers=decoders(config.workers),
        compiled=config.compiled,
        retry_failed=config.retry_failed,
        elsewhere=elsewhere,
        given_up=spread.given_up,
        flush=True,
        **common,
    )
    return spread.joined(extraction)


def _replaced(path: Path, manifest: Manifest, n_now: int) -> str | None:
    """Say that a manifest is another one than it was when it was extracted into a cache before."""
    try:
        sources = read_note(path).sources
    except CacheError:  # there is none, or nothing can be told from it
        return None
    place = portable_path(manifest.source, path.parent)
    before = next((one for one in sources if one.path == place and one.digest != manifest.digest()), None)
    if before is None:
        return None
    n_before = None
    with suppress(CacheError):  # it may be missing
        table = read_item_table(item_table_path(path, before.name))
        n_before = sum(item.state != "left out" for item in table)
    return replaced_items(manifest, n_before, before.unlabelled, n_now)


@contextmanager
def _keep_note(cache: FeatureCache, path: Path, manifest: Manifest, config: ExtractConfig) -> Iterator[CacheNote]:
    """Keep the note beside a cache from before extraction on, so that it is there even if the process is killed."""
    there, before = note_path(path).exists(), len(cache)
    checkpoint = portable_path(config.checkpoint, path.parent) if config.checkpoint else None
    unlabelled = config.unlabelled or not annotated_items(manifest.items)
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


def _committed(cache: Path) -> AbstractSet[str]:
    """Return the keys that a cache holds, if there is one."""
    if not cache.exists():
        return frozenset()
    with open_cache(cache) as opened:
        return opened.keys()
