"""Use a cache on disk: a store of rows, and the ledger that says which of them count.

A commit is: the rows, to the disk; then one line of the ledger, to the disk. Whoever opens the cache sees what the
ledger counted at that moment, and a reader goes on seeing that. No torch is loaded before features are read.
"""

import logging
import shlex
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emoclim.cache.contract import FeatureCache
from emoclim.cache.formats.mapping import damaged_in_blocks, read_rows
from emoclim.cache.formats.store import MAKE_ROOM, Store, by_table, explained, gather, partial_of
from emoclim.cache.item_table import ids_by_key
from emoclim.cache.items import EncodedItem, NewRows, are_sound, check_items, refuse_unknown, to_features
from emoclim.cache.ledger.checksums import damaged_items
from emoclim.cache.ledger.keys import NONE, NewKeys
from emoclim.cache.ledger.ledger import Ledger
from emoclim.cache.ledger.lines import to_line
from emoclim.cache.lock import WriterLock
from emoclim.data import FeatureSpec
from emoclim.errors import CacheError, name_some
from emoclim.files import atomic

if TYPE_CHECKING:
    from emoclim.data import Features

log = logging.getLogger(__name__)

ITEM_BYTES = 96  # of an item in the ledger, about, for which room is made in advance
EXTRACT_ANEW = "delete it and extract anew"


class DiskCache(FeatureCache):
    """The cache that lies in a store, which it closes; without a lock it is for reading only."""

    path: Path

    def __init__(
        self, path: Path, spec: FeatureSpec, backend: type[Store], store: Store | None, lock: WriterLock | None = None
    ) -> None:
        self.path, self.spec = path, spec
        self._where = f"cache {path}"
        self._backend, self._store, self._lock = backend, store, lock
        self._closed = False
        self._ledger = Ledger()
        if store is not None:
            self._replay(store)

    @property
    def n_segments(self) -> int:
        return self._opened().n_segments

    def append(self, items: Sequence[EncodedItem]) -> None:
        ledger = self._opened(for_writing=True)
        check_items(items, self.spec.dim, ledger.keys, self._where)
        new = ledger.keys.prepare([item.key for item in items], ledger.taken[0])
        if items and new is not None:
            self._append(NewRows.of_items(items), new)

    @override
    def append_features(self, features: "Features") -> None:
        ledger = self._opened(for_writing=True)
        new = ledger.keys.prepare(features.ids, ledger.taken[0]) if are_sound(features, self.spec.dim) else None
        if new is None:
            super().append_features(features)  # which tells what is wrong
        elif len(features):
            self._append(NewRows.of_features(features), new)

    def _append(self, rows: NewRows, new: NewKeys) -> None:
        ends = by_table(*self._ledger.taken)
        with explained(
            f"{self._where} could not be written, and keeps none of these {len(rows.keys)} items", MAKE_ROOM
        ):
            store, commit = self._made_store(), rows.commit()
            line = commit.line(self._ledger.taken)
            store.write({table: (ends[table], part) for table, part in rows.tables.items()})
            store.write_line(self._ledger.size, line)
            self._ledger.count(commit, len(line))
            self._ledger.keys.add(new)

    @override
    def reserve(self, n_items: int) -> None:
        values, size = self._opened(for_writing=True).taken[0], self._ledger.size
        if n_items:
            with explained(f"{self._where} could not be written", MAKE_ROOM):
                self._made_store().reserve(values + n_items, size + n_items * ITEM_BYTES)

    def record_failure(self, key: str, reason: str) -> None:
        ledger = self._opened(for_writing=True)
        if key in ledger.keys:
            raise CacheError(f"{self._where} holds {key!r}, so it cannot have failed; leave it out first")
        if ledger.failures.get(key) != reason:
            with explained(f"{self._where} could not be written", MAKE_ROOM):
                self._commit(self._made_store(), to_line({"failure": (key, reason)}))

    def leave_out(self, keys: Sequence[str]) -> None:
        ledger, keys = self._opened(for_writing=True), tuple(dict.fromkeys(keys))
        rows = self._rows(keys)
        if not keys:
            return
        with explained(f"{self._where} could not be written", MAKE_ROOM):
            store = self._made_store()
            for table, part in by_table(rows, ledger.segments_of(rows)[1]).items():
                store.reseal(table, part)
            self._commit(store, to_line({"left_out": list(keys)}))

    def failures(self) -> Mapping[str, str]:
        return dict(self._opened().failures)

    def read(self, keys: Sequence[str], *, verify: bool = True) -> "Features":
        return self._read(keys, verify=verify)

    @override
    def open_features(self, keys: Sequence[str]) -> "Features":
        return self._read(keys, verify=True, mapped=True)

    def _read(self, keys: Sequence[str], *, verify: bool, mapped: bool = False) -> "Features":
        ledger = self._opened()
        rows = self._rows(keys)
        offsets, segment_rows = ledger.segments_of(rows)
        command = f"emoclim cache verify {shlex.quote(str(self.path))} --repair"
        advice = f"leave out what is lost, and keep the rest, with: {command}"
        with explained(f"{self._where} cannot be read", advice):
            tables = read_rows(self._store, rows, segment_rows, self.spec.dim, mapped=mapped)
            starts = gather(self._store, "starts", segment_rows, self.spec.dim)
        damaged = damaged_in_blocks(
            partial(damaged_items, verify=verify), (ledger.records, rows), offsets, tables, starts
        )
        if damaged.any():
            names = list(dict.fromkeys(self._ids.get(keys[n], keys[n]) for n in np.flatnonzero(damaged)))
            raise CacheError(
                f"{self._where} is damaged: the stored features of {len(names)} items are not what was written "
                f"({name_some(names)}); {advice}"
            )
        return to_features(self.spec, keys, tables, ledger.records["seconds"][rows], (offsets, starts))

    def problems(self) -> tuple[str, ...]:
        if not self._opened().lost_end:
            return ()
        return (f"the last commit of {self._where} cannot be read: its items may be missing; extract again",)

    def close(self) -> None:
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

    def keys(self) -> AbstractSet[str]:
        return self._opened().keys

    @override
    def in_order(self) -> Sequence[str]:
        return self._opened().keys.in_order()

    @override
    def holds(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        there: NDArray[np.bool_] = self._opened().keys.rows(keys) != NONE
        return there

    def _rows(self, keys: Sequence[str]) -> NDArray[np.int64]:
        rows = self._opened().keys.rows(keys)
        if NONE in rows:
            refuse_unknown(keys, self._ledger.keys, self._where)
        return rows

    def _replay(self, store: Store) -> None:
        with explained(f"{self._where} cannot be read", EXTRACT_ANEW):
            ledger = self._ledger = Ledger.replay(store.read_ledger(), self._where)
            ends = by_table(*ledger.taken)
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
            place = self.path.resolve()  # a link stays a link
            with atomic(place, partial_of(place)) as partial:
                self._backend.create(partial, self.spec)
            self._store = self._backend(self.path, writable=True)
        return self._store

    def _commit(self, store: Store, line: bytes) -> None:
        store.write_line(self._ledger.size, line)
        self._ledger.add(line)
