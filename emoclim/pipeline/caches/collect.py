"""Find and delete what lies beside the caches and is of no use any more: `emoclim cache gc`.

Invariant: what a living process may be using is kept, and a cache itself is never removed.
"""

import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic_core import to_jsonable_python

from emoclim.cache import BACKENDS, LOCKS, SHARDS, WAVEFORMS, in_blocks, kept_free, open_cache, who_writes
from emoclim.errors import CacheError
from emoclim.files import PARTIAL, partials_beside, process_of, remove
from emoclim.modality import Modality
from emoclim.pipeline.caches.inventory import looked_at, shown_size, size_of
from emoclim.pipeline.find_caches import cache_paths, folders_of, lacking_shards, listed, note_of, shards_in, whole_of
from emoclim.pipeline.workspace import Workspace
from emoclim.processes import is_alive

CACHE_NAME = re.compile(r"\.?(.+?\.(?:h5|zarr))\.")
TABLE = re.compile(rf"((?:{'|'.join(get_args(Modality))})-.+-[0-9a-f]{{12}}|\d+-of-\d+)\..+\.(?:items|failures)\.csv")
RECENT = 600.0  # seconds, in which another machine may have been writing


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that is of no use any more, why, and how many bytes it has."""

    path: Path
    why: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What one `emoclim cache gc` found."""

    found: tuple[Leftover, ...]
    kept: tuple[str, ...]  # looks like a leftover, but may be in use; a sentence each
    told: tuple[str, ...]  # caches that may be of no use, which only their owner can know; a sentence each
    deleted: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**to_jsonable_python(self), "bytes": self.bytes}

    @property
    def bytes(self) -> int:
        """Count the bytes of all leftovers."""
        return sum(one.bytes for one in self.found)

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        lines = [f"{one.path}: {one.why}, {shown_size(one.bytes)}" for one in self.found]
        if self.found:
            size = shown_size(self.bytes)
            done = f"deleted, {size} are free" if self.deleted else f"delete these {size} with: emoclim cache gc --yes"
            lines.append(done)
        return [*(lines or ["nothing is left over"]), *self.kept, *self.told]


def collect_leftovers(workspace: Workspace, *, delete: bool = False) -> Leftovers:
    """Find, and if asked delete, what no cache and no run needs any more; what cannot be deleted raises OSError."""
    found: list[Leftover] = []
    kept: list[str] = []
    own = [workspace.caches] if workspace.caches.is_dir() else []
    folders = (*own, *folders_of(workspace, SHARDS, WAVEFORMS))
    there = [path for folder in folders for path in listed(folder)]
    for path in [*there, *sorted(workspace.runs.glob(f"*/.*{PARTIAL}"))]:
        if (why := _why_useless(path)) is None:
            continue
        user = _user_of(path)
        if not os.path.lexists(path):  # whose it was has ended meanwhile, and left nothing
            continue
        if user:
            kept.append(f"{path} is kept: {user}")
        else:
            found.append(Leftover(path, why, size_of(path)))
    for folder in folders:
        if folder.suffix == SHARDS:
            found += _merged(folder)
    if delete:
        for one in [one for one in found if not _delete(one.path)]:
            found.remove(one)
            kept.append(f"{one.path} is kept: its cache is being written")
    return Leftovers(tuple(found), tuple(kept), tuple(_abandoned(workspace)), delete)


def collect_partials(target: Path) -> None:
    """Delete what killed processes left of a file or folder that lies anywhere."""
    for path in partials_beside(target):
        with suppress(OSError):  # it is gone meanwhile, or of another user
            if _user_of(path) is None:
                remove(path)


def _why_useless(path: Path) -> str | None:
    """Say why a file or folder is a leftover, unless someone is using it; None if it is something else."""
    if path.suffix == PARTIAL:
        return "written aside by a process that did not end well"
    if path.suffix in LOCKS:
        return "lock of a process that died"
    return "its cache is gone" if _is_orphan(path) else None


def _user_of(path: Path) -> str | None:
    """Say who may be using a leftover; None if nobody can be."""
    process = process_of(path)
    if process is not None and is_alive(process):
        return f"process {process} may be writing it"
    if owner := CACHE_NAME.match(path.name):
        for cache in (path.with_name(owner[1]), path / owner[1]):  # an import locks the cache that it makes aside
            if writer := who_writes(cache):
                return f"{cache.name} is being written by {writer}"
    if path.suffix not in (PARTIAL, *LOCKS):
        return None
    changed = max((one.st_mtime for one in looked_at(path, Path.lstat)), default=math.inf)
    return "it changed within the last ten minutes" if time.time() - changed < RECENT else None


def _is_orphan(path: Path) -> bool:
    """Tell whether this is a note or a table beside a cache that is not there."""
    if path.suffix == ".json" and Path(path.stem).suffix in BACKENDS:
        return not path.with_name(path.stem).exists()
    table = TABLE.fullmatch(path.name)
    return table is not None and not any(path.with_name(table[1] + suffix).exists() for suffix in BACKENDS)


def _merged(folder: Path) -> Iterator[Leftover]:
    """List shards with their notes and tables, once all shards are there and the whole cache holds all of them."""
    shards = shards_in(folder)
    if not shards or lacking_shards(shards):
        return
    whole = whole_of(shards)
    try:
        if whole.exists() and who_writes(whole) is None and all(_is_merged(whole, shard) for shard in shards):
            for path in sorted({path for shard in shards for path in folder.glob(f"{shard.stem}.*")}):
                if path.suffix not in (PARTIAL, *LOCKS):
                    yield Leftover(path, f"merged into {whole.name}", size_of(path))
    except CacheError:  # one that cannot be read is not known to be merged
        return


def _is_merged(whole: Path, shard: Path) -> bool:
    """Tell whether a shard that nobody writes, and the manifests that its note names, went into the whole."""
    known = {(source.name, source.digest) for source in note_of(whole).sources}
    own = {(source.name, source.digest) for source in note_of(shard).sources}
    return own <= known and who_writes(shard) is None and _holds(whole, shard)


def _holds(whole: Path, part: Path) -> bool:
    """Tell whether a cache holds all that another one does, by reading all of that with checksums."""
    with open_cache(whole) as cache, open_cache(part) as shard:
        keys = list(shard)
        if shard.problems() or any(key not in cache for key in keys):
            return False
        for block in in_blocks(keys):
            cache.read(block)
        return all(key in cache or key in cache.failures() for key in shard.failures())


def _delete(path: Path) -> bool:
    """Delete a file or folder, and the folder of shards that it was the last of, unless its cache is written now."""
    owner = CACHE_NAME.match(path.name)
    with kept_free(path.with_name(owner[1])) if owner else nullcontext(True) as free:
        if not free:
            return False
        remove(path)
    if path.parent.suffix == SHARDS:
        with suppress(OSError):  # it is not empty, or another process has removed it
            path.parent.rmdir()
    return True


def _abandoned(workspace: Workspace) -> Iterator[str]:
    for path in cache_paths(workspace):
        try:
            manifests = [source.found_from(path) for source in note_of(path).sources]
            gone = bool(manifests) and not any(manifest.exists() for manifest in manifests)
        except (CacheError, OSError):  # what cannot be read is not known to be gone
            continue
        if gone:
            where = ", ".join(map(str, manifests))
            yield f"{path} is kept, but its manifests are gone ({where}); delete it if you do not need it any more"
