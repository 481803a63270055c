"""`emoclim cache export`: a cache -> a file, or a folder, that other programs read; `emoclim cache import` does too.

Convention: what is written appears whole or not at all, and the same cache gives the same bytes.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emoclim.cache import open_cache
from emoclim.cache.base import FeatureCache
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item
from emoclim.errors import CacheError, ConfigError, EmoclimError
from emoclim.pipeline.accounts import ItemState, accounts_path, read_accounts
from emoclim.pipeline.caches.feature_writers import Selection, write_npz, write_parquet, write_parts
from emoclim.pipeline.caches.finding import account, find_cache, renewed
from emoclim.pipeline.libraries import CacheNote, Source, open_library
from emoclim.pipeline.workspace import Workspace, write_folder
from emoclim.progress import Track, silent

log = logging.getLogger(__name__)

Format = Literal["npz", "parquet", "hf"]
FORMATS: Mapping[str, Format] = {".npz": "npz", ".parquet": "parquet", "": "hf"}  # by suffix


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What one `emoclim cache export` did.

    Attributes
    ----------
    cache
        Where the features are.
    out
        Where they went.
    kind
        How they were written.
    manifest
        Whose items they are; None for all items of a cache without manifests, by their keys.
    items
        How many were written.
    lacking
        How many items of the manifest have no features, by state.
    others
        How many items the cache holds beside them.
    """

    cache: Path
    out: Path
    kind: Format
    manifest: str | None
    items: int
    lacking: Mapping[str, int]
    others: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "cache": str(self.cache),
            "out": str(self.out),
            "format": self.kind,
            "manifest": self.manifest,
            "items": self.items,
            "lacking": dict(self.lacking),
            "others": self.others,
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        of = "" if self.manifest is None else f" of manifest {self.manifest}"
        lines = [f"{self.items} items{of} in {self.cache} -> {self.out} ({self.kind})"]
        if self.lacking:
            told = " and ".join(f"{count} {state}" for state, count in self.lacking.items())
            lines.append(f"{told} items of it have no features")
        if self.others:
            lines.append(f"{self.others} other items of the cache were left out; name their manifest with --manifest")
        return lines


def export_features(
    name: str,
    out: Path,
    *,
    kind: Format | None = None,
    manifest: str | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    track: Track = silent,
) -> ExportResult:
    """Write the features of a manifest's items for other programs.

    Parameters
    ----------
    name
        Of the cache; see :func:`emoclim.pipeline.caches.find_cache`.
    out
        File or folder; there is none yet.
    kind
        ``npz``, ``parquet`` or ``hf``, a folder as Hugging Face's ``datasets`` loads it; None goes by the suffix.
    manifest
        Name of one that was extracted into the cache; None takes the newest.
    workspace
        Where the cache lies.
    track
        Shows progress.

    Raises
    ------
    EmoclimError
        There is no such cache or manifest, nothing to write, or no place for it.
    """
    kind = kind or _kind_of(out)
    if out.exists():
        raise ConfigError(f"{out} exists already; delete it, or give another name")
    note = find_cache(workspace, name)
    source = _source(note, manifest)
    keys = ContentKeys(workspace.caches / "content.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_cache(note.path) as cache:
        states = _states(note, source, cache, keys)
        keys.save()
        items = _selection(note, source, cache, states)
        _write(out, kind, items, f"{note.spec.name} features of {source.name if source else note.path.stem}", track)
        others = len(cache.keys() - set(items.keys))
    lacking = Counter[str](state.state for state in states if state.state != "committed")
    return ExportResult(note.path, out, kind, source.name if source else None, len(items.ids), lacking, others)


def _kind_of(out: Path) -> Format:
    if out.suffix not in FORMATS:
        raise ConfigError(f"the suffix of {out} is none of .npz and .parquet; say --format npz, parquet or hf")
    return FORMATS[out.suffix]


def _source(note: CacheNote, name: str | None) -> Source | None:
    """The newest manifest of a cache, or the newest of that name; None if it has none."""
    for source in reversed(note.sources):
        if name in (None, source.name):
            return source
    if name is not None:
        there = ", ".join(source.name for source in note.sources) or "none"
        raise CacheError(f"cache {note.path} holds no manifest {name!r} (there are: {there}); name one of them")
    return None


def _states(note: CacheNote, source: Source | None, cache: FeatureCache, keys: ContentKeys) -> list[ItemState]:
    """What became of each item, by the table of items, for their files need not be there; else by the files."""
    if source is None:
        return [ItemState(key, "committed", key) for key in cache]
    path = accounts_path(note.path, source.name)
    if not path.is_file():
        return account(open_library(note, source).manifest.items, note.spec, cache, keys)
    return [renewed(state, cache) for state in read_accounts(path)]


def _selection(note: CacheNote, source: Source | None, cache: FeatureCache, states: Sequence[ItemState]) -> Selection:
    """The items that have features, with what their manifest says of them if it is still there."""
    there: dict[str, Item] = {}
    if source is not None:
        try:
            there = {item.id: item for item in open_library(note, source, need_files=False).manifest.items}
        except EmoclimError as error:
            log.warning("labels and splits are left out: %s", error)
    found = [state for state in states if state.state == "committed"]
    if not found:
        raise CacheError(
            f"cache {note.path} holds no features of {source.name if source else 'anything'}; extract them"
        )
    items = [there.get(state.id) for state in found]
    return Selection(
        cache,
        [state.id for state in found],
        [state.key for state in found],
        [item.label if item else None for item in items],
        [item.split if item else None for item in items],
    )


def _write(out: Path, kind: Format, items: Selection, title: str, track: Track) -> None:
    if kind != "npz" and (odd := [id_ for id_ in items.ids if not _is_text(id_)]):
        raise CacheError(f"{len(odd)} ids are no text that {kind} can hold ({odd[0]!r} first); export as npz instead")
    if kind == "hf":
        write_folder(out, lambda aside: write_parts(aside, items, title, track))
        return
    aside = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        (write_npz if kind == "npz" else write_parquet)(aside, items, track)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)


def _is_text(id_: str) -> bool:
    try:
        id_.encode()
    except UnicodeEncodeError:
        return False
    return True
