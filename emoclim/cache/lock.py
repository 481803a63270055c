"""Lock a cache for the one process that writes it, and tell the others who that is. Used by `DiskCache` and HDF5.

While a process writes a cache, it holds ``<cache>.lock`` (where the file system knows no locks, ``<cache>.softlock``),
and ``<cache>.writer`` says in JSON who it is. What a killed process leaves of them hinders nobody.
"""

import errno
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from emoclim.errors import CacheError
from emoclim.files import read_json, regular_handle, write_json
from emoclim.processes import is_alive

log = logging.getLogger(__name__)

LOCKS = (".writer", ".lock", ".softlock")
PATIENCE = 0.2  # seconds; a lock is also held for a moment to see whether a writer holds it
UNLOCKABLE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # some network file systems know no locks
HIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_HANDLE = -1  # any use of it raises OSError


class WriterFile:
    """An open file of a writer; a process that is forked from it may close it, and leaves it locked."""

    def __init__(self, number: int = NO_HANDLE) -> None:
        self.number, self._pid = number, os.getpid()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file for reading and writing; a link, and what is no regular file, raise OSError."""
        return cls(regular_handle(path, os.O_RDWR, follow=False))

    def share_lock(self) -> bool:
        """Share a lock on the file with its readers, if it knows locks; return False if a writer has locked it."""
        try:
            _flock(self.number, shared=True)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                raise
        return True

    def write(self, offset: int, content: bytes | memoryview) -> None:
        """Write all of `content` from a byte on."""
        os.lseek(self.number, offset, os.SEEK_SET)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self.number, rest) :]

    def close(self) -> None:
        """Unlock, for processes that were forked still share the lock, and close; idempotent."""
        number, self.number = self.number, NO_HANDLE
        if number == NO_HANDLE:
            return
        if self._pid == os.getpid():
            with suppress(OSError):
                _flock(number, shared=False)
        os.close(number)


def _flock(number: int, *, shared: bool) -> None:
    """Share a lock on an open file, or unlock it, where the operating system has such locks."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB if shared else fcntl.LOCK_UN)


@dataclass(frozen=True, slots=True)
class Writer:
    """A process that writes a cache."""

    host: str
    pid: int
    opened: str  # in UTC

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host} since {self.opened}"


class WriterLock:
    """Make this process the one that writes a cache until `release`; raise :class:`CacheError` if another is."""

    def __init__(self, cache: Path, what: str = "cache") -> None:
        self._place, self._pid = _place(cache), os.getpid()
        try:
            self._lock = _acquire(self._place)
        except Timeout as error:
            marker = lock_file(self._place, ".softlock")
            remedy = f"; if that run is dead, delete {marker}" if marker.exists() else ""
            writer = _writer(self._place) or "another process"
            raise CacheError(
                f"{what} {cache} is being written by {writer}; wait for it to end, or stop it there{remedy}"
            ) from error
        try:
            if former := _writer(self._place):
                log.warning("%s %s was left open by %s; all it committed is kept", what, cache, former)
            opened = datetime.now(UTC).isoformat(" ", "seconds")
            writer = Writer(platform.node(), self._pid, opened)
            write_json(lock_file(self._place, ".writer"), asdict(writer))
        except BaseException:
            self.release()
            raise

    def is_own(self) -> bool:
        """Tell whether this process holds it, and not the one that this was forked from."""
        return self._pid == os.getpid()

    def release(self) -> None:
        """Let others write; idempotent."""
        if self.is_own() and self._lock.is_locked:
            for suffix in (".writer", ".lock"):  # whoever waits for a removed lock sees that, and makes another
                with suppress(OSError):
                    lock_file(self._place, suffix).unlink()
            self._lock.release()


def who_writes(cache: Path) -> Writer | None:
    """Find out who is writing a cache; None if nobody holds its lock, or nobody says so."""
    place = _place(cache)
    writer = _writer(place)
    if writer is None or not any(lock_file(place, suffix).is_file() for suffix in (".lock", ".softlock")):
        return None
    with kept_free(place) as free:
        return None if free else writer


@contextmanager
def kept_free(cache: Path) -> Iterator[bool]:
    """Keep writers from a cache for a while; yield whether that is possible, for one may be at work."""
    place = _place(cache)
    is_there = lock_file(place, ".lock").exists()
    try:
        lock = _acquire(place, 0)
    except Timeout:
        yield False
        return
    except OSError as error:  # whether it is held cannot be seen by who may not write there
        writer = _writer(place) if error.errno in HIDDEN else None
        yield writer is None or (writer.host == platform.node() and not is_alive(writer.pid))
        return
    try:
        yield True
    finally:
        if not is_there:
            lock_file(place, ".lock").unlink(missing_ok=True)
        lock.release()


def lock_file(cache: Path, suffix: str) -> Path:
    """Return one of the files beside a cache that tell of its writer."""
    return cache.with_name(cache.name + suffix)


def _place(cache: Path) -> Path:
    """Return where a cache lies that may be a link; what links lead round in circles stays what it is."""
    return Path(os.path.realpath(cache))


def _acquire(place: Path, patience: float = PATIENCE) -> BaseFileLock:
    lock: BaseFileLock = FileLock(lock_file(place, ".lock"), patience, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise
        lock_file(place, ".lock").unlink(missing_ok=True)
        lock = SoftFileLock(lock_file(place, ".softlock"), patience, thread_local=False)
        lock.acquire()
    return lock


def _writer(place: Path) -> Writer | None:
    with suppress(CacheError):
        return read_json(lock_file(place, ".writer"), CacheError, "", Writer)
    return None
