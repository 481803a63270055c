"""Tell paths of files on other machines (``https://``, ``s3://``) from those of this one. Used by manifests and memos.

A manifest's paths are :class:`Path`, which makes one slash of two; :func:`url_of` gives the address back.
"""

import re
from pathlib import Path

REMOTE = re.compile(r"([a-z][a-z0-9+.-]+):/+")  # a scheme has two letters or more: C:/ is a disk


def is_remote(path: Path | str) -> bool:
    """Tell whether a path is an address."""
    return ":/" in (text := str(path)) and REMOTE.match(text) is not None


def path_within(folder: str, path: str) -> Path:
    """Return the path that a manifest in a folder means: an address as it is, others from the folder on."""
    return Path(path) if is_remote(path) else Path(folder, path)


def url_of(path: Path) -> str:
    """Return the address of a path that is one; of others, what they are."""
    return REMOTE.sub(r"\1://", str(path), count=1) if is_remote(path) else str(path)
