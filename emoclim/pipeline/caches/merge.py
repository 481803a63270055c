"""Merge the shards of a cache, in the folder ``<cache>.shards`` beside it, into it: `emoclim cache merge`.

Shards are taken by their number, their items in the order in which they were committed, so many at a time; what the
cache holds already is skipped. So a merge that was stopped, and is done again, gives the cache of one that was not. The
shards stay as they are; `emoclim cache gc` removes them when all are merged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from emoclim.cache import (
    CacheNote,
    FeatureCache,
    ItemStatus,
    in_blocks,
    item_statuses,
    item_table_path,
    key_of,
    located,
    note_or_new,
    open_cache,
    portable_path,
    read_item_table,
    who_writes,
    write_failures,
    write_item_table,
)
from emoclim.data import ContentKeys, Item
from emoclim.errors import CacheError, EmoclimError
from emoclim.pipeline.find_caches import find_shards, lacking_shards, note_of, whole_of
from emoclim.pipeline.library import open_library
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What one `emoclim cache merge` did."""

    cache: Path
    shards: int
    added: int
    there: int  # items that the cache held already
    failures: int  # items that could not be encoded, as the tables list them, and contents that no table tells of
    lacking: tuple[str, ...]  # shards that are not there: "2 of 4"
    writing: tuple[str, ...]  # shards that are still being written, and by whom
    remarks: tuple[str, ...]  # what could not be done, a sentence each

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        lines = [f"{self.shards} shards -> {self.cache}: {self.added} items added, {self.there} were there"]
        if self.failures:
            lines.append(f"{self.failures} items could not be encoded")
        if self.lacking:
            lines.append(f"not here: shard {', '.join(self.lacking)}; extract it, or bring it here, and merge again")
        lines += [f"{told}; merge again when that is done" for told in self.writing]
        return [*lines, *self.remarks]


def merge_shards(name: str, *, workspace: Workspace, track: Track = silent) -> MergeResult:
    """Put what the shards of a cache hold into it; one of another spec raises :class:`CacheMismatch`."""
    shards = find_shards(workspace, name)
    cache_path = whole_of(shards)
    notes = [note_of(shard) for shard in shards]
    writing = tuple(f"{shard} is being written by {who}" for shard in shards if (who := who_writes(shard)))
    keys = workspace.content_keys()
    with open_cache(cache_path, notes[0].spec) as cache:
        before = len(cache)
        items = append_shards(shards, cache, track)
        note = _merged_note(cache_path, notes)
        states, remarks = _write_tables(note, notes, cache, keys)
        failures = sum(state.state == "failed" for state in states)
        failures += len(cache.failures().keys() - {state.key for state in states})
        added = len(cache) - before
        if not cache_path.exists():
            raise CacheError(f"the shards of {cache_path} hold nothing yet; merge them when they do")
        note.save()  # while nobody else writes: what is noted of the shards may be swept once it is noted here
    keys.save()
    return MergeResult(
        cache_path, len(shards), added, items - added, failures, lacking_shards(shards), writing, tuple(remarks)
    )


def append_shards(shards: Sequence[Path], cache: FeatureCache, track: Track = silent) -> int:
    """Append what shards hold to a cache, and why contents failed in all of them; return how many items they hold."""
    items, failed = 0, dict[str, str]()
    for shard in shards:
        with open_cache(shard) as part:
            items += len(part)
            _merge(part, cache, shard.name, track)
            failed = {**part.failures(), **failed}
    known = cache.failures()
    for key in [key for key in failed if key not in cache and key not in known]:
        cache.record_failure(key, failed[key])
    return items


def _merge(part: FeatureCache, cache: FeatureCache, name: str, track: Track) -> None:
    """Append what a cache does not hold yet of a shard."""
    cache.spec.require(part.spec, f"cache {cache.path}")
    for block in track(in_blocks(part.in_order()), description=f"merge {name}"):
        if new := list(compress(block, ~cache.holds(block))):
            cache.append_features(part.read(new))


def _merged_note(cache: Path, parts: Sequence[CacheNote]) -> CacheNote:
    """Join the notes of all parts to that of the whole."""
    first = next((part for part in parts if part.sources), parts[0])  # a shard in the making has no note yet
    checkpoint = first.checkpoint and portable_path(located(first.checkpoint, first.path.parent), cache.parent)
    note = note_or_new(CacheNote(cache, first.spec, checkpoint, first.settings))
    sources = {source.path: source for source in note.sources}
    for part in parts:
        for source in part.sources:
            path = portable_path(source.found_from(part.path), cache.parent)
            sources[path] = replace(source, path=path)
    here = {(source.name, source.digest) for source in sources.values() if source.found_from(cache).exists()}
    kept = [one for one in sources.values() if one.found_from(cache).exists() or (one.name, one.digest) not in here]
    runs = [*note.made, *(run for part in parts for run in part.made if run not in note.made)]
    runs.sort(key=lambda run: str(run.get("time")))
    return replace(note, sources=tuple(kept), made=tuple(runs))


def _write_tables(
    note: CacheNote, parts: Sequence[CacheNote], cache: FeatureCache, keys: ContentKeys
) -> tuple[list[ItemStatus], list[str]]:
    """Write the tables of each manifest; return the statuses of all items, and why a table could not be written."""
    listed, remarks = list[ItemStatus](), []
    for source in note.sources:
        try:
            items = open_library(note, source, need_files=False).manifest.items
        except EmoclimError as error:
            remarks.append(f"no table of the items of {source.name} was written: {error}")
            continue
        tables = (item_table_path(part.path, source.name) for part in parts)
        states = [status for table in tables if table.is_file() for status in read_item_table(table)]
        known = {status.id: status.key for status in states if status.key}

        def key(item: Item, known: Mapping[str, str] = known) -> str:
            return known.get(item.id) or key_of(item, note.spec, keys)

        statuses = item_statuses(items, key, cache.keys(), cache.failures())
        listed += statuses
        write_item_table(note.path, source.name, statuses)
        write_failures(note.path, source.name, statuses, items)
    return listed, remarks
