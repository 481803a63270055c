"""Contract of a feature cache, which holds the features of one :class:`FeatureSpec`. Implemented in memory and on disk.

Rows are keyed by content (hash of the bytes, and of the part taken of them), so a manifest's ids are aliases and a
moved file keeps its row. Invariant: what a cache claims to hold is committed and true; whatever was being written when
a process died is absent.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from emoclim.cache.item_table import ItemStatus, find_keys, item_tables, read_item_table, write_item_table
from emoclim.cache.items import EncodedItem, split_features
from emoclim.data import FeatureSpec

if TYPE_CHECKING:
    from torch import Tensor

    from emoclim.data import Features


class FeatureCache(ABC):
    """Features of one spec, keyed by content; one writer, any number of readers of what is committed.

    It reads like a mapping of keys, in the order in which they were committed, to values: ``len(cache)``,
    ``key in cache``, ``for key in cache``, ``cache[key]``. Use it as a context manager: leaving the block closes it.
    Every method raises :class:`CacheError` once it is closed.

    Examples
    --------
    >>> import torch
    >>> from emoclim import EncodedItem, FeatureSpec
    >>> from emoclim.cache import MemoryCache
    >>> with MemoryCache(FeatureSpec("letters", "text", 2, "none", {})) as cache:
    ...     cache.append([EncodedItem("b", torch.tensor([1.0, 2.0])), EncodedItem("a", torch.tensor([3.0, 4.0]))])
    ...     list(cache), cache["a"].tolist(), cache.read(["a", "b"]).values.shape
    (['b', 'a'], [3.0, 4.0], torch.Size([2, 2]))
    """

    spec: FeatureSpec  # stored inside; opening with another raises CacheMismatch and shows the lines that differ
    path: Path | None  # where the cache lies; None for one that lives in memory

    @abstractmethod
    def keys(self) -> AbstractSet[str]:
        """Return a view of the keys of the committed items, also of what is committed here later."""

    def in_order(self) -> Sequence[str]:
        """Return the keys of what is committed now, in the order of commit: a tuple of few, Texts of many."""
        return tuple(self.keys())

    def holds(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Tell of each of keys ``(n,)`` whether it is committed; of many in much less time than one by one."""
        return np.fromiter(map(self.keys().__contains__, keys), np.bool_, len(keys))

    def __len__(self) -> int:
        """Return the number of committed items."""
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys of what is committed now, in the order of commit."""
        return iter(self.in_order())

    def __contains__(self, key: object) -> bool:
        """Tell whether an item is committed."""
        return key in self.keys()

    def __getitem__(self, key: str) -> "Tensor":
        """Read the feature ``(D,)`` of one item, by its key or whatever else :meth:`features` knows it by."""
        return self.features([key]).values[0]

    def features(self, ids: Iterable[str] | None = None, *, verify: bool = True) -> "Features":
        """Read features of some items, by the names that their users know them by.

        Parameters
        ----------
        ids
            Ids of items of the manifests that were extracted into the cache, looked up in the tables of items beside
            it; content keys; or ids under which features were imported. None takes all items in the order of commit,
            by their keys.
        verify
            See :meth:`read`.

        Returns
        -------
        Features
            In the order asked; its `ids` are those asked.

        Raises
        ------
        CacheError
            No item is known by an id (the message counts and names them), an id stands for different contents in two
            tables, a table cannot be read, or stored bytes do not match their checksum.
        """
        if ids is None:
            return self.read(self.in_order(), verify=verify)
        ids = tuple(ids)
        where = "the cache" if self.path is None else f"cache {self.path}"
        keys = find_keys(ids, self.holds, self._item_tables(), where)
        return replace(self.read(keys, verify=verify), ids=ids)

    def record_items(self, manifest: str, statuses: Sequence[ItemStatus]) -> None:
        """Keep what became of the items of a manifest, by which :meth:`features` knows them from then on."""
        if self.path is not None and self.path.exists():  # or nothing at all was kept
            write_item_table(self.path, manifest, statuses)

    def _item_tables(self) -> Iterator[tuple[str, Sequence[ItemStatus]]]:
        """Yield what was recorded of each manifest, and where that stands."""
        for table in item_tables(self.path) if self.path else ():
            yield table.name, read_item_table(table)

    @property
    @abstractmethod
    def n_segments(self) -> int:
        """Count the segments of all committed items."""

    @abstractmethod
    def append(self, items: Sequence[EncodedItem]) -> None:
        """Commit some items, all or none of them.

        A key whose failure was recorded earlier loses that record.

        Raises
        ------
        CacheError
            A key is committed already or occurs twice, a shape does not fit the spec, a number is not finite, or the
            cache was opened for reading only.
        """

    def append_features(self, features: "Features") -> None:
        """Commit the items of features, whose `ids` are their keys, as :meth:`append` does."""
        self.append(list(split_features(features)))

    def reserve(self, n_items: int) -> None:  # noqa: B027 - a cache may need none
        """Make room for so many items without segments in advance, where that is cheaper than item by item."""

    @abstractmethod
    def record_failure(self, key: str, reason: str) -> None:
        """Record why the content `key` cannot be encoded; a later reason replaces an earlier one.

        Raises
        ------
        CacheError
            The key is committed, or the cache was opened for reading only.
        """

    @abstractmethod
    def leave_out(self, keys: Sequence[str]) -> None:
        """Take back committed items, whose stored numbers are damaged, so that they are encoded again.

        Raises
        ------
        CacheError
            A key is not committed, or the cache was opened for reading only.
        """

    @abstractmethod
    def failures(self) -> Mapping[str, str]:
        """Return reasons by key, of the contents that could not be encoded."""

    @abstractmethod
    def read(self, keys: Sequence[str], *, verify: bool = True) -> "Features":
        """Read features of some items, in the order asked; `ids` are the keys.

        Segments are None where no asked item has any.

        Parameters
        ----------
        keys
            Of committed items.
        verify
            Compare what is read with its checksums. Leaving it out saves time on a file that one trusts.

        Raises
        ------
        CacheError
            A key is not committed (the message counts and names them), or stored bytes do not match their checksum.
        """

    def open_features(self, keys: Sequence[str]) -> "Features":
        """Read features as :meth:`read` does, but leave the values in their file where these are many.

        Such :class:`MappedFeatures` outlive the cache that gave them.
        """
        return self.read(keys)

    def problems(self) -> tuple[str, ...]:
        """Tell what was committed once and is lost, apart from what :meth:`read` tells; one sentence each."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Release the file; idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
