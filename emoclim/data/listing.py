"""List what lies in a folder, and tell what a name is. Used for manifests and data sets.

Conventions: a file is known by its path inside the folder, with ``/`` between its parts, on every system; hidden files
and what a Mac packs beside them do not count.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

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


def empty_folders(folder: Path, files: Iterable[str], depth: int = 1) -> list[str]:
    """List the folders, down to a depth, in which none of some files lies, however deep."""
    filled = {
        "/".join(path.split("/")[:level]) for path in files for level in range(1, min(depth, path.count("/")) + 1)
    }
    found = (one for level in range(depth) for one in folder.glob("*/" * level + "*") if one.is_dir())
    inside = {one.relative_to(folder) for one in found}
    empty = {one.as_posix() for one in inside if not any(map(_is_hidden, one.parts))} - filled
    return sorted(name.encode("utf-8", "backslashreplace").decode() for name in empty)


def _refuse(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def of_modality(paths: Iterable[str], modality: Modality) -> list[str]:
    """Select the paths of a modality, by their suffix."""
    return [path for path in paths if PurePosixPath(path).suffix.lower() in MODALITIES[modality].suffixes]


def is_there(path: Path) -> bool:
    """Return whether there is something at a path, also if that is one that no system can have."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises OSError for a name that is too long


def is_utf8(name: str) -> bool:
    """Return whether a name is UTF-8: what cannot be decoded stands in it as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def composed(name: str) -> str:
    """Spell a name the one way that is taken for all of its spellings: with composed letters (Unicode's NFC)."""
    return unicodedata.normalize("NFC", name)


Name = Annotated[str, AfterValidator(composed)]  # of a label, tag, split or group, in a file that pydantic validates
