"""Features of some items as other programs keep them, brought to one form and looked over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emoclim.cache.base import EncodedItem
from emoclim.errors import CacheError

Array = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Block:
    """Features of some items, N of them, as a file gives them; make it with :func:`make_block`.

    Attributes
    ----------
    ids
        N names.
    values
        ``(N, D)``; None where an item's value is the mean of its segments.
    segments
        ``(R, D)``, or None.
    offsets
        ``(N + 1,)``; item n owns ``segments[offsets[n]:offsets[n + 1]]``.
    starts
        ``(R,)`` seconds; zeros where not known.
    seconds
        ``(N,)``: length of each item; zeros where not known.
    kind
        Of the numbers before they became float32.
    """

    ids: tuple[str, ...]
    values: Floats | None
    segments: Floats | None
    offsets: NDArray[np.int64]
    starts: Floats
    seconds: Floats
    kind: str

    @property
    def dim(self) -> int:
        """D."""
        table = self.segments if self.values is None else self.values
        return 0 if table is None else int(table.shape[1])

    def spoilt(self) -> list[str]:
        """Ids of the items with a number that is not finite, or with nothing to make a value of."""
        bad = np.diff(self.offsets) == 0 if self.values is None else ~np.isfinite(self.values).all(1)
        bad |= ~np.isfinite(self.seconds) | (self.seconds < 0)
        if self.segments is not None:
            rows = ~(np.isfinite(self.segments).all(1) & np.isfinite(self.starts))
            owners = np.arange(len(self.ids)).repeat(np.diff(self.offsets))
            bad[owners[rows]] = True
        return [self.ids[n] for n in np.flatnonzero(bad)]

    def items(self) -> Iterator[EncodedItem]:
        """The items one by one, their ids as keys."""
        for n, id_ in enumerate(self.ids):
            part = slice(int(self.offsets[n]), int(self.offsets[n + 1]))
            segments = None if self.segments is None else torch.from_numpy(self.segments[part])
            starts = None if segments is None else torch.from_numpy(self.starts[part])
            if self.values is not None:
                value = torch.from_numpy(self.values[n])
            elif segments is not None:
                value = segments.mean(0)
            yield EncodedItem(id_, value, segments, starts, float(self.seconds[n]))


def make_block(
    where: str,
    ids: Sequence[str],
    values: Array | None,
    segments: Array | None = None,
    offsets: Array | None = None,
    starts: Array | None = None,
    seconds: Array | None = None,
) -> Block:
    """Bring arrays to one form.

    Raises
    ------
    CacheError
        Their kinds or shapes do not fit each other; `where` names them.
    """
    if not ids:
        raise CacheError(f"{where} holds no item; there is nothing to import")
    if segments is not None and offsets is None:
        raise CacheError(f"{where} has segments and no offsets; add them, {len(ids) + 1} whole numbers")
    if offsets is None or segments is None or not len(segments):
        segments, offsets = None, np.zeros(len(ids) + 1, np.int64)
    n_segments = 0 if segments is None else len(segments)
    rises = offsets.dtype.kind in "iu" and offsets.shape == (len(ids) + 1,) and offsets[0] == 0
    if not (rises and offsets[-1] == n_segments and (np.diff(offsets.astype(np.int64)) >= 0).all()):
        raise CacheError(
            f"the offsets of {where} do not cut {n_segments} segments into {len(ids)} items; "
            f"they must be {len(ids) + 1} whole numbers that rise from 0 to {n_segments}"
        )
    starts = np.zeros(n_segments, np.float32) if starts is None or segments is None else starts
    seconds = np.zeros(len(ids), np.float32) if seconds is None else seconds
    block = Block(
        tuple(ids),
        None if values is None else _floats(values, (len(ids), None), f"the values of {where}"),
        None if segments is None else _floats(segments, (n_segments, None), f"the segments of {where}"),
        offsets.astype(np.int64),
        _floats(starts, (n_segments,), f"the starts of {where}"),
        _floats(seconds, (len(ids),), f"the seconds of {where}"),
        str(next(array.dtype for array in (values, segments) if array is not None)),
    )
    if block.segments is not None and (width := block.segments.shape[1]) != block.dim:
        raise CacheError(f"the values of {where} have {block.dim} numbers and its segments {width}; make them alike")
    return block


def _floats(array: Array, shape: tuple[int | None, ...], what: str) -> Floats:
    """An array as float32, once it has as many dimensions and rows as `shape`; None stands for D."""
    fits = array.ndim == len(shape) and all(
        n == m or (m is None and n > 0) for n, m in zip(array.shape, shape, strict=True)
    )
    if array.dtype.kind != "f" or array.dtype.itemsize > 8 or not fits:
        wanted = ", ".join("D" if length is None else str(length) for length in shape)
        raise CacheError(
            f"{what} are {array.dtype} {array.shape}, not float16, float32 or float64 ({wanted}); save them as that"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return np.require(array, np.float32, ["C", "W"])
