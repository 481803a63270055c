"""Keep freed memory between batches on glibc. Used by extraction and training, in their main process and in workers.

glibc gives large blocks back to the system as soon as they are freed, and the next layer's activations are new pages
again, each of which the system clears at its first use. Where activations are large, that took about half of the time
of extraction. What is kept fragments, and is therefore given back now and then. Without glibc nothing is done.
"""

import ctypes
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")
INTERVAL = 5.0  # seconds; to have the memory of a network again costs some hundredths of that
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # names of glibc's parameters
KEPT = 2**31 - 1  # bytes that may lie free at the end of the heap
AFTERWARDS = ((MMAP_MAX, 65_536), (MMAP_THRESHOLD, 2**25), (TRIM_THRESHOLD, 2**26))  # what glibc comes to by itself


def trim_periodically(things: Iterable[T], interval: float = INTERVAL) -> Iterator[T]:
    """Yield what `things` does; give free memory back between two of them every `interval` seconds, and at the end."""
    library, since = _glibc(), time.monotonic()
    for thing in things:
        yield thing
        if library is not None and time.monotonic() - since > interval:
            library.malloc_trim(0)
            since = time.monotonic()
    if library is not None:
        library.malloc_trim(0)


def trim() -> None:
    """Give back what is free in pieces, of which what comes next would use few; also what Arrow keeps of it."""
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    if library := _glibc():
        library.malloc_trim(0)


@contextmanager
def keep_freed_memory(device: torch.device) -> Iterator[None]:
    """Keep freed memory for reuse within the block, if networks run on the CPU; give all of it back at the end."""
    library = _glibc() if device.type == "cpu" else None
    if library is not None:
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        if library is not None:
            give_back_freed_memory()


def give_back_freed_memory() -> None:
    """Undo :func:`keep_freed_memory`, also in a process that was forked within its block and has no use for it."""
    library = _glibc()
    if library is not None:
        for name, value in AFTERWARDS:
            library.mallopt(name, value)
        library.malloc_trim(0)


def _glibc() -> Any | None:
    """Load the C library of this process, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
