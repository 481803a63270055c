"""A cache in the place of another one, of which nothing is lost when a process dies meanwhile.

Convention: the new cache is made in the folder ``.<cache>.<process>.partial`` beside the old one, under the same name,
and the old one is then kept as ``<cache>.damaged<n>``. So a cache in such a folder whose own place is empty is the new
one of a swap that did not end: a folder, unlike a file, takes two steps to replace.
"""

import os
import re
from itertools import count
from pathlib import Path

from emoclim.cache.files import remove, sync_folder

FOLDER = re.compile(r"\.(.+\.(?:h5|zarr))\.\d+\.partial")
KEPT = re.compile(r".+\.(?:h5|zarr)\.damaged\d+")


def swap_folder(path: Path) -> Path:
    """Where this process makes what shall take the place of a cache."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def swap_folders(path: Path) -> list[Path]:
    """Where any process made what should have taken the place of a cache."""
    if not path.parent.is_dir():
        return []
    found = ((FOLDER.fullmatch(folder.name), folder) for folder in path.parent.iterdir())
    return sorted(folder for match, folder in found if match and match[1] == path.name)


def swap(new: Path, path: Path) -> Path:
    """Put a cache in the place of another; with none there, only take the other away.

    Parameters
    ----------
    new
        In :func:`swap_folder`.
    path
        The place.

    Returns
    -------
    Path
        Where the other is kept.
    """
    kept = next(place for n in count(1) if not os.path.lexists(place := path.with_name(f"{path.name}.damaged{n}")))
    if new.is_file() and _linked(path, kept):
        new.replace(path)
    else:
        path.rename(kept)
        if new.exists():
            new.rename(path)
    sync_folder(path.parent)
    return kept


def unfinished(path: Path) -> list[Path]:
    """The caches that were made for a place which is empty."""
    if os.path.lexists(path):
        return []
    return [new for folder in swap_folders(path) if (new := folder / path.name).exists()]


def finish(new: Path, path: Path) -> None:
    """Take the second step of a swap."""
    new.rename(path)
    sync_folder(path.parent)
    remove(new.parent)


def _linked(path: Path, kept: Path) -> bool:
    """Give a file a second name; False where the file system knows none."""
    try:
        os.link(path, kept)
    except OSError:
        return False
    return True
