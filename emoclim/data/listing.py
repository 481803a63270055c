"""List what lies in a folder, and tell what a name is. Used for manifests and data sets.

Conventions: a file is known by its path inside the folder, with ``/`` between its parts, on every system; hidden files
and what a Mac packs beside them do not count.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from emoclim.errors import ManifestError, name_some
from emoclim.modality import MODALITIES, Modality

UNSEEN = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\xad\xa0 \t\r\n"  # letters of no width, and spaces
NO_SUFFIX, NO_UTF8 = "no {} by its suffix", "its name is no UTF-8"


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


def tell_empty(
    folder: Path, files: Iterable[str], modality: Modality, skip: Container[str], depth: int = 1
) -> list[str]:
    """Name label folders without a usable file, in a sentence; none if each has one. They lie down to `depth`."""
    filled = {
        "/".join(path.split("/")[:level]) for path in files for level in range(1, min(depth, path.count("/")) + 1)
    }
    found = (one for level in range(depth) for one in folder.glob("*/" * level + "*") if one.is_dir())
    inside = {one.relative_to(folder) for one in found}
    names = {one.as_posix() for one in inside if not any(map(_is_hidden, one.parts))} - filled
    empty = [name for name in sorted(map(as_utf8, names)) if name not in skip]
    return [f"no {modality} in {len(empty)} folders of labels: {name_some(empty)}"] if empty else []


def _refuse(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def of_modality(paths: Iterable[str], modality: Modality) -> list[str]:
    """Select the paths of a modality, by their suffix."""
    return [path for path in paths if PurePosixPath(path).suffix.lower() in MODALITIES[modality].suffixes]


def is_there(path: Path | str) -> bool:
    """Return whether there is something at a path, also if that is one that no system can have."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises OSError for a name that is too long


def usable_files(listed: Listing, modality: Modality) -> tuple[list[str], dict[str, str]]:
    """List the files of a modality in a folder, and why each other one is left out."""
    usable = of_modality(listed.files, modality)
    reasons = {
        NO_SUFFIX.format(modality): sorted(set(listed.files).difference(usable)),
        NO_UTF8: [path for path in usable if not is_utf8(path)],
        "a link to a folder that is listed anyway": listed.repeated,
    }
    left_out = {as_utf8(path): reason for reason, paths in reasons.items() for path in paths}
    return [path for path in usable if is_utf8(path)], left_out


def tell_left_out(left_out: Mapping[str, str], modality: Modality) -> list[str]:
    """Say what is left out, in a sentence for each reason."""
    advice = {NO_SUFFIX.format(modality): f"; taken are {', '.join(sorted(MODALITIES[modality].suffixes))}"}
    names: dict[str, list[str]] = defaultdict(list)
    for name, reason in left_out.items():
        names[reason].append(name)
    return [
        f"left out {len(found)}: {reason} ({name_some(found)}){advice.get(reason, '')}"
        for reason, found in names.items()
    ]


def as_utf8(name: str) -> str:
    """Spell out the bytes of a name that are no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def is_utf8(name: str) -> bool:
    """Return whether a name is UTF-8: what cannot be decoded stands in it as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def composed(name: str) -> str:
    """Spell a name the one way that is taken for all of its spellings: with composed letters (Unicode's NFC).

    What stands at its ends and cannot be seen, as copying from web pages leaves it, is no part of it.
    """
    return unicodedata.normalize("NFC", name).strip(UNSEEN)


Name = Annotated[str, AfterValidator(composed)]  # of a label, tag, split or group, in a file that pydantic validates
