"""Find which items a cache holds features of, and tell of the others. Used for libraries and their indexes."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emoclim.cache import FeatureCache, key_of, keys_by_id
from emoclim.data import ContentKeys, FeatureSpec, Item, Texts, ids_of, select_items
from emoclim.errors import DecodeError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What a cache holds of some items."""

    items: Sequence[Item]  # those it has features of
    keys: Sequence[str]  # of these
    others: list[Item]  # those that cannot be read or encoded
    lacking: list[str]  # ids of those that were not extracted
    left_out: Mapping[str, int]  # how many were, by reason


def find_held(spec: FeatureSpec, items: Sequence[Item], keys: ContentKeys, cache: FeatureCache) -> Held:
    """Find which items a cache holds, by their content."""
    failed = cache.failures()
    if spec.keyed_by_id and not failed:
        return _find_imported(items, cache)
    keyed = [(item, readable_key(item, spec, keys)) for item in items]
    there = iter(cache.holds([key for _, key in keyed if key is not None]).tolist())
    found, own_keys, held, left_out = list[Item](), list[str](), Held([], [], [], [], {}), Counter[str]()
    for item, key in keyed:
        if key is None:
            left_out["cannot be read"] += 1
            held.others.append(item)
        elif next(there):
            found.append(item)
            own_keys.append(key)
        elif key in failed:
            left_out["failed to encode"] += 1
            held.others.append(item)
        elif spec.keyed_by_id:
            left_out["have no imported features"] += 1
        else:
            held.lacking.append(item.id)
    left_out["were not extracted yet"] = len(held.lacking)
    return replace(held, items=found, keys=own_keys, left_out=dict(+left_out))


def readable_key(item: Item, spec: FeatureSpec, keys: ContentKeys) -> str | None:
    """Return the key of an item; None if its file is needed and cannot be read."""
    try:
        return key_of(item, spec, keys)
    except DecodeError:
        return None


def _find_imported(items: Sequence[Item], cache: FeatureCache) -> Held:
    """Find items by their ids, of which there may be very many."""
    keys = keys_by_id(ids_of(items))
    there = cache.holds(keys)
    if there.all():
        return Held(items, keys, [], [], {})
    left_out = {"have no imported features": len(there) - int(there.sum())}
    return Held(select_items(items, there), Texts.of(keys).take(np.flatnonzero(there)), [], [], left_out)


def tell_left_out(source: Path, items: int, left_out: Mapping[str, int]) -> None:
    """Warn of items that are not used."""
    for reason, count in left_out.items():
        log.warning("%d of %d items of %s %s: left out", count, items, source, reason)
