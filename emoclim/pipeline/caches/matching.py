"""Which items of a manifest the ids of a foreign file mean.

Convention: an id is an item's id; or else its path as the manifest writes it; or else, where ids are names of files,
that path without its suffix, its last part, or its last part without suffix. The first of these that it fits counts.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from emoclim.cache.checks import name_some
from emoclim.data.manifest import Item, Manifest
from emoclim.errors import CacheError

SEVERAL = None  # in place of an item's id: the name means more than one


def match_ids(
    ids: Sequence[str], manifest: Manifest, file: Path, *, by_name: bool = False, allow_extra: bool = False
) -> dict[str, str]:
    """Find the item that each id means.

    Parameters
    ----------
    ids
        Of the file, each once.
    manifest
        Of the items.
    file
        As messages shall name it.
    by_name
        Ids are names of files, and may be shortened.
    allow_extra
        Leave out ids that mean no item.

    Returns
    -------
    dict
        Id of an item by id of the file.

    Raises
    ------
    CacheError
        An id means no item, or several, or the same as another; all are counted and some are named.
    """
    ways = _ways(manifest, by_name)
    found = {id_: next(way[id_] for way in ways if id_ in way) for id_ in ids if any(id_ in way for way in ways)}
    strangers = [id_ for id_ in ids if id_ not in found]
    unclear = [id_ for id_, item in found.items() if item is SEVERAL]
    matches = {id_: item for id_, item in found.items() if item is not SEVERAL}
    shared = {item for item, count in Counter(matches.values()).items() if count > 1}
    problems = []
    if not found or (strangers and not allow_extra):
        first = manifest.items[0].id
        problems.append(
            f"{len(strangers)} of {len(ids)} ids are not in it ({name_some(strangers)}; its own are like {first})"
        )
    if unclear:
        problems.append(f"{len(unclear)} ids mean several items ({name_some(unclear)})")
    if shared:
        twice = [id_ for id_, item in matches.items() if item in shared]
        problems.append(f"{len(twice)} ids mean items that others mean too ({name_some(twice)})")
    if problems:
        hint = ", or leave features of other items out with --allow-extra" if found and strangers else ""
        raise CacheError(f"{file} does not fit {manifest.source}: {'; '.join(problems)}; correct the ids{hint}")
    return matches


def _ways(manifest: Manifest, by_name: bool) -> list[dict[str, str | None]]:
    """Items by their names, one dictionary for each way to name them."""
    folder = manifest.source if manifest.source.is_dir() else manifest.source.parent
    ways: list[dict[str, str | None]] = [{item.id: item.id for item in manifest.items}]
    for names in zip(*(_names(item, folder, by_name) for item in manifest.items), strict=True):
        way: dict[str, str | None] = {}
        for item, name in zip(manifest.items, names, strict=True):
            if name:
                way[name] = SEVERAL if name in way else item.id
        ways.append(way)
    return ways


def _names(item: Item, folder: Path, by_name: bool) -> tuple[str, ...]:
    """What an item may be called beside its id; an item without a file has no such name."""
    if item.path is None:
        return ("",) * (4 if by_name else 1)
    inside = item.path.relative_to(folder) if item.path.is_relative_to(folder) else item.path
    path = PurePosixPath(inside.as_posix())
    return (str(path), str(path.with_suffix("")), path.name, path.stem) if by_name else (str(path),)
