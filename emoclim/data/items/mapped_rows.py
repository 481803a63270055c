"""Rows of numbers that stay in a file, which is mapped into memory. Used for the features of large caches.

Invariant: a row has the bytes that lie in the file; only what is asked for is copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CPU = torch.device("cpu")
BLOCK = 1 << 13  # rows that are read at once


@dataclass(frozen=True, slots=True, eq=False)
class MappedRows:
    """N rows of D numbers in a file that is mapped into memory, read from there when they are asked for."""

    file: NDArray[np.uint8]  # (P, 4 D): as many bytes as a row has, from each place in the file on; they share memory
    places: NDArray[np.int32] | NDArray[np.int64]  # (N,): where the row lies

    device = CPU

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        places = self.places[rows if isinstance(rows, slice) else rows.numpy(force=True)]
        return torch.from_numpy(self.file[places].view(np.float32))


def in_blocks(table: Tensor | MappedRows, size: int) -> Iterator[Tensor]:
    """Cut a table into blocks of so many rows, in order: one, of none, where there are none."""
    return (table[first : first + size] for first in range(0, max(1, len(table)), size))


def selected(table: Tensor | MappedRows, rows: Tensor) -> Tensor | MappedRows:
    """Select some rows, which stay where they are."""
    return (
        MappedRows(table.file, table.places[rows.numpy(force=True)]) if isinstance(table, MappedRows) else table[rows]
    )


def copied(table: MappedRows | None, device: torch.device = CPU) -> Tensor | None:
    """Read all rows ``(N, D)``, block by block."""
    if table is None:
        return None
    rows = torch.empty(len(table), table.file.shape[1] // 4, device=device)
    for block, part in zip(in_blocks(table, BLOCK), in_blocks(rows, BLOCK), strict=True):
        part.copy_(block)
    return rows
