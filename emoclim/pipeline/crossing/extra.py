"""Add the items of further manifests to libraries, so that they train the heads of every fold and are in none.

Used by cross-validation. Convention: features of both lie in one cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emoclim.cache import read_note
from emoclim.data import Item
from emoclim.errors import ConfigError
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, open_library


def with_extra(libraries: Mapping[Modality, Library], extra: Sequence[Path]) -> dict[Modality, Library]:
    """Add the items of manifests to the libraries into whose caches they were extracted, without their groups."""
    found, unknown = dict(libraries), {path.resolve(): path for path in extra}
    for modality, library in libraries.items():
        items: dict[str, Item] = {item.id: item for item in library.manifest.items}
        for source in read_note(library.note.path).sources:  # a library may name one of them
            place = source.found_from(library.note.path).resolve()
            if place not in {path.resolve() for path in extra}:
                continue
            unknown.pop(place, None)
            further = [
                replace(one, group=None) for one in open_library(library.note, source, every=True).manifest.items
            ]
            if twice := items.keys() & {one.id for one in further}:
                raise ConfigError(
                    f"{place} has item {min(twice)}, as has {library.manifest.source}; rename one of both"
                )
            items |= {one.id: one for one in further}
        found[modality] = replace(library, manifest=replace(library.manifest, items=tuple(items.values())))
    if unknown:
        caches = " and ".join(library.note.path.name for library in libraries.values())
        raise ConfigError(f"--extra {next(iter(unknown.values()))} was extracted into none of {caches}; extract it")
    return found
