"""Find the rows of a cache by key, of millions of items without an object for each. Used by the ledger.

The newest keys, and all of a small cache, are in a dictionary. The others are in runs: their texts, and their hashes in
order, which are searched; what is found is compared with the texts. Invariant: a reader in another thread finds all
keys that were added before, also while runs are joined.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emoclim.data import Texts, hash_of

NEWEST = 1 << 16  # keys in the dictionary, at most
BLOCK = 1 << 12  # new keys that make a run at once, where there are that many
SEARCHED = 1 << 17  # keys that are looked up at once
NONE = -1  # row of a key that is not there


class KeyIndex(Set[str]):
    """Keys of the committed items, in the order of their rows."""

    def __init__(self) -> None:
        # one attribute, so that a reader never sees keys in both or in neither
        self._held: tuple[list[_Run], dict[str, int]] = [], {}

    @classmethod
    @override
    def _from_iterable(cls, it: Iterable[Any]) -> frozenset[Any]:
        return frozenset(it)

    def __len__(self) -> int:
        runs, newest = self._held
        return sum(len(run.rows) for run in runs) + len(newest)

    def __contains__(self, key: object) -> bool:
        runs, newest = self._held
        return key in newest or (isinstance(key, str) and any(run.place(key) != NONE for run in runs))

    def __iter__(self) -> Iterator[str]:
        return iter(self.in_order())

    def in_order(self) -> Sequence[str]:
        """Return the keys as they are now, in the order of their rows: a tuple of few, Texts of many."""
        runs, newest = self._held
        return Texts.join([*(run.keys for run in runs), Texts.of(tuple(newest))]) if runs else tuple(newest)

    def all_rows(self) -> NDArray[np.int64]:
        """Return the rows of all keys, in order."""
        runs, newest = self._held
        return np.concatenate([*(run.rows for run in runs), _row_numbers(newest)])

    def rows(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Find the row of each of keys ``(n,)``; NONE of those that are not there."""
        runs, newest = self._held
        if not runs and len(keys) == len(newest) and tuple(keys) == tuple(newest):  # as a small library is read
            return _row_numbers(newest)
        rows = np.fromiter(map(newest.get, keys, repeat(NONE)), np.int64, len(keys)) if newest else _nowhere(len(keys))
        if not runs or not len(keys):
            return rows
        texts = Texts.of(keys)
        for run in runs:
            if (stretch := run.stretch(texts)) is not None:  # as a whole library is read
                return stretch
        for first in range(0, len(keys), SEARCHED):
            own = slice(first, first + SEARCHED)
            some, found = texts[own], rows[own]
            hashes = some.hashes()
            order = np.argsort(hashes)  # so that a run is searched from its begin to its end
            for run in runs:
                lacking = order[found[order] == NONE]
                found[lacking] = run.search(some, hashes[lacking], lacking)
        return rows

    def prepare(self, keys: Sequence[str], row: int) -> "NewKeys | None":
        """Give keys the rows from `row` on, for :meth:`add`; None if one is there already, or is given twice."""
        if len(keys) < BLOCK or len(self) + len(keys) <= NEWEST:
            few = dict(zip(keys, range(row, row + len(keys)), strict=True))
            return few if len(few) == len(keys) and (self.rows(keys) == NONE).all() else None
        texts = Texts.of(keys)
        run = _Run(texts, np.arange(row, row + len(keys)), texts.hashes(), np.arange(len(keys)))
        runs, newest = self._held
        there = run.has_twice() or any(map(run.shares_keys, runs))
        return None if there or (newest and not newest.keys().isdisjoint(texts)) else run

    def add(self, new: "NewKeys") -> None:
        """Add keys that were prepared, and none since."""
        held, newest = self._held
        if isinstance(new, dict):
            newest.update(new)
            if len(newest) <= NEWEST:
                return
        runs = list(held)
        for run in ([_Run.of(newest)] if newest else []) + ([] if isinstance(new, dict) else [new]):
            while runs and len(runs[-1].rows) <= 2 * len(run.rows):
                run = runs.pop().joined(run)
            runs.append(run)
        self._held = runs, {}

    def remove(self, keys: Sequence[str]) -> None:
        """Remove keys; raise ValueError where one is not there, or is given twice."""
        rows = np.unique(self.rows(keys))
        if len(rows) < len(keys) or NONE in rows:
            raise ValueError("it leaves out what is not there")
        runs, newest = self._held
        if gone := newest.keys() & keys:
            newest = {key: row for key, row in newest.items() if key not in gone}
        self._held = [run.without(rows) for run in runs], newest


class _Run:
    """Keys and their rows, which grow, to be searched by hash."""

    def __init__(
        self, keys: Texts, rows: NDArray[np.int64], hashes: NDArray[np.int64], places: NDArray[np.int64]
    ) -> None:
        order = np.argsort(hashes, kind="stable")  # stretches that are in order take no longer than a look
        self.keys, self.rows = keys, rows
        self._hashes, self._places = hashes[order], places[order]  # of the key at each place
        self._hashed = memoryview(self._hashes.data)  # from which one is read in a fifth of the time

    @classmethod
    def of(cls, rows: dict[str, int]) -> "_Run":
        """Take the keys of a dictionary."""
        keys = Texts.of(rows)
        return cls(keys, _row_numbers(rows), keys.hashes(), np.arange(len(rows)))

    def joined(self, later: "_Run") -> "_Run":
        """Put a run behind this one."""
        return _Run(
            Texts.join([self.keys, later.keys]),
            np.concatenate([self.rows, later.rows]),
            np.concatenate([self._hashes, later._hashes]),
            np.concatenate([self._places, later._places + len(self.rows)]),
        )

    def without(self, rows: NDArray[np.int64]) -> "_Run":
        """Leave out the keys of some rows."""
        kept = ~np.isin(self.rows, rows)
        if kept.all():
            return self
        still, places = kept[self._places], kept.cumsum() - 1
        keys = self.keys.take(np.flatnonzero(kept))
        return _Run(keys, self.rows[kept], self._hashes[still], places[self._places[still]])

    def has_twice(self) -> bool:
        """Tell whether a key is there twice."""
        alike = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        keys = self.keys.take(self._places[np.union1d(alike, alike + 1)])
        return len(set(keys)) < len(keys)

    def shares_keys(self, other: "_Run") -> bool:
        """Tell whether a key is there as well."""
        return bool((other.search(self.keys, self._hashes, self._places) != NONE).any())

    def place(self, key: str) -> int:
        """Find the place of one key."""
        wanted = hash_of(key)
        at = bisect_left(self._hashed, wanted)
        while at < len(self._hashed) and self._hashed[at] == wanted:
            if self.keys[place := int(self._places[at])] == key:
                return place
            at += 1
        return NONE

    def stretch(self, keys: Texts) -> NDArray[np.int64] | None:
        """Return the rows of keys that stand here one behind the other; None if they do not."""
        first = self.place(keys[0])
        last = first + len(keys)
        if first == NONE or last > len(self.rows) or self.keys[first:last] != keys:
            return None
        return self.rows[first:last]

    def search(self, keys: Texts, hashes: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the rows ``(n,)`` of the keys at places `asked`, whose hashes are in order."""
        rows = _nowhere(len(asked))
        at = np.searchsorted(self._hashes, hashes)
        found = np.flatnonzero(self._hashes.take(at, mode="clip") == hashes) if len(self.rows) else asked[:0]
        if not len(found):
            return rows
        places, wanted = self._places[at[found]], keys.take(asked[found])
        if self.keys.take(places) != wanted:  # hashes of different texts are equal, once in an age
            places = np.fromiter(map(self.place, wanted), np.int64, len(wanted))
        rows[found] = np.where(places == NONE, NONE, self.rows[places])
        return rows


def _row_numbers(rows: dict[str, int]) -> NDArray[np.int64]:
    return np.fromiter(rows.values(), np.int64, len(rows))


def _nowhere(count: int) -> NDArray[np.int64]:
    return np.full(count, NONE, np.int64)


NewKeys = dict[str, int] | _Run  # of prepared keys their rows
