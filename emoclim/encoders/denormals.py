"""Denormal numbers: below 1.2e-38 in float32, of no weight in any result, and many times slower on some processors.

Processes that are ours (commands, decoding workers) take them for zero. A call of the library leaves the arithmetic of
its caller as it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

KINDS = frozenset({torch.float32, torch.float64, torch.bfloat16})  # float16's are of a size that counts, and fast
SMALLEST = 5e-324  # of float64


def flush_denormals() -> None:
    """Take denormal numbers for zero in this thread and in those that it starts.

    torch starts its threads with its first parallel operation: in a process that had one before, only this one obeys.
    """
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # numpy warns if it first looks for the smallest number when there is none
    torch.set_flush_denormal(True)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Do so during the block."""
    before = SMALLEST * 1.0 == 0.0
    flush_denormals()
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@torch.no_grad()
def zero_denormals(tensors: Iterable[Tensor]) -> None:
    """Put zero in place of each denormal number of some tensors."""
    for tensor in tensors:
        if tensor.dtype in KINDS:
            tensor.masked_fill_(tensor.abs() < torch.finfo(tensor.dtype).tiny, 0.0)
