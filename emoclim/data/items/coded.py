"""Hold a column whose values recur: each of them once, and the number of each row's. Used by tables of items."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emoclim.data.texts import Texts


class Names(Texts):
    """Texts of which an empty one stands for None."""

    __slots__ = ()

    @override
    def __getitem__(self, place: Any) -> Any:
        return super().__getitem__(place) or None

    @override
    def __iter__(self) -> Iterator[Any]:
        return (text or None for text in super().__iter__())


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of N values that recur: each of them once, and the number of each row's."""

    values: Sequence[Any]  # a tuple of few, or Names of many
    codes: NDArray[np.int32]  # (N,)

    @classmethod
    def of(cls, values: Iterable[Hashable]) -> "Coded":
        """Number values in the order of their first occurrence."""
        numbers: dict[Hashable, int] = {}
        codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), np.int32)
        return cls(tuple(numbers), codes)

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Any]:
        return map(self.values.__getitem__, self.codes.tolist())

    def where(self, chosen: Iterable[bool]) -> NDArray[np.bool_]:
        """Tell of each row ``(N,)`` whether its value is chosen, given that of each of the `values`."""
        return np.fromiter(chosen, np.bool_, len(self.values))[self.codes]

    def counts(self) -> dict[Any, int]:
        """Count the rows of each value that has any."""
        found = np.bincount(self.codes, minlength=len(self.values)).tolist()
        return {value: count for value, count in zip(self.values, found, strict=True) if count}
