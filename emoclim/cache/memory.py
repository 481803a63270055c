"""Cache that lives in memory: for features of a moment, and the plain model that those on disk are tested against."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from emoclim.cache.contract import FeatureCache
from emoclim.cache.item_table import ItemStatus
from emoclim.cache.items import EncodedItem, check_items, refuse_unknown
from emoclim.data import Features, FeatureSpec
from emoclim.errors import CacheError


class MemoryCache(FeatureCache):
    """Features kept in a dictionary."""

    path = None

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self._items: dict[str, EncodedItem] = {}
        self._failures: dict[str, str] = {}
        self._recorded: dict[str, Sequence[ItemStatus]] = {}
        self._closed = False

    @property
    def n_segments(self) -> int:
        return sum(len(item.segments) for item in self._open_items().values() if item.segments is not None)

    def append(self, items: Sequence[EncodedItem]) -> None:
        check_items(items, self.spec.dim, self._open_items(), self._where)
        for item in items:
            self._items[item.key] = _copied(item)
            self._failures.pop(item.key, None)

    def record_failure(self, key: str, reason: str) -> None:
        if key in self._open_items():
            raise CacheError(f"{self._where} holds {key!r}, so it cannot have failed; leave it out first")
        self._failures[key] = reason

    def leave_out(self, keys: Sequence[str]) -> None:
        self._look_up(keys)
        for key in dict.fromkeys(keys):
            del self._items[key]

    @override
    def record_items(self, manifest: str, statuses: Sequence[ItemStatus]) -> None:
        self._recorded[manifest] = statuses

    @override
    def _item_tables(self) -> Iterator[tuple[str, Sequence[ItemStatus]]]:
        return iter(self._recorded.items())

    def failures(self) -> Mapping[str, str]:
        self._open_items()
        return dict(self._failures)

    @override
    def read(self, keys: Sequence[str], *, verify: bool = True) -> Features:
        items = self._look_up(keys)
        none = torch.empty(0, self.spec.dim)
        features = Features(
            self.spec,
            tuple(keys),
            torch.stack([item.value for item in items]) if items else none,
            seconds=torch.tensor([item.seconds for item in items], dtype=torch.float32),
        )
        segments = [none if item.segments is None else item.segments for item in items]
        if not any(map(len, segments)):
            return features
        counts = torch.tensor([0, *map(len, segments)])
        starts = [item.starts for item in items if item.starts is not None]
        return replace(features, segments=torch.cat(segments), offsets=counts.cumsum(0), starts=torch.cat(starts))

    def close(self) -> None:
        self._closed = True

    def keys(self) -> AbstractSet[str]:
        return self._open_items().keys()

    def _look_up(self, keys: Sequence[str]) -> list[EncodedItem]:
        items = self._open_items()
        try:
            return [items[key] for key in keys]
        except KeyError:
            refuse_unknown(keys, items, self._where)

    @property
    def _where(self) -> str:
        return f"the cache of {self.spec.name} features in memory"

    def _open_items(self) -> dict[str, EncodedItem]:
        if self._closed:
            raise CacheError(f"{self._where} is closed; make it anew")
        return self._items


def _copied(item: EncodedItem) -> EncodedItem:
    """Copy an item to the CPU, so that it shares no memory with what the caller holds."""

    def copy(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.detach().to("cpu", copy=True)

    return replace(item, value=copy(item.value), segments=copy(item.segments), starts=copy(item.starts))
