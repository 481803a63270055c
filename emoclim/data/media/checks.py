"""Checks that come before any decoder sees a file.

Conventions: what a file is follows from its content, never from its name; a reason names no path, for whoever notes it
knows the item.
"""

import stat
from pathlib import Path

from emoclim.data.manifest import Item
from emoclim.errors import DecodeError, PassingError

HEAD = 64  # bytes: enough for every signature that the decoders look for


def check_file(item: Item) -> tuple[Path, bytes]:
    """Make sure that an item is a regular file with something in it."""
    if item.path is None:
        raise DecodeError("the item names no file; give it a path in the manifest")
    try:
        mode = item.path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DecodeError("this is a folder, not a file")
        if not stat.S_ISREG(mode):
            raise DecodeError("this is a pipe or a device, not a file")
        with item.path.open("rb") as stream:
            head = stream.read(HEAD)
    except FileNotFoundError as error:
        raise PassingError("there is no such file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PassingError(f"the file cannot be opened ({reason})") from error
    if not head:
        raise DecodeError("the file is empty; fetch it again")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise DecodeError("the file is a web page or other markup, as a failed download leaves; fetch it again")
    return item.path, head
