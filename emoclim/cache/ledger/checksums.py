"""Checksums of the rows of items, as the ledger has them."""

from typing import Any

import numpy as np
from google_crc32c import extend
from google_crc32c import value as checksum
from numpy.typing import NDArray

from emoclim.cache.formats.store import Rows


def damaged_items(
    records: NDArray[Any], values: Rows, segments: Rows, starts: Rows, *, verify: bool
) -> NDArray[np.bool_]:
    """Find items ``(n,)`` whose rows do not match the checksums of their records or, unverified, are not there."""
    damaged: NDArray[np.bool_]
    if verify:
        damaged = value_checksums(values) != records["value"]
        damaged |= segment_checksums(segments, starts, records["count"]) != records["segments"]
    else:
        damaged = np.isnan(values[:, 0])
        owners = np.arange(len(records)).repeat(records["count"])  # (R,)
        damaged[owners[np.isnan(segments[:, 0] + starts)]] = True
    return damaged


def value_checksums(values: Rows) -> NDArray[np.uint32]:
    """Compute the CRC-32C of the bytes of each of the values ``(n, D)``."""
    return np.fromiter(map(checksum, values), np.uint32, len(values))


def segment_checksums(segments: Rows | None, starts: Rows | None, counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Compute the CRC-32C of each item's segments ``(R, D)`` and then starts ``(R,)``; 0 where its count is 0."""
    found = np.zeros(len(counts), np.uint32)
    if segments is None or starts is None:
        return found
    ends = counts.cumsum()
    for item in np.flatnonzero(counts):
        own = slice(ends[item] - counts[item], ends[item])
        found[item] = extend(checksum(segments[own]), starts[own])
    return found
