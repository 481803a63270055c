"""One writer at a time, and changes that reach the disk in the order in which they were made."""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from emoclim.errors import CacheError

NO_HANDLE = -1  # any use of it raises OSError
UNLOCKABLE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # some network file systems know no locks


def lock(handle: int, path: Path, cache: Path) -> None:
    """Take the lock of the one writer; it is held until `handle` is unlocked or its process ends.

    Parameters
    ----------
    handle
        Descriptor of an open file.
    path
        Where that file lies.
    cache
        The cache, as the message shall name it.

    Raises
    ------
    CacheError
        It is taken, or the file was replaced since it was opened, which only a writer does.
    """
    if sys.platform == "win32":
        return
    import fcntl

    taken = False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        taken = True
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise
    if taken or not os.path.samestat(os.fstat(handle), path.stat()):
        raise CacheError(f"cache {cache} is being written by another process; wait for it to end, or close it there")


def release(handle: int) -> None:
    """Unlock and close; processes forked meanwhile share the lock, so that closing alone would not end it."""
    if handle == NO_HANDLE:
        return
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder to the disk; on Windows there is no way to, and no need."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
        sync_folder(path.parent.parent)
    aside = path.with_name(f"{path.name}.partial")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)
