"""What one `emoclim extract` did, in words and for JSON, and what would make the next one faster."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from emoclim.config import ExtractConfig
from emoclim.data import DRAFT, Manifest, annotated_items, known_emotions
from emoclim.encoders import DECODER, FULL_PRECISION, PRECISION, Encoder, ImageEncoder
from emoclim.errors import name_some
from emoclim.modality import MODALITIES
from emoclim.pipeline.machine import usable_cores
from emoclim.reports import Extraction, Timing

SHOWN_FAILURES, SHOWN_LABELS = 10, 12
WORTH_ADVICE = 30.0  # seconds: what takes less is not worth making faster


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """What one `emoclim extract` did."""

    manifest: Manifest
    n_items: int  # how many of its items were to be encoded: all, or those of a shard
    cache: Path
    failures_file: Path | None  # table of the items that could not be encoded; None if there are none
    extraction: Extraction
    advice: str = ""  # what would make it faster; empty where nothing would, or it was fast enough
    warnings: tuple[str, ...] = ()  # what may not be as was meant, and why results on these items may mislead

    @property
    def labels(self) -> Mapping[str, int]:
        """The number of items by label."""
        return dict(sorted(Counter(item.label for item in self.manifest.items if item.label is not None).items()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "manifest": str(self.manifest.source),
            "items": self.n_items,
            "labels": self.labels,
            "labels_from": _origin(self.manifest) if self.labels else None,
            "notes": list(self.manifest.notes),
            "left_out": dict(self.manifest.left_out),
            "warnings": list(self.warnings),
            "cache": str(self.cache),
            **to_jsonable_python(self.extraction, exclude={"keys"}),  # these stand in the table of items
            "bottleneck": self.extraction.timing.bottleneck,
            "advice": self.advice,
        }

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        done, source = self.extraction, self.manifest.source
        lines = [f"{source}: {note}" for note in self.manifest.notes]
        lines.append(
            f"{source}: {self.n_items} items, {done.encoded} encoded, {done.reused} reused, "
            f"{len(done.failures)} failed -> {self.cache}"
        )
        facts = MODALITIES[self.manifest.modality]
        if done.encoded and facts.segments and not facts.timed:
            lines.append(f"{done.encoded} {facts.nouns} became {done.segments} {facts.segments}")
        lines += done.remarks_on(facts.nouns)
        if done.encoded:
            lines.append(
                _time_spent(done.timing, done.encoded, done.resumed) + (f"; {self.advice}" if self.advice else "")
            )
        if self.labels:
            counts = [f"{label} ({count})" for label, count in self.labels.items()]
            lines.append(f"labels, by {_origin(self.manifest)}: {name_some(counts, SHOWN_LABELS)}")
        elif not any(item.tags or item.numbers or item.measures for item in self.manifest.items):
            lines.append("no item has a label: this library is searched, and trained on only for what needs no labels")
        if done.padded:
            lines.append(f"{done.padded} are shorter than one segment and were repeated to fill it")
        if same := done.duplicates:
            lines.append(f"{len(same)} have the same content as another item ({same[0]}, for one)")
        if done.leaks:
            lines.append(f"{len(done.leaks)} of them lie in another split than their twin: the test is not clean")
        return lines + self.failed()

    def failed(self) -> list[str]:
        """Say which items failed, and why."""
        failures = self.extraction.failures
        lines = [f"failed: {failure.id}: {failure.reason}" for failure in failures[:SHOWN_FAILURES]]
        if (more := len(failures) - SHOWN_FAILURES) > 0:
            lines.append(f"and {more} more")
        return lines + ([f"all failures are in {self.failures_file}"] if self.failures_file else [])


def _origin(manifest: Manifest) -> str:
    return "folder" if manifest.source.is_dir() else "column label"


def strange_labels(manifest: Manifest) -> str | None:
    """Say that labels may be none: no known taxonomy and no published label map has any of them."""
    labels = sorted({item.label for item in manifest.items if item.label is not None})
    if not labels or not known_emotions().isdisjoint(label.casefold() for label in labels):
        return None
    return (
        f"no label of {manifest.source} is an emotion that a label map knows ({name_some(labels)}, by "
        f"{_origin(manifest)}); if they are none, extract again with --unlabelled"
    )


def replaced_items(manifest: Manifest, n_before: int | None, unlabelled_before: bool, n_now: int) -> str:
    """Say that a manifest is another one than it was when it was extracted before; None counts what is not known."""
    nouns = MODALITIES[manifest.modality].nouns
    kinds = {True: " without labels", False: " with labels"}
    unlabelled = not annotated_items(manifest.items)
    before, now = (kinds[unlabelled_before], kinds[unlabelled]) if unlabelled != unlabelled_before else ("", "")
    known = f"{n_before} {nouns}" if n_before is not None else f"other {nouns}"
    return (
        f"{manifest.source} is not what it was when it was extracted before: {known}{before} before, "
        f"{n_now}{now} now; the other commands use what there is now"
    )


def advice_for(timing: Timing, encoder: Encoder, on_cpu: bool, config: ExtractConfig, workers: int) -> str:
    """Say what would make extraction faster with this encoder; nothing where nothing would, or where it was fast."""
    if timing.total < WORTH_ADVICE:
        return ""
    precision = encoder.spec.settings.get(PRECISION)  # which only networks have
    drafts = isinstance(encoder, ImageEncoder) and encoder.least_side is not None
    possible = {
        "read": {"a faster disk": True, "more --workers where files are fetched": True},
        "decode": {
            f"--workers {usable_cores()}": workers < usable_cores(),
            "for large JPEGs --decoder draft": drafts and encoder.spec.settings.get(DECODER) != DRAFT,
        },
        "compute": {
            "a GPU": on_cpu and precision is not None,
            "a larger --batch-size": not on_cpu,
            "--precision bf16": not on_cpu and precision == FULL_PRECISION,
            "--compile": precision is not None and not config.compiled,
        },
        "write": {"a faster disk": True, "--no-segments": config.keep_segments and bool(encoder.segment_seconds)},
    }
    named = [name for name, is_possible in possible[timing.bottleneck].items() if is_possible]
    return f"{' or '.join(named)} would help" if named else ""


def _time_spent(timing: Timing, encoded: int, resumed: int) -> str:
    """Say where the time went; not where shards were begun before, of which nobody knows what was spent since."""
    clock = f"{timing.total:.1f} s, {(encoded - resumed) / timing.total:.3g} items/s"
    if resumed:
        return f"{clock}, besides {resumed} that were encoded before the command was typed again"
    waiting, compute, blocked = (spent / timing.total for spent in (timing.waiting, timing.compute, timing.blocked))
    return (
        f"{clock}: {waiting:.0%} waiting for files "
        f"(read {timing.read:.1f} s, decode {timing.decode:.1f} s, of all processes), {compute:.0%} compute, "
        f"{blocked:.0%} waiting for the cache (write {timing.write:.1f} s); slowest: {timing.bottleneck}"
    )
