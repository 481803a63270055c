"""Find caches and shards by name, and what is noted beside them. Used by training, evaluation, search and `cache`.

Loads no torch, so that commands that only look at caches start at once.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.cache import BACKENDS, SHARDS, CacheNote, located, note_path, read_note
from emoclim.data import Setting
from emoclim.errors import CacheError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.machine import provenance
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

if TYPE_CHECKING:
    from emoclim.encoders import Encoder

NUMBERED = re.compile(r"([1-9]\d*)-of-([1-9]\d*)")  # name of a shard


def cache_paths(workspace: Workspace, modality: Modality | None = None) -> list[Path]:
    """List all caches, or those of a modality, the newest first."""
    begin = f"{modality}-" if modality else ""
    found = [path for suffix in BACKENDS for path in workspace.caches.glob(f"{begin}*{suffix}")]
    return sorted((path for path in found if not path.name.startswith(".")), key=when_noted, reverse=True)


def cache_notes(workspace: Workspace, modality: Modality) -> list[CacheNote]:
    """Read the notes of all caches of a modality, the newest first; a cache without one is in the making."""
    paths = cache_paths(workspace, modality)
    return [read_note(path) for path in paths if note_path(path).is_file()]


def newest_cache(workspace: Workspace, modality: Modality, name: str | None) -> CacheNote:
    """Return the newest cache of a modality, or the newest whose file, encoder or manifest is called `name`."""
    found = cache_notes(workspace, modality)
    for note in found:
        if name is None or name in [*names_of(note), *(source.name for source in note.sources)]:
            return note
    what = f"{modality} cache" if name is None else f"{modality} cache called {name!r}"
    there = f" (there are: {', '.join(note.path.stem for note in found)})" if found else ""
    raise CacheError(
        f"there is no {what} in {workspace.caches}{there}; make one with: emoclim extract {MODALITIES[modality].folder}"
    )


def names_of(note: CacheNote) -> tuple[str, ...]:
    """List what a cache is called, whatever it was extracted from: by its file or its encoder."""
    return note.path.stem, note.path.name, str(note.path), note.spec.name


def find_cache(workspace: Workspace, name: str) -> CacheNote:
    """Find the one cache with that path, name, stem, encoder, manifest or digest, or a beginning of one of them."""
    return note_of(find_path(workspace, name))


def find_path(workspace: Workspace, name: str) -> Path:
    """Find the file or folder of a cache, which may be damaged."""
    if (path := Path(name)).suffix in BACKENDS and path.exists():
        return path
    there = cache_paths(workspace)
    return one_called(name, {path: _names(path) for path in there}, f"cache in {workspace.caches}")


def one_called(name: str, names: Mapping[Path, list[str]], what: str) -> Path:
    """Return the only path with that name, or else the only one with a name that begins so."""
    named = [path for path, known in names.items() if name in known]
    found = named or [path for path, known in names.items() if any(one.startswith(name) for one in known)]
    if len(found) == 1:
        return found[0]
    stems = ", ".join(sorted(path.name for path in found or names))
    if found:
        raise CacheError(f"{name!r} is the name of {len(found)} caches ({stems}); give more of the name of one")
    if not stems:
        raise CacheError(f"there is no {what}; make one with: emoclim extract")
    raise CacheError(f"there is no {what} called {name!r} (there are: {stems}); name another")


def note_of(cache: Path) -> CacheNote:
    """Read the note beside a cache; where there is none, as after a stopped extraction, take what the cache says."""
    if note_path(cache).is_file():
        return read_note(cache)
    from emoclim.cache import open_cache  # which loads numpy

    with open_cache(cache) as opened:
        return CacheNote(cache, opened.spec, None, {})


def find_shards(workspace: Workspace, name: str) -> list[Path]:
    """Find the shards of the one cache that is called `name`, by their number."""
    folders = {folder: shards for folder in folders_of(workspace, SHARDS) if (shards := shards_in(folder))}
    names: dict[Path, list[str]] = {}
    for folder, shards in folders.items():
        note = note_of(shards[0])
        own = [
            folder.name,
            folder.stem,
            *(folder.stem + suffix for suffix in BACKENDS),
            note.spec.digest(),
            note.spec.name,
        ]
        names[folder] = own + [source.name for source in note.sources]
    if any(Path(name).resolve() == folder.resolve() for folder in folders):
        name = Path(name).name
    return folders[one_called(name, names, f"cache with shards in {workspace.caches}")]


def folders_of(workspace: Workspace, *suffixes: str) -> list[Path]:
    """List the folders beside the caches that have one of these suffixes; what a link leads to is not ours."""
    found = (path for suffix in suffixes for path in sorted(workspace.caches.glob(f"*{suffix}")))
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def listed(folder: Path) -> list[Path]:
    """List what lies in a folder, by name; nothing where another process has removed it meanwhile."""
    with suppress(FileNotFoundError):
        return sorted(folder.iterdir())
    return []


def shards_in(folder: Path) -> list[Path]:
    """List the shards in a folder, by their number."""
    numbers = {
        path: (int(found[2]), int(found[1]))
        for path in listed(folder)
        if path.suffix in BACKENDS and (found := NUMBERED.fullmatch(path.stem))
    }
    return sorted(numbers, key=lambda path: (numbers[path], path.suffix))


def lacking_shards(shards: Sequence[Path]) -> tuple[str, ...]:
    """Name the others that there must be: ``"2 of 4"``."""
    there = {shard.stem for shard in shards}
    counts = dict.fromkeys(int(stem.partition("-of-")[2]) for stem in there)
    needed = [(index, count) for count in sorted(counts) for index in range(1, count + 1)]
    return tuple(f"{index} of {count}" for index, count in needed if f"{index}-of-{count}" not in there)


def whole_of(shards: Sequence[Path]) -> Path:
    """Return the cache that some shards are parts of: one that is there, or else one of their own format."""
    folder = shards[0].parent
    there = [path for suffix in BACKENDS if (path := folder.with_suffix(suffix)).exists()]
    return there[0] if there else folder.with_suffix(shards[0].suffix)


def changed_versions(note: CacheNote) -> list[str]:
    """Return one sentence if libraries are not those that the features were made with."""
    now: Mapping[str, str] = provenance()["versions"]
    changes = []
    for package, version in now.items():
        others = {run.get("versions", {}).get(package, version) for run in note.made} - {version}
        if others:
            changes.append(f"{package} {', '.join(sorted(others))}, now {version}")
    if not changes or note.spec.keyed_by_id:
        return []
    told = "; ".join(changes)
    return [f"made with other versions than are here ({told}); see whether that matters with: verify --re-encode 8"]


def encoder_of(note: CacheNote, track: Track = silent) -> "Encoder":
    """Load the encoder that makes the features of a cache; features that were imported have none."""
    from emoclim.encoders import load_encoder  # which loads torch

    if note.spec.keyed_by_id:
        raise CacheError(f"the features of {note.path} were imported, so there is no encoder that makes them")
    encoder = load_encoder(note.spec.name, checkpoint=_checkpoint_of(note), track=track, **note.settings)
    note.spec.require(encoder.spec, f"cache {note.path.name}")
    return encoder


def command_for(note: CacheNote, manifest: Path) -> str:
    """Return what to type to encode a manifest as a cache was, into the same."""
    workspace = Workspace(note.path.parent.parent)
    return encoding_command(
        workspace, note.spec.modality, manifest, note.spec.name, _checkpoint_of(note), note.settings
    )


def encoding_command(
    workspace: Workspace,
    modality: Modality,
    manifest: Path,
    encoder: str,
    checkpoint: Path | None,
    settings: Mapping[str, Setting],
) -> str:
    """Return what to type to encode a manifest; without a `checkpoint`, by the published parameters."""
    words = ["emoclim", "extract", MODALITIES[modality].folder, str(manifest), "--encoder", encoder]
    if checkpoint is not None:
        words += ["--checkpoint", str(checkpoint)]
    for name, value in settings.items():
        words += ["--setting", f"{name}={value}"]
    if workspace.root != Path():
        words += ["--workspace", str(workspace.root)]
    return shlex.join(words)


def _checkpoint_of(note: CacheNote) -> Path | None:
    return None if note.checkpoint is None else located(note.checkpoint, note.path.parent)


def when_noted(cache: Path) -> float:
    """Return when anything was last noted beside a cache, which makes one the newest, in seconds since 1970."""
    note = note_path(cache)
    return (note if note.is_file() else cache).lstat().st_mtime  # of a link that leads nowhere, too


def _names(path: Path) -> list[str]:
    """List what a cache may be called."""
    names = [path.stem, path.name, path.stem.rpartition("-")[2]]
    try:
        note = note_of(path)
    except CacheError:  # it is found by the name of its file all the same
        return names
    return [*names, note.spec.name, *(source.name for source in note.sources)]
