"""Items from one cache to another; and a damaged cache made anew without the items that are lost."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from emoclim.cache import open_cache
from emoclim.cache.base import EncodedItem, FeatureCache
from emoclim.cache.files import remove
from emoclim.cache.memory import MemoryCache
from emoclim.cache.swap import swap, swap_folder, swap_folders, unfinished
from emoclim.cache.writer import WriterLock
from emoclim.features import Features
from emoclim.pipeline.accounts import accounts_path, read_accounts, write_accounts
from emoclim.pipeline.caches.finding import renewed
from emoclim.pipeline.libraries import CacheNote
from emoclim.progress import Track, silent

BLOCK_ITEMS = 256  # committed at once


def copy_items(
    source: FeatureCache, target: FeatureCache, keys: Sequence[str], description: str, track: Track = silent
) -> None:
    """Append items of one cache, in the order of `keys` and so many at a time, that another does not hold yet."""
    for first in track(range(0, len(keys), BLOCK_ITEMS), description=description):
        if new := [key for key in keys[first : first + BLOCK_ITEMS] if key not in target]:
            target.append(list(_items(source.read(new))))


def leave_out(note: CacheNote, damaged: Collection[str], track: Track = silent) -> Path:
    """Put a cache without some items in the place of one with them.

    Parameters
    ----------
    note
        Of the cache.
    damaged
        Keys of the items that are lost.
    track
        Shows progress.

    Returns
    -------
    Path
        Where the old one is now; nobody but its owner removes it.

    Raises
    ------
    CacheError
        It is being written, or cannot be written.
    """
    path = note.path
    lock = WriterLock(path)
    try:
        aside = swap_folder(path) / path.name
        with open_cache(path) as old:
            for folder in swap_folders(path):  # of repairs that died: the lock keeps others out, and the old is here
                remove(folder)
            with open_cache(aside, note.spec) as new:
                copy_items(old, new, [key for key in old if key not in damaged], f"repair {path.name}", track)
                for key, reason in old.failures().items():
                    new.record_failure(key, reason)
        kept = swap(aside, path)  # with nothing left, there is no new one
    finally:
        if not unfinished(path):
            remove(swap_folder(path))
        lock.release()
    with open_cache(path) if path.exists() else MemoryCache(note.spec) as cache:
        for source in note.sources:
            if (table := accounts_path(path, source.name)).is_file():
                write_accounts(path, source.name, [renewed(state, cache) for state in read_accounts(table)])
    return kept


def _items(features: Features) -> Iterator[EncodedItem]:
    """What was appended once, to be appended elsewhere; `ids` are keys."""
    ends = [0] * (len(features) + 1) if features.offsets is None else features.offsets.tolist()
    seconds = [0.0] * len(features) if features.seconds is None else features.seconds.tolist()
    for n, (first, last) in enumerate(pairwise(ends)):
        item = EncodedItem(features.ids[n], features.values[n], seconds=seconds[n])
        if features.segments is not None and features.starts is not None and last > first:
            item = replace(item, segments=features.segments[first:last], starts=features.starts[first:last])
        yield item
