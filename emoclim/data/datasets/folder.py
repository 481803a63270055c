"""Read your own files, in one folder per label.

A tree as torchvision's ``ImageFolder`` reads it: ``<label>/**/<file>``, or ``<split>/<label>/**/<file>`` where it is
split already.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from emoclim.data.datasets.base import GIVEN, Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words, modality_of
from emoclim.data.items.item import Item
from emoclim.data.listing import list_folder, tell_empty, usable_files
from emoclim.data.splits import split_called
from emoclim.errors import ManifestError
from emoclim.modality import Modality

DESCRIPTION = Description(
    about="your own files, in one folder per label",
    what="Pictures or recordings of your own, in one folder per label.",
    layouts=(
        "<label>/**/<file>",
        "<split>/<label>/**/<file>, where every top folder is called train, val (valid, validation, dev) or test",
    ),
    options={"modality": "image or audio; if not given, what there is, if it is of one kind"},
)


def prepare(folder: Path, *, modality: Modality | None = None) -> Prepared:
    """Make an item of each picture, or of each recording."""
    listed = list_folder(folder)
    kind = modality or modality_of(listed.files, folder)
    usable, left_out = usable_files(listed, kind)
    depth = 1 if _is_split(folder, usable) else 0
    items, splits = [], {}
    for path in usable:
        parts = PurePosixPath(path).parts
        if len(parts) < depth + 2:
            left_out[path] = "in no label's folder"
            continue
        items.append(Item(path, folder / path, label=parts[depth]))
        if depth:
            splits[path] = str(split_called(parts[0]))
    if not items:
        raise ManifestError(f"{folder} has no folder per label with {kind} files in it; found {in_words(listed.files)}")
    notes = tuple(tell_empty(folder, usable, kind, left_out, depth + 1))
    unused = tuple(LeftOut(path, "unused", reason) for path, reason in left_out.items())
    return Prepared(kind, tuple(items), unused, {GIVEN: splits} if splits else {}, notes=notes)


def _is_split(folder: Path, paths: Sequence[str]) -> bool:
    """Return whether the top folders are parts of a split; a lone one counts if it has folders in it."""
    tops = {PurePosixPath(path).parts[0] for path in paths if "/" in path}
    deep = {PurePosixPath(path).parts[0] for path in paths if path.count("/") > 1}
    parts, others = {top for top in tops if split_called(top)}, sorted(top for top in tops if not split_called(top))
    if parts & deep and others:
        raise ManifestError(
            f"{folder} looks split into {', '.join(sorted(parts))}, but has {others[0]}/ beside; move it elsewhere, or "
            "rename what is no part of a split"
        )
    return not others and (len(parts) > 1 or bool(parts & deep))
