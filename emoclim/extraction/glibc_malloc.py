"""Memory of the CPU that a network uses again for each batch, kept between batches.

glibc gives large blocks back to the system as soon as they are freed, and the next layer's activations are new pages
again, each of which the system clears at its first use. Where activations are large, that took about half of the time
of extraction.

What is kept wears out: small blocks that live on come to lie between the large ones that were freed, which then fit no
more (the more so since each is aligned), and new ones go behind them. So it goes back at times.
"""

import ctypes
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

import torch

T = TypeVar("T")
INTERVAL = 5.0  # seconds; to have the memory of a network again costs some hundredths of that
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # names of glibc's parameters
KEPT = 2**31 - 1  # bytes that may lie free at the end of the heap
AFTERWARDS = ((MMAP_MAX, 65_536), (MMAP_THRESHOLD, 2**25), (TRIM_THRESHOLD, 2**26))  # what glibc comes to by itself


class Trimming:
    """Gives free memory back to the system now and then; without glibc, never."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._library, self._interval, self._since = _glibc(), interval, time.monotonic()

    def between(self, things: Iterable[T]) -> Iterator[T]:
        """Yield what `things` does; before the next of them is a good time."""
        for thing in things:
            yield thing
            if self._library is not None and time.monotonic() - self._since > self._interval:
                self._library.malloc_trim(0)
                self._since = time.monotonic()


class FreedMemory:
    """While it is entered, lets what is freed be used again; afterwards all of it goes back to the system."""

    def __init__(self, device: torch.device) -> None:
        self._library = _glibc() if device.type == "cpu" else None

    def __enter__(self) -> Self:
        if self._library is not None:
            self._library.mallopt(MMAP_MAX, 0)
            self._library.mallopt(TRIM_THRESHOLD, KEPT)
        return self

    def __exit__(self, *_: object) -> None:
        if self._library is not None:
            give_back_freed_memory()


def give_back_freed_memory() -> None:
    """Let freed memory go back to the system from now on, and what there is at once.

    For a process that was forked while a :class:`FreedMemory` was entered, and has no use for it.
    """
    library = _glibc()
    if library is not None:
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
