"""Encode the items of a manifest that a cache does not hold yet. Used by `emoclim extract` and `cache verify`.

Items are read and decoded in worker processes, block by block and in order; segments of several items are packed into
batches of one fixed shape, so that a resumed run gives the bytes of an uninterrupted one; an item is committed when all
its segments are encoded.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING

from emoclim.cache import FeatureCache, ItemStatus, State
from emoclim.data import ContentKeys, Manifest, shown_path
from emoclim.encoders import Encoder
from emoclim.extraction import Encoded, ExtractionPlan
from emoclim.progress import Stopwatch, Track, silent
from emoclim.reports import Extraction, Failure, Timing

if TYPE_CHECKING:
    import torch


def extract(
    manifest: Manifest,
    encoder: Encoder,
    cache: FeatureCache,
    *,
    batch_size: int | None = None,
    workers: int = 0,
    device: "torch.device | str" = "cpu",
    track: Track = silent,
    keys: ContentKeys | None = None,
    keep_segments: bool = True,
    compiled: bool = False,
    retry_failed: bool = False,
    elsewhere: Collection[str] = frozenset(),
    given_up: Mapping[str, str] | None = None,
    flush: bool = False,
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
    flush
        Take denormal numbers for zero while items are encoded, as commands do.

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
        told = Encoded(transient=plan.give_up(given_up or {}))
        no_more = frozenset(told.transient)
        while plan.todo:
            from emoclim.encoders import flushed_denormals
            from emoclim.stages.encoding import Encoding  # loads torch, which takes longer than finding nothing to do

            encoding = Encoding(plan, encoder, cache, keep_segments, watch, told)
            finished = encoding.finish_items(batch_size, workers, device, compiled=compiled)
            with flushed_denormals() if flush else nullcontext(), closing(finished):
                for _ in track(finished, description=f"encode {manifest.name}", total=len(plan.todo)):
                    pass
            plan.try_copies(cache.keys(), cache.failures(), no_more)
    transient = {key: reason for key, reason in told.transient.items() if key not in cache}
    found, reasons = plan.keys(), {**cache.failures(), **transient}
    failures = tuple(
        Failure(
            item.id,
            shown_path(item.path) if item.path else None,
            plan.unreadable.get(item.id) or reasons[found[item.id]],
        )
        for item in manifest.items
        if item.id in plan.unreadable or found[item.id] in reasons
    )
    cache.record_items(manifest.name, _statuses(manifest, found, failures, cache.keys() | frozenset(elsewhere)))
    duplicates, leaks = plan.duplicates()
    return Extraction(
        encoded=told.encoded,
        reused=len(manifest.items) - len(failures) - told.encoded,
        failures=failures,
        padded=told.padded,
        duplicates=duplicates,
        leaks=leaks,
        timing=Timing(**{kind.name: watch.seconds[kind.name] for kind in fields(Timing)}),
        keys=found,
        segments=told.segments,
        remarks=told.remarks,
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
