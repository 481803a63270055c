"""Write the manifest of a data set (`emoclim prepare`), and beside it an account of what is in it and what is not.

Nothing in either depends on the time or on where the workspace lies: anyone can make them again byte for byte.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from emoclim.data import (
    SHARES,
    Description,
    Item,
    LeftOut,
    Option,
    Prepared,
    check_file,
    check_target,
    choose_split,
    find_dataset,
    is_there,
    is_writable,
    manifest_bytes,
    place_items,
    read_dataset,
)
from emoclim.errors import ConfigError, DecodeError, ManifestError, name_some
from emoclim.files import write_bytes, write_json
from emoclim.modality import MODALITIES
from emoclim.pipeline.preparation.result import PreparedManifest, account_path
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

SEED = 42
OWN_GROUP = "own_group"  # further column: the groups that there were before those with equal files were joined
TAGGING = "tagging"  # name of a manifest without labels: it is for `evaluate --tagging`


def prepare_dataset(
    name: str,
    folder: Path,
    *,
    options: Mapping[str, Option] | None = None,
    output: Path | None = None,
    split: str | None = None,
    seed: int | None = None,
    max_missing: float | None = None,
    hash_files: bool = True,
    force: bool = False,
    workspace: Workspace = Workspace(),
    track: Track = silent,
) -> PreparedManifest:
    """Write the manifest of a data set, and its account beside it."""
    _require_utf8(sys.getfilesystemencoding())
    description: Description = find_dataset(name).DESCRIPTION
    prepared = read_dataset(name, folder, options)
    if twice := sorted(id_ for id_, count in Counter(item.id for item in prepared.items).items() if count > 1):
        raise ManifestError(
            f"{folder} gives {len(twice)} ids of {name} more than once ({name_some(twice, 3)}); keep one of each"
        )
    wanted = choose_split(split, prepared, description)
    made = SHARES.fullmatch(wanted) is not None
    if seed is not None and not made:
        raise ConfigError(f"--seed would have no effect: the split {wanted!r} is not made; leave it out")
    seed = SEED if seed is None else seed
    target = check_target(output or _default_output(prepared, workspace))
    usable, spoilt, contents = _look_at_files(prepared.items, hash_files, workspace, track)
    contents = {id_: content for id_, content in contents.items() if id_ not in prepared.incomparable}
    left_out = (*prepared.left_out, *spoilt)
    allowed = description.max_missing if max_missing is None else max_missing
    _require_complete(f"{folder} holds", name, len(usable), left_out, allowed)
    placed = place_items(usable, wanted, prepared.splits, contents, seed)
    if not placed.items:
        raise ManifestError(f"no file of {folder} is in the split {wanted!r}; name another: --split")
    columns = _with_own_groups(prepared, placed.items)
    unread = () if hash_files else ("files were not read, so that equal contents may lie in two parts of the split",)
    result = PreparedManifest(
        dataset=name,
        folder=folder,
        path=target,
        description=description,
        modality=prepared.modality,
        options=dict(options or {}),
        split=placed.split,
        seed=seed if made and placed.split == wanted else None,
        items=placed.items,
        left_out=tuple(sorted((*left_out, *placed.left_out))),
        notes=(*prepared.notes, *placed.notes, *unread),
        changed=_write(target, manifest_bytes(placed.items, target, columns), force),
    )
    write_json(account_path(target), result.account())
    return result


def _with_own_groups(prepared: Prepared, placed: Sequence[Item]) -> Mapping[str, Mapping[str, str]]:
    """Return the further columns, among them the items' own groups where some were joined and no column tells them."""
    own = {item.id: item.group for item in prepared.items if item.group}
    joined = any(own.get(item.id, item.group) != item.group for item in placed)
    told = OWN_GROUP in prepared.columns or any(
        {id_: cell for id_, cell in cells.items() if cell} == own for cells in prepared.columns.values()
    )
    return prepared.columns if told or not joined else {**prepared.columns, OWN_GROUP: own}


def _require_utf8(encoding: str) -> None:
    """Raise unless names of files are read as everywhere else."""
    if encoding != "utf-8":
        raise ConfigError(
            f"names of files are read as {encoding} here, as UTF-8 elsewhere, so that the manifest would be another; "
            "set the environment variable PYTHONUTF8=1"
        )


def _look_at_files(
    items: Sequence[Item], hash_files: bool, workspace: Workspace, track: Track
) -> tuple[list[Item], list[LeftOut], dict[str, str]]:
    """Return the items that can be used, what became of the others, and the content key of each by id."""
    keys = workspace.content_keys()
    usable: list[Item] = []
    spoilt: list[LeftOut] = []
    contents: dict[str, str] = {}
    try:
        for item in track(items, description="Reading files" if hash_files else "Checking files", total=len(items)):
            if item.path and not is_there(item.path):
                spoilt.append(LeftOut(item.id, "missing", "not in the folder"))
                continue
            try:
                if not is_writable(item.id) or (item.path and not is_writable(str(item.path))):
                    raise DecodeError("its name cannot stand in a manifest")
                if item.path:
                    check_file(item)
                if hash_files:
                    contents[item.id] = keys(item)
                usable.append(item)
            except DecodeError as error:
                spoilt.append(LeftOut(item.id, "broken", str(error)))
    finally:
        keys.save()
    return usable, spoilt, contents


def _require_complete(there: str, name: str, n_usable: int, left_out: Sequence[LeftOut], allowed: float) -> None:
    """Raise if more files are missing or broken than allowed."""
    lacking = sorted(one for one in left_out if one.kind in ("missing", "broken"))
    listed = n_usable + len(lacking)
    if not listed:
        raise ManifestError(f"{there} nothing of {name}; see what it should: emoclim prepare {name} --explain")
    if not n_usable or len(lacking) > allowed * listed:
        first, share = lacking[0], min(1.0, -(-100 * len(lacking) // listed) / 100)  # rounded up to what would do
        raise ManifestError(
            f"{there} {n_usable:,} of the {listed:,} files that it should as {name} "
            f"({first.id}: {first.reason}, for one); finish the download"
            + (f", or allow it: --max-missing {share}" if n_usable else "")
        )


def _default_output(prepared: Prepared, workspace: Workspace) -> Path:
    labelled = any(item.label is not None for item in prepared.items) or not any(item.tags for item in prepared.items)
    name = MODALITIES[prepared.modality].folder if labelled else TAGGING
    return workspace.root / "data" / f"{name}.csv"


def _write(target: Path, content: bytes, force: bool) -> bool:
    """Write a manifest; return False if it is there already, as it should be."""
    if target.is_file():
        if target.read_bytes() == content:
            return False
        if not force:
            raise ManifestError(f"{target} exists and holds something else; name another --output, or --force this one")
    write_bytes(target, content)
    return True
