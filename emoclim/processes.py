"""Tell which processes of this machine live, and remove the temporary folders of those that were killed."""

import glob
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path


def is_alive(process: int) -> bool:
    """Tell whether a process of this machine may live; on Windows, where to ask it is to interrupt it, it may."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


def own_prefix() -> str:
    """How temporary folders of this process are called, by which :func:`remove_left` knows them."""
    return f"{_of_machine()}{os.getpid()}-"


def _of_machine() -> str:
    return f"emoclim-{platform.node()}-"


def remove_left() -> None:
    """Remove the temporary folders of processes of this machine that were killed."""
    of_machine = _of_machine()
    for folder in Path(tempfile.gettempdir()).glob(f"{glob.escape(of_machine)}*-*"):
        process, _, own = folder.name.removeprefix(of_machine).partition("-")
        if (
            process.isdecimal() and "-" not in own and not is_alive(int(process))
        ):  # else of another, whose name is longer
            shutil.rmtree(folder, ignore_errors=True)  # which follows no link, and leaves what is of other users
