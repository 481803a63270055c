"""Find the library of a name or path, and of which modality it is. Used by search."""

import os
from collections.abc import Sequence
from pathlib import Path

from emoclim.data import is_there, list_files, read_manifest, shown_path
from emoclim.errors import CacheError, ManifestError, reason_of
from emoclim.modality import MODALITIES, WRITTEN, Modality
from emoclim.pipeline.searching.libraries import Place
from emoclim.pipeline.searching.spaces import JointSpace


def find_place(name: str, space: JointSpace, asked: Modality) -> Place:
    """Find the library of that name or path in a space, for queries of a modality."""
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - of --in=~/Music, where shells leave the ~ as it is
    modalities = sorted(space.modalities, key=lambda modality: modality == asked)
    known = [(note, source) for one in modalities for note in space.notes(one) for source in reversed(note.sources)]
    same = [one for one in known if one[1].found_from(one[0].path).resolve() == path.resolve()]
    there = ", ".join(dict.fromkeys(source.name for _, source in known))
    if is_there(path) and not any(note.spec.keyed_by_id for note, _ in same):
        listed = {note.spec.modality for note, _ in same} if path.is_file() else set()
        # a table that was extracted is not read only to see what its files are
        modality = listed.pop() if len(listed) == 1 else modality_in(path, space.modalities, asked)
        own = next((note for note, _ in same if note.spec.modality == modality), None) or space.encoding(modality)
        if own.spec.keyed_by_id:
            raise CacheError(
                f"features {own.spec.name!r} were imported, so none can be made of {path}; search in one of {there}"
            )
        return own, path
    for place in same or [one for one in known if one[1].name == name]:
        return place
    name = shown_path(name)
    raise CacheError(
        f"{name} is no folder or manifest, and no library called {name!r} was extracted for {space.told}"
        f"; {f'there are: {there}' if there else 'name a folder or manifest that is there'}"
    )


def modality_in(path: Path, modalities: Sequence[Modality], asked: Modality) -> Modality:
    """Return of which of some modalities most files of a folder or manifest are; of two, not the one asked by."""
    suffixes = [Path(name).suffix.lower() for name in _names_in(path, modalities[0])]
    counts = {one: sum(suffix in MODALITIES[one].suffixes for suffix in suffixes) for one in modalities}
    if not any(counts.values()):
        raise ManifestError(f"{path} holds no {' or '.join(modalities)}; name a folder with files of these")
    specific = {one: -len(MODALITIES[one].suffixes) for one in modalities}  # films are videos before they are sound
    return max(counts, key=lambda one: (counts[one], one != asked, specific[one]))


def _names_in(path: Path, modality: Modality) -> Sequence[str]:
    if path.is_dir():
        try:
            return list_files(path)
        except OSError as error:
            raise ManifestError(f"{path} cannot be listed ({reason_of(error)}); check its permissions") from error
    listed = read_manifest(path, modality, unlabelled=True, need_files=False)
    text = f"{WRITTEN}{next(iter(MODALITIES[WRITTEN].suffixes))}"
    return [text if item.path is None else shown_path(item.path) for item in listed.items]
