"""A cache on disk: a store of rows, and the ledger that says which of them count.

A commit is: the rows, to the disk; then one line of the ledger, to the disk. Whoever opens the cache sees what the
ledger counted at that moment, and a reader goes on seeing that.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.cache.base import EncodedItem, FeatureCache
from emoclim.cache.checks import check_items, check_keys, name_some
from emoclim.cache.ledger import Ledger
from emoclim.cache.store import Rows, Store, Table, shape_of
from emoclim.errors import CacheError
from emoclim.features import Features

MAKE_ROOM = "see that its disk has room and lets you write"
EXTRACT_ANEW = "delete it and extract anew"


class DiskCache(FeatureCache):
    """The cache that lies in a store; it closes the store."""

    path: Path

    def __init__(self, store: Store, *, writable: bool) -> None:
        self.path, self.spec = store.path, store.spec
        self._where = f"cache {store.path}"
        self._writable = writable
        self._store: Store | None = store
        with explained(f"{self._where} cannot be read", EXTRACT_ANEW):
            self._ledger = Ledger.replay(store.read_ledger(), self._where)
            n_segments = self._ledger.n_segments
            taken: dict[Table, int] = {
                "values": len(self._ledger.entries),
                "segments": n_segments,
                "starts": n_segments,
            }
            lacking = [table for table, rows in taken.items() if store.holds(table) < rows]
        if lacking:
            raise CacheError(
                f"{self._where} is damaged: its ledger counts more {lacking[0]} than there are; {EXTRACT_ANEW}"
            )
        if writable:
            with explained(f"{self._where} cannot be written", MAKE_ROOM):
                store.drop_leftovers(taken, self._ledger.size)

    def keys(self) -> frozenset[str]:
        """See :class:`FeatureCache`."""
        self._opened()
        return frozenset(self._ledger.entries)

    def append(self, items: Sequence[EncodedItem]) -> None:
        """See :class:`FeatureCache`."""
        store = self._opened(for_writing=True)
        check_items(items, self.spec.dim, self._ledger.entries, self._where)
        if not items:
            return
        rows: dict[Table, tuple[int, Rows]] = {
            "values": (len(self._ledger.entries), _stacked([item.value[None] for item in items]))
        }
        segments = [item.segments for item in items if item.segments is not None and len(item.segments)]
        starts = [item.starts for item in items if item.starts is not None]
        if segments:
            first = self._ledger.n_segments
            rows |= {"segments": (first, _stacked(segments)), "starts": (first, _stacked(starts))}
        with explained(f"{self._where} could not be written, and keeps none of these {len(items)} items", MAKE_ROOM):
            store.write(rows)
            self._commit(store, self._ledger.items_line(items))

    def record_failure(self, key: str, reason: str) -> None:
        """See :class:`FeatureCache`."""
        store = self._opened(for_writing=True)
        if key in self._ledger.entries:
            raise CacheError(f"{self._where} holds {key!r}, so it cannot have failed")
        if self._ledger.failures.get(key) != reason:
            with explained(f"{self._where} could not be written", MAKE_ROOM):
                self._commit(store, self._ledger.failure_line(key, reason))

    def failures(self) -> Mapping[str, str]:
        """See :class:`FeatureCache`."""
        self._opened()
        return dict(self._ledger.failures)

    def read(self, keys: Sequence[str]) -> Features:
        """See :class:`FeatureCache`."""
        self._opened()
        check_keys(keys, self._ledger.entries, self._where)
        entries = [self._ledger.entries[key] for key in keys]
        rows = np.array([entry.row for entry in entries], np.int64)
        values = self._gather("values", rows, keys, np.arange(len(keys)))
        seconds = np.array([entry.seconds for entry in entries], np.float32)
        features = Features(self.spec, tuple(keys), values, seconds=torch.from_numpy(seconds))
        counts = np.array([entry.n_segments for entry in entries], np.int64)
        if not counts.any():
            return features
        offsets = np.concatenate([[0], counts.cumsum()])
        owners = np.arange(len(keys)).repeat(counts)
        first = np.array([entry.first for entry in entries], np.int64)
        rows = (first - offsets[:-1])[owners] + np.arange(offsets[-1])
        return replace(
            features,
            segments=self._gather("segments", rows, keys, owners),
            offsets=torch.from_numpy(offsets),
            starts=self._gather("starts", rows, keys, owners),
        )

    def close(self) -> None:
        """See :class:`FeatureCache`."""
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _opened(self, *, for_writing: bool = False) -> Store:
        if self._store is None:
            raise CacheError(f"{self._where} is closed; open it again")
        if for_writing and not self._writable:
            raise CacheError(f"{self._where} was opened for reading only; open it with its spec to write to it")
        return self._store

    def _commit(self, store: Store, line: bytes) -> None:
        store.write_line(self._ledger.size, line)
        self._ledger.add(line)

    def _gather(self, table: Table, rows: NDArray[np.int64], keys: Sequence[str], owners: NDArray[np.int64]) -> Tensor:
        """Rows ``(n,)`` of a table, the i-th of them owned by ``keys[owners[i]]``, checked."""
        with explained(f"{self._where} cannot be read", EXTRACT_ANEW):
            found, damaged = gather(self._opened(), table, rows)
        if damaged.any():
            names = list(dict.fromkeys(keys[owner] for owner in owners[damaged]))
            raise CacheError(
                f"{self._where} is damaged: the stored {table} of {len(names)} items do not match their checksums "
                f"({name_some(names)}); {EXTRACT_ANEW}"
            )
        return torch.from_numpy(found)


def gather(store: Store, table: Table, rows: NDArray[np.int64]) -> tuple[Rows, NDArray[np.bool_]]:
    """Rows of a table in any order, by few contiguous reads: one where they lie close together.

    Returns
    -------
    tuple
        The rows ``(n, ...)``, and which of them ``(n,)`` are not what was written.
    """
    order = np.argsort(rows, kind="stable")
    stretches = np.split(order, np.flatnonzero(np.diff(rows[order]) > store.block) + 1) if len(rows) else []
    found = np.empty(shape_of(table, len(rows), store.spec.dim), np.float32)
    damaged = np.zeros(len(rows), np.bool_)
    for stretch in stretches:
        first, last = int(rows[stretch[0]]), int(rows[stretch[-1]]) + 1
        block, bad = store.read(table, first, last)
        damaged[stretch] = np.isin(rows[stretch], bad)
        if len(stretches) == 1:  # spare a copy, or two: this is how a whole library is read
            return block if np.array_equal(rows, np.arange(first, last)) else block[rows - first], damaged
        found[stretch] = block[rows[stretch] - first]
    return found, damaged


@contextmanager
def explained(what: str, remedy: str) -> Iterator[None]:
    """Tell in one sentence what the operating system or a library refused, and what to do."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CacheError(f"{what} ({reason}); {remedy}") from error


def _stacked(parts: Sequence[Tensor]) -> Rows:
    rows: Rows = torch.cat(list(parts)).detach().cpu().numpy()
    return np.ascontiguousarray(rows)
