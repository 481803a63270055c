"""Keep what C libraries print about a file from reaching the user without that file's name.

libmpg123 writes a line about each odd packet to the C library's `stderr`, and a seek makes packets odd. What is wrong
with a file is told by our own errors. Only C's stream is exchanged, not file descriptor 2, so that nothing is lost
that Python or another thread writes meanwhile.
"""

import ctypes
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_lock = threading.Lock()
_users = 0


@contextmanager
def without_c_messages() -> Iterator[None]:
    """Discard what C code prints to `stderr`, in all threads; does nothing where that stream cannot be exchanged."""
    streams = _streams()
    if streams is None:
        yield
        return
    _enter(streams, 1)
    try:
        yield
    finally:
        _enter(streams, -1)


def _enter(streams: tuple[ctypes.c_void_p, int, int], change: int) -> None:
    global _users
    variable, real, null = streams
    with _lock:
        _users += change
        variable.value = null if _users else real


def _begin_anew() -> None:
    """Give a forked process its own state: other threads, which may have been decoding, are not in it."""
    global _lock, _users
    _lock, _users = threading.Lock(), 0
    if _streams.cache_info().currsize and (streams := _streams()):
        streams[0].value = streams[1]


@cache
def _streams() -> tuple[ctypes.c_void_p, int, int] | None:
    """Return C's variable `stderr`, the stream in it, and one that discards; None where the variable is a constant."""
    if platform.libc_ver()[0] != "glibc" and sys.platform != "darwin":
        return None
    library = ctypes.CDLL(None)
    variable = ctypes.c_void_p.in_dll(library, "__stderrp" if sys.platform == "darwin" else "stderr")
    library.fopen.restype = ctypes.c_void_p
    null: int | None = library.fopen(os.devnull.encode(), b"w")
    return None if variable.value is None or null is None else (variable, variable.value, null)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
