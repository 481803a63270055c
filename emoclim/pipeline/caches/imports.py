"""`emoclim cache import`: features that others made -> a cache that is used like that of any encoder.

Items are known by their ids, for the features may be at hand where the files are not. A file is looked over from end to
end before anything is written, and a new cache is written aside: whatever is refused or stopped leaves no trace.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from emoclim.cache import open_cache
from emoclim.cache.checks import name_some
from emoclim.cache.files import sync_folder
from emoclim.cache.ids import BY_ID
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Manifest, read_manifest
from emoclim.errors import CacheError, ConfigError
from emoclim.features import VIEWS, FeatureSpec, Setting
from emoclim.files import partial_beside
from emoclim.modality import Modality
from emoclim.pipeline.accounts import ItemState, write_accounts
from emoclim.pipeline.caches.feature_files import FeatureFile, look_over, open_feature_file
from emoclim.pipeline.caches.matching import match_ids
from emoclim.pipeline.libraries import CacheNote, note_or_new, portable_path, split_manifest
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

NAME = re.compile(r"[\w][\w.+-]*")
OWN_SETTINGS = ("source", "keys", "array")
COMMIT_ITEMS = 1024


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What one `emoclim cache import` did.

    Attributes
    ----------
    file
        Where the features came from.
    manifest
        Of the items that they belong to.
    spec
        Of the features.
    cache
        Where they are now.
    imported, reused
        Items put into the cache now, and items that it had of this file.
    missing
        Ids of items that the file has no features of.
    left_out
        Ids in the file that the manifest does not list.
    notes
        What was done to the numbers, one sentence each.
    """

    file: Path
    manifest: Manifest
    spec: FeatureSpec
    cache: Path
    imported: int
    reused: int
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "file": str(self.file),
            "manifest": str(self.manifest.source),
            "items": len(self.manifest.items),
            "spec": self.spec.to_dict(),
            "cache": str(self.cache),
            "imported": self.imported,
            "reused": self.reused,
            "missing": list(self.missing),
            "left_out": list(self.left_out),
            "notes": [*self.manifest.notes, *self.notes],
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        source, n_items = self.manifest.source, len(self.manifest.items)
        lines = [f"{source}: {note}" for note in self.manifest.notes]
        if self.imported:
            lines.append(
                f"{self.file}: {self.imported} items of {self.spec.dim} values imported, {self.reused} were there "
                f"-> {self.cache}"
            )
        else:
            lines.append(f"{self.file} was imported already: {self.cache} holds all {self.reused} of its items")
        if self.missing:
            lacking = f"{len(self.missing)} of {n_items} items of {source} have no features"
            lines.append(f"{lacking}: {name_some(self.missing)}")
        if self.left_out:
            lines.append(f"{len(self.left_out)} are not in {source} and were left out: {name_some(self.left_out)}")
        return [*lines, *self.notes]


def import_features(
    file: Path,
    modality: Modality,
    name: str,
    *,
    source: Path | None = None,
    values: str | None = None,
    settings: Mapping[str, Setting] | None = None,
    allow_extra: bool = False,
    unlabelled: bool = False,
    backend: str = "h5",
    seed: int = 42,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    track: Track = silent,
) -> ImportResult:
    """Put features that others made into a cache.

    Parameters
    ----------
    file
        See :func:`emoclim.pipeline.caches.feature_files.open_feature_file`.
    modality
        ``image`` or ``audio``.
    name
        What the features shall be called, as encoders are.
    source
        Manifest that lists the items: their ids, or their paths as written there, are the ids of the file. None looks
        in the workspace's ``data/``. The files that it names need not be there.
    values
        Name of the array or column of values; None takes ``values``.
    settings
        Anything else that should tell these features from others.
    allow_extra
        Leave out features of items that the manifest does not list; else they are refused.
    unlabelled
        The library is only to be searched.
    backend
        ``h5`` or ``zarr``.
    seed
        Of the splits, where the manifest has none.
    workspace
        Where the cache goes.
    track
        Shows progress.

    Raises
    ------
    EmoclimError
        The file, its ids or numbers, the manifest or a setting cannot be used.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for features; use letters, digits and . + - _")
    if taken := sorted(set(OWN_SETTINGS) & set(settings or {})):
        raise ConfigError(f"setting {taken[0]!r} is set by the import itself; give yours another name")
    manifest = read_manifest(source or workspace.manifest(modality), modality, unlabelled=unlabelled, need_files=False)
    given = open_feature_file(file, values)
    survey = look_over(given, track)
    matches = match_ids(survey.ids, manifest, file, by_name=given.by_name, allow_extra=allow_extra)
    manifest = split_manifest(manifest, ContentKeys(workspace.caches / "content.json"), track, seed=seed)
    own: dict[str, Setting] = {"source": "import", "keys": "ids", "array": given.values}
    if modality == "image" and survey.most_segments:
        own[VIEWS] = survey.most_segments
    spec = FeatureSpec(name, modality, survey.dim, given.identity, {**(settings or {}), **own})
    path = workspace.cache_path(spec, f".{backend}")
    imported = _keep(path, spec, given, matches, track)
    note = note_or_new(CacheNote(path, spec, portable_path(file, path), {}))
    if imported:
        note = note.with_run(imported)
    with open_cache(path) as cache:
        committed = cache.keys()
    states = [
        ItemState(item.id, "committed" if key in committed else "missing", key)
        for item in manifest.items
        for key in [f"{BY_ID}{item.id}"]
    ]
    note = note.with_source(manifest, unlabelled or all(item.label is None for item in manifest.items))
    write_accounts(path, note.sources[-1].name, states)
    note.save()
    missing = tuple(state.id for state in states if state.state == "missing")
    left_out = tuple(id_ for id_ in survey.ids if id_ not in matches)
    return ImportResult(
        file, manifest, spec, path, imported, len(matches) - imported, missing, left_out, survey.notes(file)
    )


def _keep(path: Path, spec: FeatureSpec, file: FeatureFile, matches: Mapping[str, str], track: Track) -> int:
    """Put items that a cache does not hold yet into it; a new one is made aside and then appears whole."""
    if path.exists():
        return _append(path, spec, file, matches, track)
    aside = partial_beside(path)
    try:
        imported = _append(aside / path.name, spec, file, matches, track)
        if not imported:
            raise CacheError(f"{file.path} has no item of the manifest; name the manifest whose ids it has")
        (aside / path.name).rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return imported


def _append(path: Path, spec: FeatureSpec, file: FeatureFile, matches: Mapping[str, str], track: Track) -> int:
    with open_cache(path, spec) as cache:
        committed = cache.keys()
        items = (
            replace(item, key=key)
            for block in track(file.blocks(), description=f"import {file.path.name}")
            for item in block.items()
            if item.key in matches and (key := f"{BY_ID}{matches[item.key]}") not in committed
        )
        imported = 0
        while some := list(islice(items, COMMIT_ITEMS)):
            cache.append(some)
            imported += len(some)
    return imported
