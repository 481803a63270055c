"""The note beside a cache, ``<cache>.json``: the encoder that filled it, and the manifests that it was filled from.

Used by the pipeline. The cache whose note was written last is the newest.
"""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from emoclim.data import FeatureSpec, Setting
from emoclim.errors import CacheError
from emoclim.files import read_json, write_json

if TYPE_CHECKING:
    from emoclim.data import Manifest

log = logging.getLogger(__name__)

# by suffix of a cache, the store that it lies in, which is loaded on first use
BACKENDS = {".h5": "emoclim.cache.formats.hdf5:HDF5Store", ".zarr": "emoclim.cache.formats.zarr:ZarrStore"}
SHARDS = ".shards"  # suffix of the folder with the shards of a cache
HOME = "~"
NO_NUL = Field(pattern=r"^[^\x00]*$")  # which no path has


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A manifest that was extracted into a cache, and its path as :func:`portable_path` gives it."""

    name: Annotated[str, Field(pattern=r"^[^/\x00]+$")]  # part of the names of files
    path: Annotated[str, NO_NUL]
    digest: str
    unlabelled: bool

    def found_from(self, cache: Path) -> Path:
        """Return where the manifest lies, given where the cache does."""
        return located(self.path, cache.parent)


class _Run(TypedDict, total=False):
    """What is read of a run that encoded items."""

    time: str
    versions: dict[str, str]
    encoded: int | None


def _as_written(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run with its entries in their order, if those that are read are of their kinds."""
    TypeAdapter(_Run).validate_python(run)
    return run


@dataclass(frozen=True, slots=True)
class _Content:
    """What the file holds."""

    spec: FeatureSpec
    checkpoint: Annotated[str, NO_NUL] | None
    settings: dict[str, Setting]
    sources: tuple[SourceRef, ...]
    made: tuple[Annotated[dict[str, Any], AfterValidator(_as_written)], ...]


@dataclass(frozen=True, slots=True)
class CacheNote:
    """What lies beside a cache."""

    path: Path  # of the cache
    spec: FeatureSpec
    checkpoint: str | None  # file of the encoder's parameters, as it was given; None for the published one, or for none
    settings: Mapping[str, Setting]
    sources: tuple[SourceRef, ...] = ()  # the newest last
    # time, command, versions and number of items of each run that encoded any, the newest last
    made: tuple[Mapping[str, Any], ...] = ()

    def save(self) -> None:
        """Write the file; this makes its cache the newest."""
        write_json(note_path(self.path), to_jsonable_python(self, exclude={"path"}))

    def with_run(self, provenance: Mapping[str, Any], encoded: int | None) -> "CacheNote":
        """Add the newest run and the number of items that it encoded; None while it has not ended."""
        return replace(self, made=(*self.made, {**provenance, "encoded": encoded}))

    def with_source(self, manifest: "Manifest", unlabelled: bool) -> "CacheNote":
        """Add a manifest as the newest source."""
        path, full = portable_path(manifest.source, self.path.parent), manifest.source.resolve()
        others = tuple(known for known in self.sources if known.found_from(self.path).resolve() != full)
        known_as = next((known.name for known in self.sources if known not in others), manifest.name)
        if any(known.name == known_as for known in others):  # two files of one name, in different folders
            known_as = f"{manifest.name}-{hashlib.sha256(path.encode()).hexdigest()[:6]}"
        source = SourceRef(known_as, path, manifest.digest(), unlabelled)
        return replace(self, sources=(*others, source))


def note_path(cache: Path) -> Path:
    """Return where the note of a cache lies."""
    return cache.with_name(f"{cache.name}.json")


def read_note(cache: Path) -> CacheNote:
    """Read the note beside a cache; raise :class:`CacheError` if it is missing or damaged."""
    advice = "extract or import its manifest again to write it anew"
    content = read_json(note_path(cache), CacheError, advice, _Content)
    return CacheNote(cache, content.spec, content.checkpoint, content.settings, content.sources, content.made)


def note_or_new(new: CacheNote) -> CacheNote:
    """Read the note beside a cache that is about to be filled; return `new` where none of its features is there."""
    path = note_path(new.path)
    if not path.exists():
        return new
    with suppress(CacheError):
        note = read_note(new.path)
        if note.spec == new.spec:
            return note
    log.warning("%s is damaged, or of other features, and is begun anew without other manifests and runs", path)
    return new


def portable_path(path: Path, folder: Path) -> str:
    """Name a file relative to a folder of caches if both are in one workspace, else from the user's home or the root.

    :func:`located` finds it again.
    """
    folder, full = folder.resolve(), path.resolve()
    workspace = folder.parent.parent if folder.suffix == SHARDS else folder.parent
    if full.is_relative_to(workspace):
        return os.path.relpath(full, folder)
    home = _home(HOME).resolve()
    return f"{HOME}/{full.relative_to(home).as_posix()}" if full.is_relative_to(home) else str(full)


def located(name: str, folder: Path) -> Path:
    """Find the file that a note names, from the folder of caches; relative to the current folder if it lies in that."""
    path = Path(os.path.realpath(_home(name) if name.startswith(f"{HOME}/") else folder / name))
    return path.relative_to(here) if path.is_relative_to(here := Path.cwd()) else path


def from_home(word: str) -> str:
    """Write the home folder as ``~`` where a word of a command line, or the value of an option in it, begins so."""
    return re.sub(rf"(^|=){re.escape(str(_home(HOME)))}(?=/)", rf"\1{HOME}", word)


def _home(name: str) -> Path:
    return Path(os.path.expanduser(name))  # noqa: PTH111 - it raises nothing where no home is known
