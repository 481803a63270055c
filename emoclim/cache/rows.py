"""Items as rows of the tables of a cache, and the checksums of these rows."""

from collections.abc import Sequence

import numpy as np
import torch
from google_crc32c import extend
from google_crc32c import value as checksum
from numpy.typing import NDArray
from torch import Tensor

from emoclim.cache.contract import EncodedItem
from emoclim.cache.store import Rows, Table

Checksums = NDArray[np.uint32]  # CRC-32C of little-endian bytes


def to_rows(items: Sequence[EncodedItem]) -> dict[Table, Rows]:
    """Values ``(n, D)``, segments ``(R, D)`` and starts ``(R,)`` of at least one item.

    Where no item has a segment, there is only the table of values.
    """
    rows: dict[Table, Rows] = {"values": _stacked([item.value[None] for item in items])}
    segments = [item.segments for item in items if item.segments is not None and len(item.segments)]
    starts = [item.starts for item in items if item.starts is not None]
    if segments:
        rows |= {"segments": _stacked(segments), "starts": _stacked(starts)}
    return rows


def value_checksums(values: Rows) -> Checksums:
    """Of each of the values ``(n, D)``."""
    return np.fromiter(map(checksum, values), np.uint32, len(values))


def segment_checksums(segments: Rows | None, starts: Rows | None, counts: NDArray[np.int64]) -> Checksums:
    """Of the segments ``(R, D)`` of each item, followed by their starts ``(R,)``; 0 where its number ``(n,)`` is 0."""
    found = np.zeros(len(counts), np.uint32)
    if segments is None or starts is None:
        return found
    ends = counts.cumsum()
    for item in np.flatnonzero(counts):
        own = slice(ends[item] - counts[item], ends[item])
        found[item] = extend(checksum(segments[own]), starts[own])
    return found


def _stacked(parts: Sequence[Tensor]) -> Rows:
    rows: Rows = torch.cat(list(parts)).detach().cpu().numpy()
    return np.ascontiguousarray(rows)
