"""Changes that reach the disk in the order in which they were made, and descriptors that no child process keeps."""

import errno
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self
from weakref import WeakSet

from emoclim.files import sync_name

NO_HANDLE = -1  # any use of it raises OSError
UNLOCKABLE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # some network file systems know no locks


class Handle:
    """An open file of a writer.

    A forked process loses it at once: it would share the lock on the file, and keep it when the writer is killed.
    """

    def __init__(self, number: int = NO_HANDLE) -> None:
        self.number = number
        _OPEN.add(self)

    @classmethod
    def open(cls, path: Path, flags: int) -> Self:
        """Open a file."""
        return cls(os.open(path, flags, 0o666))

    def lock(self, *, shared: bool = False) -> bool | None:
        """Lock the file until it is closed or the process ends; False if others hold it, None if it knows no locks."""
        if sys.platform == "win32":
            return None
        import fcntl

        try:
            fcntl.flock(self.number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                raise
            return None
        return True

    def close(self) -> None:
        """Unlock, for a process that is just being forked still shares the lock; and close. Idempotent."""
        if sys.platform != "win32" and self.number != NO_HANDLE:
            import fcntl

            with suppress(OSError):
                fcntl.flock(self.number, fcntl.LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Close without unlocking."""
        number, self.number = self.number, NO_HANDLE
        if number != NO_HANDLE:
            os.close(number)


_OPEN: WeakSet[Handle] = WeakSet()


def _forget_all() -> None:
    for handle in list(_OPEN):
        handle.forget()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_all)


def aside(path: Path) -> Path:
    """Where something is made that shall then appear whole at `path`."""
    return path.with_name(f"{path.name}.partial")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; nothing if there is none."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_at(handle: int, offset: int, content: bytes) -> None:
    """Write all of `content` from a byte of an open file on."""
    os.lseek(handle, offset, os.SEEK_SET)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside, bring it to the disk and put it in place of the old one, so that there is always one.

    Its folder is made if there is none.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(exist_ok=True)
        sync_name(path.parent.parent)
    partial = aside(path)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_name(path.parent)
