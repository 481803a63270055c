"""Keep what is uploaded under names of our own, for as long as it is answered. Used by search."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fastapi import UploadFile

from emoclim.errors import on_one_line

SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
LONGEST = 200  # characters of a name that is told


def keep_uploads(files: Sequence[UploadFile], folder: Path) -> list[tuple[Path, str]]:
    """Write files into a folder, and return where each lies and what it is called: no path of ours is made of names."""
    kept = []
    for number, file in enumerate(files):
        name = PurePosixPath((file.filename or "").replace("\\", "/")).name or f"file {number}"
        suffix = PurePosixPath(name).suffix
        path = folder / f"{number}{suffix if SUFFIX.fullmatch(suffix) else ''}"
        with path.open("wb") as target:
            shutil.copyfileobj(file.file, target)
        kept.append((path, on_one_line(name)[:LONGEST]))
    return kept
