"""The shards of a cache: caches of parts of a manifest, in a folder ``<cache>.shards`` beside it, to be merged."""

import re
from collections.abc import Sequence
from pathlib import Path

from emoclim.cache import BACKENDS
from emoclim.pipeline.caches.finding import note_of, one_called
from emoclim.pipeline.libraries import SHARDS
from emoclim.pipeline.workspace import Workspace

NUMBERED = re.compile(r"([1-9]\d*)-of-([1-9]\d*)")


def find_shards(workspace: Workspace, name: str) -> list[Path]:
    """The shards of the one cache that is called `name`, by their number.

    Raises
    ------
    CacheError
        There are none, or of more than one cache.
    """
    folders = {folder: shards for folder in workspace.caches.glob(f"*{SHARDS}") if (shards := shards_in(folder))}
    names: dict[Path, list[str]] = {}
    for folder, shards in folders.items():
        note = note_of(shards[0])
        own = [folder.stem, *(folder.stem + suffix for suffix in BACKENDS), note.spec.digest(), note.spec.name]
        names[folder] = own + [source.name for source in note.sources]
    return folders[one_called(name, names, f"cache with shards in {workspace.caches}")]


def shards_in(folder: Path) -> list[Path]:
    """The shards in a folder, by their number."""
    numbers = {
        path: (int(found[2]), int(found[1]))
        for path in folder.iterdir()
        if path.suffix in BACKENDS and (found := NUMBERED.fullmatch(path.stem))
    }
    return sorted(numbers, key=lambda path: (numbers[path], path.suffix))


def lacking_shards(shards: Sequence[Path]) -> tuple[str, ...]:
    """Which others there must be: ``"2 of 4"``."""
    there: dict[int, set[int]] = {}
    for shard in shards:
        index, count = map(int, shard.stem.split("-of-"))
        there.setdefault(count, set()).add(index)
    return tuple(
        f"{index} of {count}" for count, known in there.items() for index in range(1, count + 1) if index not in known
    )


def whole_of(shards: Sequence[Path]) -> Path:
    """The cache that some shards are parts of; one that is there counts, or else their own format."""
    folder = shards[0].parent
    there = [path for suffix in BACKENDS if (path := folder.with_suffix(suffix)).exists()]
    return there[0] if there else folder.with_suffix(shards[0].suffix)
