"""Find which items a cache holds features of, and tell of the others. Used for libraries and their indexes."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from emoclim.cache import BY_ID, FeatureCache, key_of
from emoclim.data import ContentKeys, FeatureSpec, Item, ids_of, select_items
from emoclim.errors import DecodeError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What a cache holds of some items."""

    items: Sequence[Item]  # those it has features of
    keys: list[str]  # of these
    others: list[Item]  # those that cannot be read or encoded
    lacking: list[str]  # ids of those that were not extracted
    left_out: Mapping[str, int]  # how many were, by reason


def find_held(spec: FeatureSpec, items: Sequence[Item], keys: ContentKeys, cache: FeatureCache) -> Held:
    """Find which items a cache holds, by their content."""
    committed, failed = cache.keys(), cache.failures()
    if spec.keyed_by_id and not failed:
        return _find_imported(items, cache)
    found, held, left_out = list[Item](), Held([], [], [], [], {}), Counter[str]()
    for item in items:
        try:
            key = key_of(item, spec, keys)
        except DecodeError:
            left_out["cannot be read"] += 1
            held.others.append(item)
            continue
        if key in committed:
            found.append(item)
            held.keys.append(key)
        elif key in failed:
            left_out["failed to encode"] += 1
            held.others.append(item)
        elif spec.keyed_by_id:
            left_out["have no imported features"] += 1
        else:
            held.lacking.append(item.id)
    left_out["were not extracted yet"] = len(held.lacking)
    return replace(held, items=found, left_out=dict(+left_out))


def _find_imported(items: Sequence[Item], cache: FeatureCache) -> Held:
    """Find items by their ids, of which there may be very many."""
    keys = [f"{BY_ID}{id_}" for id_ in ids_of(items)]
    there = cache.holds(keys)
    if there.all():
        return Held(items, keys, [], [], {})
    left_out = {"have no imported features": len(there) - int(there.sum())}
    return Held(select_items(items, there), list(compress(keys, there)), [], [], left_out)


def tell_left_out(source: Path, items: int, left_out: Mapping[str, int]) -> None:
    """Warn of items that are not used."""
    for reason, count in left_out.items():
        log.warning("%d of %d items of %s %s: left out", count, items, source, reason)
