"""Find which items a cache holds features of, and tell of the others. Used for libraries and their indexes."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emoclim.cache import FeatureCache, key_of
from emoclim.data import ContentKeys, FeatureSpec, Item
from emoclim.errors import DecodeError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What a cache holds of some items."""

    items: list[Item]  # those it has features of
    keys: list[str]  # of these
    others: list[Item]  # those that cannot be read or encoded
    lacking: list[str]  # ids of those that were not extracted
    left_out: Mapping[str, int]  # how many were, by reason


def find_held(spec: FeatureSpec, items: Sequence[Item], keys: ContentKeys, cache: FeatureCache) -> Held:
    """Find which items a cache holds, by their content."""
    committed, failed = cache.keys(), cache.failures()
    held, left_out = Held([], [], [], [], {}), Counter[str]()
    for item in items:
        try:
            key = key_of(item, spec, keys)
        except DecodeError:
            left_out["cannot be read"] += 1
            held.others.append(item)
            continue
        if key in committed:
            held.items.append(item)
            held.keys.append(key)
        elif key in failed:
            left_out["failed to encode"] += 1
            held.others.append(item)
        elif spec.keyed_by_id:
            left_out["have no imported features"] += 1
        else:
            held.lacking.append(item.id)
    left_out["were not extracted yet"] = len(held.lacking)
    return replace(held, left_out=dict(+left_out))


def tell_left_out(source: Path, items: int, left_out: Mapping[str, int]) -> None:
    """Warn of items that are not used."""
    for reason, count in left_out.items():
        log.warning("%d of %d items of %s %s: left out", count, items, source, reason)
