"""A cache on disk: a store of rows, and the ledger that says which of them count.

A commit is: the rows, to the disk; then one line of the ledger, to the disk. Whoever opens the cache sees what the
ledger counted at that moment, and a reader goes on seeing that.
"""

import logging
from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emoclim.cache.checks import check_items, look_up, repair_with
from emoclim.cache.contract import EncodedItem, FeatureCache
from emoclim.cache.item_table import ids_by_key
from emoclim.cache.ledger import Ledger
from emoclim.cache.lock import WriterLock
from emoclim.cache.rows import segment_checksums, to_rows, value_checksums
from emoclim.cache.store import Rows, Store, Table, shape_of
from emoclim.data import Features, FeatureSpec
from emoclim.errors import CacheError, name_some

log = logging.getLogger(__name__)

MAKE_ROOM = "see that its disk has room and lets you write"
EXTRACT_ANEW = "delete it and extract anew"
NEAR = 64  # rows between two asked ones that are read rather than skipped


class DiskCache(FeatureCache):
    """The cache that lies in a store, which it closes."""

    path: Path

    def __init__(
        self,
        path: Path,
        spec: FeatureSpec,
        store: Store | None,
        make_store: Callable[[], Store],
        lock: WriterLock | None = None,
    ) -> None:
        self.path, self.spec = path, spec
        self._where = f"cache {path}"
        self._store, self._make_store, self._lock = store, make_store, lock
        self._closed = False
        self._ledger = Ledger()
        if store is not None:
            self._replay(store)

    @property
    def n_segments(self) -> int:
        """See :class:`FeatureCache`."""
        return self._opened().n_segments

    def append(self, items: Sequence[EncodedItem]) -> None:
        """See :class:`FeatureCache`."""
        ledger = self._opened(for_writing=True)
        check_items(items, self.spec.dim, ledger.rows, self._where)
        if not items:
            return
        rows = to_rows(items)
        ends = self._ends()
        with explained(f"{self._where} could not be written, and keeps none of these {len(items)} items", MAKE_ROOM):
            store = self._made_store()
            store.write({table: (ends[table], part) for table, part in rows.items()})
            self._commit(store, ledger.items_line(items, rows))

    def record_failure(self, key: str, reason: str) -> None:
        """See :class:`FeatureCache`."""
        ledger = self._opened(for_writing=True)
        if key in ledger.rows:
            raise CacheError(f"{self._where} holds {key!r}, so it cannot have failed")
        if ledger.failures.get(key) != reason:
            with explained(f"{self._where} could not be written", MAKE_ROOM):
                self._commit(self._made_store(), ledger.failure_line(key, reason))

    def leave_out(self, keys: Sequence[str]) -> None:
        """See :class:`FeatureCache`."""
        ledger = self._opened(for_writing=True)
        rows = np.fromiter(look_up(keys, ledger.rows, self._where), np.int64, len(keys))
        if not keys:
            return
        with explained(f"{self._where} could not be written", MAKE_ROOM):
            store = self._made_store()
            segments = ledger.segments_of(rows)[2]
            parts: dict[Table, NDArray[np.int64]] = {"values": rows, "segments": segments, "starts": segments}
            for table, part in parts.items():
                store.reseal(table, part)
            self._commit(store, ledger.left_out_line(keys))

    def failures(self) -> Mapping[str, str]:
        """See :class:`FeatureCache`."""
        return dict(self._opened().failures)

    def read(self, keys: Sequence[str], *, verify: bool = True) -> Features:
        """See :class:`FeatureCache`."""
        ledger = self._opened()
        rows = self._rows_of(keys)
        records, offsets, segment_rows = ledger.segments_of(rows)
        remedy = f"leave them out, to be extracted again, and keep the rest with: {repair_with(self.path)}"
        with explained(f"{self._where} cannot be read", remedy.replace("them", "what is lost")):
            values = self._gather("values", rows)
            segments = self._gather("segments", segment_rows)
            starts = self._gather("starts", segment_rows)
        damaged = (_differs if verify else _lacks)(records, values, segments, starts)
        if damaged.any():
            names = list(dict.fromkeys(self._ids.get(keys[n], keys[n]) for n in np.flatnonzero(damaged)))
            raise CacheError(
                f"{self._where} is damaged: the stored features of {len(names)} items are not what was written "
                f"({name_some(names)}); {remedy}"
            )
        seconds = torch.from_numpy(records["seconds"].astype(np.float32))
        features = Features(self.spec, tuple(keys), torch.from_numpy(values), seconds=seconds)
        if not len(segments):
            return features
        return replace(
            features,
            segments=torch.from_numpy(segments),
            offsets=torch.from_numpy(offsets),
            starts=torch.from_numpy(starts),
        )

    def problems(self) -> tuple[str, ...]:
        """See :class:`FeatureCache`."""
        if not self._opened().lost_end:
            return ()
        return (f"the last commit of {self._where} cannot be read: its items may be missing; extract again",)

    def close(self) -> None:
        """See :class:`FeatureCache`."""
        store, self._store, self._closed = self._store, None, True
        try:
            if store is not None:
                store.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    @cached_property
    def _ids(self) -> Mapping[str, str]:
        return ids_by_key(self.path)

    def _committed(self) -> KeysView[str]:
        return self._opened().rows.keys()

    def _replay(self, store: Store) -> None:
        with explained(f"{self._where} cannot be read", EXTRACT_ANEW):
            ledger = self._ledger = Ledger.replay(store.read_ledger(), self._where)
            ends = self._ends()
            lacking = [table for table, rows in ends.items() if store.holds(table) < rows]
        if lacking:
            raise CacheError(
                f"{self._where} is damaged: its ledger counts more {lacking[0]} than there are; {EXTRACT_ANEW}"
            )
        if self._lock is not None:
            if ledger.lost_end:
                log.warning("the last commit of %s cannot be read and is given up: extract its items", self._where)
            with explained(f"{self._where} cannot be written", MAKE_ROOM):
                store.drop_leftovers(ends, ledger.size)

    def _ends(self) -> dict[Table, int]:
        """Number of rows of each table that are taken."""
        n_values, n_segments = self._ledger.taken
        return {"values": n_values, "segments": n_segments, "starts": n_segments}

    def _opened(self, *, for_writing: bool = False) -> Ledger:
        if self._closed:
            raise CacheError(f"{self._where} is closed; open it again")
        if for_writing and self._lock is None:
            raise CacheError(f"{self._where} was opened for reading only; open it with its spec to write to it")
        if for_writing and self._lock and not self._lock.is_own():
            raise CacheError(f"{self._where} is written by the process that this one is a fork of; write to it there")
        return self._ledger

    def _made_store(self) -> Store:
        if self._store is None:
            self._store = self._make_store()
        return self._store

    def _commit(self, store: Store, line: bytes) -> None:
        store.write_line(self._ledger.size, line)
        self._ledger.add(line)

    def _rows_of(self, keys: Sequence[str]) -> NDArray[np.int64]:
        rows = self._ledger.rows
        if len(keys) == len(rows) and list(keys) == list(rows):  # everything in its order: no need to look each one up
            return np.fromiter(rows.values(), np.int64, len(keys))
        return np.fromiter(look_up(keys, rows, self._where), np.int64, len(keys))

    def _gather(self, table: Table, rows: NDArray[np.int64]) -> Rows:
        """Rows ``(n, ...)`` of a table in any order, by few contiguous reads."""
        store, found = self._store, np.empty(shape_of(table, len(rows), self.spec.dim), np.float32)
        if store is None or not len(rows):
            return found
        if (np.diff(rows) == 1).all():  # this is how a whole library is read
            return store.read(table, int(rows[0]), int(rows[-1]) + 1)
        order = np.argsort(rows, kind="stable")
        stretches = np.split(order, np.flatnonzero(np.diff(rows[order]) > NEAR) + 1)
        for stretch in stretches:
            first, last = int(rows[stretch[0]]), int(rows[stretch[-1]]) + 1
            block = store.read(table, first, last)
            if len(stretches) == 1:
                return block.take(rows - first, axis=0)
            found[stretch] = block[rows[stretch] - first]
        return found


def _differs(records: NDArray[Any], values: Rows, segments: Rows, starts: Rows) -> NDArray[np.bool_]:
    """Which items ``(n,)`` do not match their checksums."""
    different: NDArray[np.bool_] = value_checksums(values) != records["value"]
    different |= segment_checksums(segments, starts, records["count"]) != records["segments"]
    return different


def _lacks(records: NDArray[Any], values: Rows, segments: Rows, starts: Rows) -> NDArray[np.bool_]:
    """Which items ``(n,)`` have rows that are not there."""
    lacking: NDArray[np.bool_] = np.isnan(values[:, 0])
    owners = np.arange(len(records)).repeat(records["count"])  # (R,)
    lacking[owners[np.isnan(segments[:, 0] + starts)]] = True
    return lacking


@contextmanager
def explained(what: str, remedy: str) -> Iterator[None]:
    """Tell in one sentence what the operating system or a library refused, and what to do."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CacheError(f"{what} ({reason}); {remedy}") from error
