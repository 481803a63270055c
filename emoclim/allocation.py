"""Memory of the CPU that a network uses again for each batch, kept between batches.

glibc gives large blocks back to the system as soon as they are freed, and the next layer's activations are new pages
again, each of which the system clears at its first use. With batches of 32 segments that took half of the time of a
network with large activations (musicnn: 35 ms a segment on two cores, 17 without).
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # names of glibc's parameters
KEPT = 2**31 - 1  # bytes that may lie free at the end of the heap
AFTERWARDS = ((MMAP_MAX, 65_536), (MMAP_THRESHOLD, 2**25), (TRIM_THRESHOLD, 2**26))  # what glibc comes to by itself


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Let what is freed in the block be used again in it; afterwards all of it goes back to the system.

    Parameters
    ----------
    device
        Where networks run; on any but the CPU, and without glibc, nothing is changed.
    """
    library = _glibc() if device.type == "cpu" else None
    if library is None:
        yield
        return
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        for name, value in AFTERWARDS:
            library.mallopt(name, value)
        library.malloc_trim(0)


def _glibc() -> Any | None:
    """The C library of this process, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
