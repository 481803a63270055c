"""The contract of a feature cache.

A cache holds the features of one :class:`FeatureSpec`. Rows are keyed by content (hash of the bytes, and of the part
taken of them), so a manifest's ids are aliases and a moved file keeps its row. What a cache claims to hold is committed
and true; whatever was being written when a process died is absent.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from emoclim.features import Features, FeatureSpec


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """What an encoder made of one item.

    Attributes
    ----------
    key
        Content key.
    value
        ``(D,)`` float32: the feature of the item.
    segments
        ``(S, D)`` float32, or None if no segment is to be kept.
    starts
        ``(S,)`` float32 seconds, one per segment; None exactly when `segments` is.
    seconds
        Decoded length of the item; 0 for an image.
    """

    key: str
    value: Tensor
    segments: Tensor | None = None
    starts: Tensor | None = None
    seconds: float = 0.0


class FeatureCache(ABC):
    """Features of one spec, keyed by content; one writer, any number of readers of what is committed.

    Use it as a context manager: leaving the block closes it. Every method raises :class:`CacheError` once it is closed.

    Attributes
    ----------
    spec
        Stored inside; opening with another raises :class:`CacheMismatch` and shows the lines that differ.
    path
        Where the cache lies; None for one that lives in memory.
    """

    spec: FeatureSpec
    path: Path | None

    @abstractmethod
    def keys(self) -> frozenset[str]:
        """Keys of the committed items."""

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

    @abstractmethod
    def record_failure(self, key: str, reason: str) -> None:
        """Note why the content `key` cannot be encoded; a later reason replaces an earlier one.

        Raises
        ------
        CacheError
            The key is committed, or the cache was opened for reading only.
        """

    @abstractmethod
    def failures(self) -> Mapping[str, str]:
        """Reasons by key, of the contents that could not be encoded."""

    @abstractmethod
    def read(self, keys: Sequence[str]) -> Features:
        """Features of some items, in the order asked; `ids` are the keys.

        Segments are None where no asked item has any. Checksums are verified.

        Raises
        ------
        CacheError
            A key is not committed (the message counts and names them), or stored bytes do not match their checksum.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file; idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
