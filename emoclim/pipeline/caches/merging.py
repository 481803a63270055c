"""`emoclim cache merge`: the shards of a cache, made by several processes or machines, become one cache.

Conventions: shards are taken by their number, their items in the order in which they were committed, so many at a time;
what the cache holds already is skipped. So a merge that was stopped, and is done again, gives the cache of one that was
not. The shards stay as they are; `emoclim cache gc` removes them when all are merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emoclim.cache import open_cache
from emoclim.cache.base import FeatureCache
from emoclim.cache.writer import who_writes
from emoclim.data.content import ContentKeys
from emoclim.errors import CacheError, EmoclimError
from emoclim.pipeline.accounts import (
    ItemState,
    accounts_path,
    failures_path,
    read_accounts,
    write_accounts,
    write_table,
)
from emoclim.pipeline.caches.finding import account, note_of
from emoclim.pipeline.caches.repair import copy_items
from emoclim.pipeline.caches.shards import find_shards, lacking_shards, whole_of
from emoclim.pipeline.libraries import CacheNote, note_or_new, open_library, portable_path
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What one `emoclim cache merge` did.

    Attributes
    ----------
    cache
        The whole.
    shards
        How many were merged.
    added, there
        Items that the cache did not hold, and items that it did.
    failures
        Items that could not be encoded, as the tables of failures list them; and contents that no table tells of.
    lacking
        Shards that are not there: ``"2 of 4"``.
    writing
        Shards that are still being written, and by whom.
    remarks
        What could not be done, one sentence each.
    """

    cache: Path
    shards: int
    added: int
    there: int
    failures: int
    lacking: tuple[str, ...]
    writing: tuple[str, ...]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "cache": str(self.cache),
            "shards": self.shards,
            "added": self.added,
            "there": self.there,
            "failures": self.failures,
            "lacking": list(self.lacking),
            "writing": list(self.writing),
            "remarks": list(self.remarks),
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = [f"{self.shards} shards -> {self.cache}: {self.added} items added, {self.there} were there"]
        if self.failures:
            lines.append(f"{self.failures} items could not be encoded")
        if self.lacking:
            lines.append(f"not here: shard {', '.join(self.lacking)}; extract it, or bring it here, and merge again")
        lines += [f"{told}; merge again when that is done" for told in self.writing]
        return [*lines, *self.remarks]


def merge_shards(
    name: str,
    *,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    track: Track = silent,
) -> MergeResult:
    """Put what the shards of a cache hold into it.

    Parameters
    ----------
    name
        Of the cache, or of an encoder or a manifest, as far as it is clear.
    workspace
        Where they lie.
    track
        Shows progress.

    Raises
    ------
    CacheError
        There are no such shards, they cannot be read, or the cache is being written.
    CacheMismatch
        A shard holds features of another spec.
    """
    shards = find_shards(workspace, name)
    cache_path = whole_of(shards)
    notes = [note_of(shard) for shard in shards]
    writing = tuple(f"{shard} is being written by {who}" for shard in shards if (who := who_writes(shard)))
    keys = ContentKeys(workspace.caches / "content.json")
    with open_cache(cache_path, notes[0].spec) as cache:
        before = len(cache)
        items = sum(_merge(shard, cache, track) for shard in shards)
        _merge_failures(shards, cache)
        note = _merged_note(cache_path, notes)
        states, remarks = _write_tables(note, notes, cache, keys)
        failures = sum(state.state == "failed" for state in states)
        failures += len(cache.failures().keys() - {state.key for state in states})
        added = len(cache) - before
    if not cache_path.exists():
        raise CacheError(f"the shards of {cache_path} hold nothing yet; merge them when they do")
    keys.save()
    note.save()
    return MergeResult(
        cache_path, len(shards), added, items - added, failures, lacking_shards(shards), writing, tuple(remarks)
    )


def _merge(shard: Path, cache: FeatureCache, track: Track) -> int:
    """Append what a cache does not hold yet of a shard; the number of all its items."""
    with open_cache(shard) as part:
        cache.spec.require(part.spec, f"cache {cache.path}")
        keys = list(part)
        copy_items(part, cache, keys, f"merge {shard.name}", track)
    return len(keys)


def _merge_failures(shards: Sequence[Path], cache: FeatureCache) -> None:
    """Record what failed in a shard, and neither failed nor came through elsewhere."""
    recorded = dict(cache.failures())
    for shard in shards:
        with open_cache(shard) as part:
            for key, reason in part.failures().items():
                if key not in cache and key not in recorded:
                    cache.record_failure(key, reason)
                    recorded[key] = reason


def _merged_note(cache: Path, parts: Sequence[CacheNote]) -> CacheNote:
    """The note of the whole, with the manifests and runs of all its parts."""
    first = next((part for part in parts if part.sources), parts[0])  # a shard in the making has no note yet
    checkpoint = first.checkpoint and portable_path((first.path.parent / first.checkpoint).resolve(), cache)
    note = note_or_new(CacheNote(cache, first.spec, checkpoint, first.settings))
    sources = {source.path: source for source in note.sources}
    for part in parts:
        for source in part.sources:
            path = portable_path(source.found_from(part.path), cache)
            sources[path] = replace(source, path=path)
    here = {(source.name, source.digest) for source in sources.values() if source.found_from(cache).exists()}
    kept = [one for one in sources.values() if one.found_from(cache).exists() or (one.name, one.digest) not in here]
    runs = [*note.made, *(run for part in parts for run in part.made if run not in note.made)]
    runs.sort(key=lambda run: str(run.get("time")))
    return replace(note, sources=tuple(kept), made=tuple(runs))


def _write_tables(
    note: CacheNote, parts: Sequence[CacheNote], cache: FeatureCache, keys: ContentKeys
) -> tuple[list[ItemState], list[str]]:
    """The tables of items and failures of each manifest: all that they list; what hinders one, told."""
    listed, remarks = list[ItemState](), []
    for source in note.sources:
        try:
            items = open_library(note, source, need_files=False).manifest.items
        except EmoclimError as error:
            remarks.append(f"no table of the items of {source.name} was written: {error}")
            continue
        tables = [accounts_path(part.path, source.name) for part in parts]
        known = {
            state.id: state.key for table in tables if table.is_file() for state in read_accounts(table) if state.key
        }
        states = account(items, note.spec, cache, keys, known)
        listed += states
        write_accounts(note.path, source.name, states)
        paths = {item.id: item.path for item in items}
        failed = [(state.id, paths[state.id], state.reason) for state in states if state.state == "failed"]
        if failed:
            write_table(failures_path(note.path, source.name), [("id", "path", "reason"), *failed])
        else:
            failures_path(note.path, source.name).unlink(missing_ok=True)
    return listed, remarks
