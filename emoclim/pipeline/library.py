"""Libraries, which are manifests with the caches of their features.

Used by everything that trains, evaluates or searches. Invariant: an item is found in a cache by the key of its content,
never by its name, unless its features were imported by id.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoclim.cache import (
    CacheNote,
    FeatureCache,
    SourceRef,
    open_cache,
    read_note,
)
from emoclim.data import (
    ContentKeys,
    Item,
    Manifest,
    ids_of,
    read_manifest,
    values_of,
    with_splits,
)
from emoclim.errors import CacheError, ConfigError, ManifestError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.find_caches import cache_notes, command_for, names_of, newest_cache
from emoclim.pipeline.held import find_held, tell_left_out
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

if TYPE_CHECKING:
    from emoclim.data import Features  # loads torch

log = logging.getLogger(__name__)

SEED = 42  # of where items are placed that have no split


@dataclass(frozen=True, slots=True)
class Library:
    """A manifest and the cache that holds its features."""

    manifest: Manifest
    note: CacheNote
    source: SourceRef


OpenLibrary = Callable[[CacheNote, SourceRef], Library]


def labelled_library(
    workspace: Workspace, modality: Modality, name: str | None, *, tagged: bool = False, every: bool = False
) -> Library:
    """Open the newest labelled manifest of a cache, with its splits, or that of ``cache:manifest``.

    Where no cache is named, it is the newest that holds labels. Where one is named, `tagged` is enough. Where `every`
    item teaches, none needs a label, and all get a split.
    """
    name, _, manifest = name.partition(":") if name else (None, "", "")
    notes = [] if name or every else cache_notes(workspace, modality)  # newer ones may be only searched
    labelled = (note for note in notes if any(not source.unlabelled for source in note.sources))
    note = next(labelled, None) or newest_cache(workspace, modality, name)
    if manifest:
        wanted = Path(manifest).resolve()
        sources = (one for one in note.sources if one.found_from(note.path).resolve() == wanted)
        note = replace(note, sources=tuple(sources))
    for source in reversed(note.sources):
        usable = every or not source.unlabelled or (tagged and name)
        if usable and name in (None, source.name, *names_of(note)):
            return open_library(note, source, every=every)
    if name in (None, *names_of(note)):
        held = ", ".join(str(source.found_from(note.path)) for source in note.sources)
        raise CacheError(
            f"heads learn from labels, and cache {note.path} holds none (of {held or manifest}); extract a "
            "folder with one subfolder per emotion, or a table with a column 'label', or name another"
        )
    raise CacheError(f"cache {note.path} holds no labels of {name!r}; extract it with labels, or name another")


def choose_libraries(
    workspace: Workspace,
    named: Mapping[Modality, str],
    known: Mapping[str, Any],
    live: Collection[Modality] = (),
    *,
    alone: bool = False,
    tagged: bool = False,
    every: bool = False,
) -> dict[Modality, Library]:
    """Open the libraries of a run, but for those of its live modalities: those it noted when it began, or new ones.

    A run joins two, or if one is enough `alone`, those that are named, live ones among them.
    """
    if known:
        noted = {modality: known.get(called(modality)) for modality in MODALITIES if modality not in live}
        return {modality: noted_library(workspace, note, every=every) for modality, note in noted.items() if note}
    modalities = choose_modalities(workspace, named, live, alone=alone, every=every)
    return {
        modality: labelled_library(workspace, modality, named.get(modality), tagged=tagged, every=every)
        for modality in modalities
        if modality not in live
    }


def choose_modalities(
    workspace: Workspace,
    named: Collection[Modality],
    live: Collection[Modality] = (),
    *,
    alone: bool = False,
    every: bool = False,
) -> tuple[Modality, ...]:
    """Return two modalities in the order of their table: the live and the named, then those with labelled caches.

    Where `every` item teaches, any cache is as good. If one is enough `alone`, only these where any is named; or else
    one, where no other has such a cache.
    """
    chosen = {*named, *live}
    if len(chosen) > 2:
        raise ConfigError(f"a run joins two modalities, not {', '.join(sorted(chosen))}; name two of them")
    whole = len(chosen) == 2 or (alone and bool(named))
    rest = [modality for modality in MODALITIES if modality not in chosen and not whole]
    labelled = [
        modality
        for modality in rest
        if any(every or not source.unlabelled for note in cache_notes(workspace, modality) for source in note.sources)
    ]
    # Where caches lack, the first modalities of the table are asked for, and whoever opens them says what lacks.
    wanted = labelled if alone and (labelled or live) else dict.fromkeys([*labelled, *rest])
    chosen |= set(list(wanted)[: 2 - len(chosen)])
    return tuple(modality for modality in MODALITIES if modality in chosen)


def called(modality: Modality) -> str:
    """Name the library of a modality as messages do."""
    return f"the {modality} library"


def open_library(note: CacheNote, source: SourceRef, *, need_files: bool = True, every: bool = False) -> Library:
    """Read a manifest anew, as it is now; the files of features that were imported need not be there."""
    path = source.found_from(note.path)
    need_files = need_files and not note.spec.keyed_by_id
    try:
        manifest = read_manifest(path, note.spec.modality, unlabelled=source.unlabelled, need_files=need_files)
    except ManifestError as error:
        if not path.is_file():
            raise
        # whoever wrote the note chose the file, so nothing of what is in it is shown
        told = f"{path}, a manifest of {note.path.name} by its note, cannot be read as one"
        raise ManifestError(
            f"{told}; see why with: emoclim extract {MODALITIES[note.spec.modality].folder} FILE"
        ) from error
    known = with_splits(manifest, seed=None)
    tell_changed(source, known.digest(), path, note)
    manifest = with_splits(manifest, SEED, every=True) if every else known
    return Library(manifest, note, source)


def tell_changed(source: SourceRef, digest: str, path: Path, note: CacheNote) -> None:
    """Warn where a manifest does not say what it did."""
    if digest != source.digest:
        log.warning("%s changed since it was extracted into %s", path, note.path.name)


def split_manifest(
    manifest: Manifest, keys: ContentKeys, track: Track = silent, *, seed: int = SEED, every: bool = False
) -> Manifest:
    """Split a manifest where it is not split yet, and keep what was learnt of its files meanwhile."""
    try:
        return with_splits(manifest, seed, keys, track, every=every)
    finally:
        keys.save()


def library_note(library: Library) -> dict[str, Any]:
    """Return what a run notes of a library."""
    return {"cache": library.note.path.name, **asdict(library.source), "digest": library.manifest.digest()}


def noted_library(workspace: Workspace, noted: Mapping[str, Any], *, every: bool = False) -> Library:
    """Open the library that :func:`library_note` was made of, as it is now."""
    note = read_note(workspace.caches / noted["cache"])
    return open_library(note, source_of(note, noted["path"]), every=every)


def source_of(note: CacheNote, path: str) -> SourceRef:
    """Find the manifest of that path among those that a cache was filled from."""
    for source in note.sources:
        if source.path == path:
            return source
    raise CacheError(f"{path} was not extracted into {note.path}; extract it again")


def read_features(library: Library, items: Sequence[Item], keys: ContentKeys) -> "Features":
    """Read cached features of some items of a library; warn of those that are missing or failed."""
    with open_cache(library.note.path) as cache:
        return features_in(cache, library, items, keys)[1]


def features_in(
    cache: FeatureCache,
    library: Library,
    items: Sequence[Item],
    keys: ContentKeys,
    *,
    partial: bool = False,
    quiet: bool = False,
) -> "tuple[Sequence[Item], Features]":
    """Return which items the cache of a library holds, and their features; unless `quiet`, warn of the others."""
    held = find_held(library.note.spec, items, keys, cache)
    if held.lacking and not partial:
        raise CacheError(
            f"{len(held.lacking)} of {len(items)} items of {library.manifest.source} are new or changed and not in "
            f"{cache.path} ({held.lacking[0]} first); run: {command_for(library.note, library.manifest.source)}"
        )
    if not quiet:
        tell_left_out(library.manifest.source, len(items), held.left_out)
    return held.items, replace(cache.open_features(held.keys), ids=ids_of(held.items))


def labels_of(libraries: Mapping[Modality, Library]) -> dict[Modality, set[str]]:
    """Return the labels that occur, by modality."""
    return {
        modality: values_of(library.manifest.items, "label").counts().keys() - {None}
        for modality, library in libraries.items()
    }
