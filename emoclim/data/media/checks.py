"""Check files before any decoder sees them, and tell what the system says of them as errors of ours.

Conventions: what a file is follows from its content, never from its name; a reason names no path, for whoever notes it
knows the item.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emoclim.data.items.item import Item
from emoclim.data.items.remote import is_remote
from emoclim.errors import DecodeError, PassingError, reason_of
from emoclim.files import open_regular

FETCH = "only extract fetches from there, so copy it to this one for what else is to read it"
HEAD = 64  # bytes: enough for every signature that the decoders look for


class NotDecodable(DecodeError):
    """One decoder, which its message names, does not know what is in a file; another may."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that is odd about an item and no fault, for whoever extracts it to know."""

    about: str  # what the item does or is, in words that follow "12 texts"
    example: str = ""


def file_of(item: Item) -> Path:
    """Return the file that an item names."""
    if item.path is None:
        raise DecodeError("the item names no file; give it a path in the manifest")
    return item.path


@contextmanager
def file_errors() -> Iterator[None]:
    """Tell what keeps a file from being read as a :class:`PassingError`: it may be there the next time."""
    try:
        yield
    except FileNotFoundError as error:
        is_far = is_remote(str(error.filename))
        raise PassingError(f"it lies on another machine; {FETCH}" if is_far else "the file is missing") from error
    except OSError as error:
        raise PassingError(f"the file cannot be read ({reason_of(error).lower()})") from error


def stat_file(path: Path | str) -> os.stat_result:
    """Return the status of a file; raise :class:`DecodeError` for what is no regular one."""
    try:
        with file_errors():
            status = os.stat(path)  # noqa: PTH116 - for each item of a library, and in half of the time of Path.stat
    except ValueError as error:
        raise DecodeError("its path holds a null character; correct the manifest") from error
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError("this is a folder, a pipe or a device, not a file")
    return status


def check_file(item: Item) -> tuple[Path, bytes]:
    """Make sure that an item is a regular file with something in it; return its path and its first bytes."""
    path = file_of(item)
    stat_file(path)
    with file_errors(), open_regular(path) as stream:
        head = stream.read(HEAD)
    if not head:
        raise DecodeError("the file is empty; fetch it again")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise DecodeError("the file is a web page or other markup, as a failed download leaves; fetch it again")
    return path, head
