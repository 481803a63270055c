"""Who writes a cache: one process at a time, whom the others can name.

Convention: the file ``<cache>.writer`` beside a cache is locked by the process that writes it, says who that is, and is
removed when the cache is closed. So a file that nobody has locked was left by a process that died. Where the file
system knows no locks, the presence of the file is the lock, and whether its process lives is looked up by its number
and the time of its start, which only its own host can tell.
"""

import json
import logging
import os
import platform
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from emoclim.cache.files import Handle, write_at
from emoclim.errors import CacheError

log = logging.getLogger(__name__)

ATTEMPTS = 100  # in each of which another process may remove the file just when it is opened
MOST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Writer:
    """A process that writes a cache.

    Attributes
    ----------
    host
        Name of its machine.
    pid
        Its number there.
    started
        When that machine and the process started; empty where that cannot be told.
    opened
        When it opened the cache, in UTC.
    command
        Its command line.
    """

    host: str
    pid: int
    started: str
    opened: str
    command: str

    @classmethod
    def this_process(cls) -> Self:
        """The process that asks."""
        opened = datetime.now(UTC).isoformat(" ", "seconds")
        return cls(platform.node(), os.getpid(), _start_of(os.getpid()), opened, shlex.join(sys.argv))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self | None:
        """What a writer wrote of itself; None for anything else, such as half of it."""
        try:
            writer = cls(**json.loads(text))
        except (TypeError, ValueError):
            return None
        return writer if isinstance(writer.pid, int) else None

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host} since {self.opened}"

    def has_died(self) -> bool:
        """Whether it is known not to run any more."""
        if self.host != platform.node() or sys.platform == "win32":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # there is one, of another user
            pass
        now = _start_of(self.pid)
        return bool(self.started and now) and now != self.started


def who_writes(cache: Path) -> Writer | None:
    """Who is writing a cache, unless that process is known to have died; None if nobody says so."""
    writer = _read(writer_file(cache))
    return None if writer is None or writer.has_died() else writer


def writer_file(cache: Path) -> Path:
    """The file beside a cache that says who is writing it."""
    return Path(f"{cache.resolve()}.writer")


class WriterLock:
    """What makes this process the one that writes a cache, until it is released.

    Raises
    ------
    CacheError
        Another process is writing it; the message says which.
    OSError
        The folder cannot be written.
    """

    def __init__(self, cache: Path) -> None:
        self._path = writer_file(cache)
        self._where = f"cache {cache}"
        self._writer = Writer.this_process()
        self._handle = self._take()

    def is_own(self) -> bool:
        """Whether it is this process that holds it, and not the one that this was forked from."""
        return self._writer.pid == os.getpid()

    def release(self) -> None:
        """Let others write; idempotent."""
        if not self.is_own():
            return
        if sys.platform == "win32":  # where an open file cannot be removed
            self._handle.close()
        if _read(self._path) == self._writer:  # or else a user removed it, and another process made its own
            with suppress(OSError):
                self._path.unlink()
        self._handle.close()

    def _take(self) -> Handle:
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):  # its writer removed it between two steps
                handle, is_new = self._open()
                try:
                    if self._claim(handle, is_new):
                        self._sign(handle)
                        return handle
                except BaseException:
                    handle.close()
                    raise
                handle.close()
        raise CacheError(f"{self._where} cannot be locked, as {self._path} comes and goes; see who removes it")

    def _open(self) -> tuple[Handle, bool]:
        """The file, and whether this made it."""
        try:
            return Handle.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
        except FileExistsError:
            return Handle.open(self._path, os.O_RDWR), False

    def _claim(self, handle: Handle, is_new: bool) -> bool:
        """Whether the file is this process's own; False if it is to be opened anew."""
        locked = handle.lock()
        former = Writer.from_json(os.read(handle.number, MOST_BYTES))
        if locked is False or (locked is None and not is_new and not (former and former.has_died())):
            remedy = f"; if that run is dead, delete {self._path}" if locked is None else ""
            raise CacheError(
                f"{self._where} is being written by {former or 'another process'}; "
                f"wait for it to end, or stop it there{remedy}"
            )
        if locked and not os.path.samestat(os.fstat(handle.number), self._path.stat()):
            return False
        if former:
            log.warning("%s was left open by %s, which died; all it committed is kept", self._where, former)
        if former and locked is None:
            self._remove_left_by(former)
            return False
        return True

    def _sign(self, handle: Handle) -> None:
        try:
            os.ftruncate(handle.number, 0)
            write_at(handle.number, 0, json.dumps(asdict(self._writer)).encode())
        except BaseException:
            self._path.unlink()
            raise

    def _remove_left_by(self, former: Writer) -> None:
        """Remove the file of a dead writer where there are no locks, unless another process was faster."""
        ended = self._path.with_name(f"{self._path.name}.ended")
        self._path.rename(ended)
        if _read(ended) != former:
            with suppress(FileExistsError):
                os.link(ended, self._path)
        ended.unlink()


def _read(path: Path) -> Writer | None:
    try:
        return Writer.from_json(path.read_bytes())
    except OSError:
        return None


def _start_of(pid: int) -> str:
    """Boot of the machine and clock tick at which a process started; empty where that cannot be told."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "ended" if state in ("Z", "X") else f"{boot} {fields[18]}"
