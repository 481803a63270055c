"""List what lies in a folder. Used for manifests and data sets.

Conventions: a file is known by its path inside the folder, with ``/`` between its parts, on every system; hidden files
and what a Mac packs beside them do not count.
"""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from emoclim.errors import ManifestError
from emoclim.modality import MODALITIES, Modality


def list_files(folder: Path) -> list[str]:
    """List all files below a folder, sorted; follow folders that are links, once each."""
    if not folder.is_dir():
        raise ManifestError(f"{folder} is no folder; name the folder that holds the files")
    seen: set[tuple[int, int]] = set()
    found = []
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        inside = Path(here).relative_to(folder)
        found += [(inside / name).as_posix() for name in names if not _is_hidden(name)]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def of_modality(paths: Iterable[str], modality: Modality) -> list[str]:
    """Select the paths of a modality, by their suffix."""
    return [path for path in paths if PurePosixPath(path).suffix.lower() in MODALITIES[modality].suffixes]
