"""List what lies in a folder, and tell what a name is. Used for manifests and data sets.

Conventions: a file is known by its path inside the folder, with ``/`` between its parts, on every system; hidden files
and what a Mac packs beside them do not count.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from emoclim.errors import ManifestError, name_some
from emoclim.modality import MODALITIES, Modality


class Listing(NamedTuple):
    """What lies in a folder."""

    files: list[str]
    repeated: list[str]  # links to folders whose files are listed anyway: loops, and second ways to one place


def list_files(folder: Path) -> list[str]:
    """List all files below a folder, sorted; follow folders that are links, once each."""
    return list_folder(folder).files


def list_folder(folder: Path) -> Listing:
    """List all files below a folder, and which of its links add nothing; no link is followed before all else."""
    if not folder.is_dir():
        raise ManifestError(f"{folder} is no folder; name the folder that holds the files")
    seen: set[tuple[int, int]] = set()
    files, repeated, tops = [], [], [folder]
    for top in tops:  # which grows by the links that are met
        for here, folders, names in os.walk(top, onerror=_refuse):
            status, inside = Path(here).stat(), Path(here).relative_to(folder)
            if (status.st_dev, status.st_ino) in seen:
                repeated.append(inside.as_posix())
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not _is_hidden(name))
            tops += [link for name in folders if (link := Path(here, name)).is_symlink()]
            files += [(inside / name).as_posix() for name in names if not _is_hidden(name)]
    return Listing(sorted(files), sorted(repeated))


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


def usable_files(listed: Listing, modality: Modality) -> tuple[list[str], dict[str, str], list[str]]:
    """List the files of a modality in a folder, then why each other one is left out, and the same in sentences."""
    usable = of_modality(listed.files, modality)
    others = sorted(set(listed.files).difference(usable))
    misnamed = [path for path in usable if not is_utf8(path)]
    taken = ", ".join(sorted(MODALITIES[modality].suffixes))
    kinds = [
        (others, f"no {modality} by its suffix", f"{{}} with a suffix of no {modality} ({{}}); taken are {taken}"),
        (misnamed, "its name is no UTF-8", "{} with a name that is no UTF-8 ({}); rename what is meant"),
        (listed.repeated, "a link to a folder that is listed anyway", "{} that a link leads to again ({})"),
    ]
    left_out, notes = dict[str, str](), []
    for paths, reason, note in kinds:
        if paths:
            names = [path.encode("utf-8", "backslashreplace").decode() for path in paths]
            left_out |= dict.fromkeys(names, reason)
            noun = "folder" if paths is listed.repeated else "file"
            notes.append("left out " + note.format(counted(len(paths), noun), name_some(names)))
    return [path for path in usable if is_utf8(path)], left_out, notes


def is_utf8(name: str) -> bool:
    """Return whether a name is UTF-8: what cannot be decoded stands in it as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def composed(name: str) -> str:
    """Spell a name the one way that is taken for all of its spellings: with composed letters (Unicode's NFC)."""
    return unicodedata.normalize("NFC", name)


Name = Annotated[str, AfterValidator(composed)]  # of a label, tag, split or group, in a file that pydantic validates


def counted(number: int, noun: str) -> str:
    """``"1 file"``, ``"2 files"``."""
    return f"{number} {noun}{'s' * (number != 1)}"
