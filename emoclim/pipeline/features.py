"""`emoclim extract`: a manifest and an encoder's name -> a cache, its note and its list of failures."""

import csv
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emoclim.cache import open_cache
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Manifest, Modality, read_manifest
from emoclim.data.splits import with_splits
from emoclim.encoders.loading import find_encoder, load_encoder
from emoclim.errors import EncoderError
from emoclim.features import Setting
from emoclim.pipeline.contamination import contamination
from emoclim.pipeline.libraries import CacheNote, note_path, portable_path, read_note
from emoclim.pipeline.workspace import Workspace, choose_device
from emoclim.progress import Track, silent
from emoclim.stages.extract import Extraction, extract

log = logging.getLogger(__name__)

SHOWN_FAILURES = 10
DEFAULT_ENCODERS: dict[Modality, str] = {"image": "clip", "audio": "clap"}


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """What one `emoclim extract` did.

    Attributes
    ----------
    manifest
        What was read.
    cache
        The cache file.
    failures_file
        Table of the items that could not be encoded; None if there are none.
    extraction
        Counts and failures.
    warnings
        Why results on these items may mislead.
    """

    manifest: Manifest
    cache: Path
    failures_file: Path | None
    extraction: Extraction
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        counts = asdict(self.extraction)
        failures = [failure | {"path": str(failure["path"])} for failure in counts.pop("failures")]
        return {
            "manifest": str(self.manifest.source),
            "items": len(self.manifest.items),
            "notes": list(self.manifest.notes),
            "warnings": list(self.warnings),
            "cache": str(self.cache),
            **counts,
            "failures": failures,
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        done, source = self.extraction, self.manifest.source
        lines = [f"{source}: {note}" for note in self.manifest.notes]
        lines.append(
            f"{source}: {len(self.manifest.items)} items, {done.encoded} encoded, {done.reused} reused, "
            f"{len(done.failures)} failed -> {self.cache}"
        )
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
    batch_size: int = 32,
    workers: int | None = None,
    device: str = "auto",
    backend: str = "h5",
    retry_failed: bool = False,
    rehash: bool = False,
    seed: int = 42,
    track: Track = silent,
) -> ExtractionResult:
    """Encode what a cache does not hold yet of a manifest.

    Parameters
    ----------
    modality
        ``image`` or ``audio``.
    source
        CSV or folder; None looks in the workspace's ``data/``.
    encoder
        Name; None takes ``clip`` for images and ``clap`` for audio.
    checkpoint, settings
        See :func:`emoclim.encoders.base.load_encoder`.
    workspace
        Where the cache goes.
    unlabelled
        The library is only to be searched.
    keep_segments
        Keep the feature of each segment of a recording, not only their mean.
    batch_size
        Segments per forward pass.
    workers
        Decoding processes; None takes one per core, eight at most.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    backend
        ``h5`` or ``zarr``.
    retry_failed
        Try items again that failed earlier.
    rehash
        Reread each file even if size and time of change are as before.
    seed
        Of the splits, where the manifest has none.
    track
        Shows progress.

    Raises
    ------
    EmoclimError
        The manifest, the encoder, the checkpoint or the cache cannot be used.
    """
    name = encoder or DEFAULT_ENCODERS[modality]
    if (takes := find_encoder(name).MODALITY) != modality:
        raise EncoderError(f"encoder {name!r} takes {takes}, not {modality}; name one for {modality}")
    manifest = read_manifest(source or workspace.manifest(modality), modality, unlabelled=unlabelled)
    manifest = with_splits(manifest, seed)
    loaded = load_encoder(name, checkpoint=checkpoint, track=track, **(settings or {}))
    path = workspace.cache_path(loaded.spec, f".{backend}")
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = ContentKeys(workspace.caches / "content.json", trust=not rehash)
    with open_cache(path, loaded.spec) as cache:
        extraction = extract(
            manifest,
            loaded,
            cache,
            batch_size=batch_size,
            workers=min(8, os.cpu_count() or 1) if workers is None else workers,
            device=choose_device(device),
            track=track,
            keys=keys,
            keep_segments=keep_segments and bool(loaded.segment_seconds or loaded.spec.views),
            retry_failed=retry_failed,
        )
    keys.save()
    warnings = tuple(filter(None, [contamination(loaded.spec, manifest)]))
    for warning in warnings:
        log.warning(warning)
    sources = read_note(path).sources if note_path(path).exists() else ()
    note = CacheNote(
        path, loaded.spec, portable_path(checkpoint, path) if checkpoint else None, settings or {}, sources
    )
    note.with_source(manifest, unlabelled or all(item.label is None for item in manifest.items)).save()
    return ExtractionResult(manifest, path, _write_failures(path, manifest, extraction), extraction, warnings)


def _write_failures(cache: Path, manifest: Manifest, extraction: Extraction) -> Path | None:
    """The failures of this manifest as a table beside the cache; an earlier table is removed where there are none."""
    path = cache.with_name(f"{cache.stem}.{manifest.name}.failures.csv")
    if not extraction.failures:
        path.unlink(missing_ok=True)
        return None
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "path", "reason"))
        writer.writerows((failure.id, failure.path, failure.reason) for failure in extraction.failures)
    return path
