"""Make train, validation and test parts: stratified by label if there are any, once, and kept beside the manifest.

Conventions: items of one group, and items of equal content, share a split; the split of an item never changes once it
is written; items added later are placed round those there.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import numpy as np
from filelock import FileLock

from emoclim.data.content import ContentKeys, contents_of
from emoclim.data.grouping import annotated_items, annotated_rows, join_groups, names_of_groups
from emoclim.data.items.coded import Coded
from emoclim.data.items.columns import ItemColumns, columns_of, ids_of, values_of, with_values
from emoclim.data.items.kept_splits import kept_splits
from emoclim.data.manifest import SPLITS, Item, Manifest, torn_groups, torn_sets
from emoclim.data.tables import read_table, table_bytes
from emoclim.errors import ManifestError, reason_of
from emoclim.files import write_bytes
from emoclim.progress import Track, silent

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}  # of the papers (Emo-CLIM, section 4.1)

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}


def split_called(name: str) -> str | None:
    """Return the split of a name in common use (train, valid, dev, ...); None if it is none."""
    return next((split for split, names in SPLIT_NAMES.items() if name.strip().lower() in names), None)


def with_splits(
    manifest: Manifest,
    seed: int | None = 42,
    keys: Callable[[Item], str] | None = None,
    track: Track = silent,
    *,
    keep: bool = True,
    every: bool = False,
) -> Manifest:
    """Give each item that heads can learn from a split, from the manifest's own column or from the file kept beside it.

    Parameters
    ----------
    manifest
        If it has no splits, those in ``<name>.splits.csv`` beside it are taken, completed for new items and kept.
    seed
        Decides where new items go; None refuses to place any.
    keys
        Key of what an item contains, such as :class:`~emoclim.data.content.ContentKeys`; where new items are placed,
        those of equal content share a split. None reads their files.
    track
        Shows how far that is.
    keep
        Whether the places of new items are written beside the manifest.
    every
        Whether items without label, numbers and pair get one as well, for what learns without any of these, unless the
        manifest has splits of its own.

    Raises
    ------
    ManifestError
        Only some labelled items have a split of their own, the file cannot be read or written, or lacks an item that is
        not to be placed.

    Examples
    --------
    >>> import tempfile
    >>> items = tuple(Item(str(n), text=f"Sentence {n}.", label="joy") for n in range(10))
    >>> manifest = Manifest("poems", "text", Path(tempfile.mkdtemp()) / "poems.csv", items)
    >>> sorted(item.split for item in with_splits(manifest).items)[:3]
    ['test', 'train', 'train']
    """
    every = every and not any(values_of(manifest.items, "split").counts())  # else those without one are only searched
    labelled = manifest.items if every else annotated_items(manifest.items)
    given = len(labelled) - values_of(labelled, "split").counts().get(None, 0)
    if given == len(labelled):
        return manifest
    if given:
        raise ManifestError(
            f"{manifest.source} gives a split for {given} of {len(labelled)} labelled items; give all or none"
        )
    path = splits_path(manifest)
    if (placed := _with_kept(manifest.items, labelled, path, seed)) is not None:
        return replace(manifest, items=placed, notes=(*manifest.notes, f"splits are those of {path}"))
    splits = _read(path)
    lacking = [id_ for id_ in ids_of(labelled) if id_ not in splits]
    if seed is None and lacking:
        raise ManifestError(f"{len(lacking)} items have no split in {path} ({lacking[0]} first); extract them first")
    if seed is not None:
        find = keys or ContentKeys()
        splits = (
            _complete(path, labelled, seed, find, track, keep) if lacking else assign_splits(labelled, seed, splits)
        )
    if len(labelled) < len(manifest.items):  # the file may have others as well, which were placed for what takes every
        splits = {id_: splits[id_] for id_ in ids_of(labelled)}
    items = with_values(manifest.items, "split", map(splits.get, ids_of(manifest.items)))
    told = f"splits are those of {path}"
    if lacking:
        told = f"80/10/10 splits were written to {path}" if keep else "80/10/10 splits are yet to be made"
    return replace(manifest, items=items, notes=(*manifest.notes, told))


def _with_kept(items: Sequence[Item], labelled: Sequence[Item], path: Path, seed: int | None) -> Sequence[Item] | None:
    """Give items of columns the splits of a file that has all of them; None where a look at each row is needed."""
    if not isinstance(items, ItemColumns) or not isinstance(labelled, ItemColumns):
        return None
    own = kept_splits(path, labelled)
    if own is None or None in own.values or (seed is not None and torn_groups(labelled.with_column("split", own))):
        return None
    codes = np.full(len(items), len(own.values), np.int32)
    codes[annotated_rows(items) if len(labelled) < len(items) else slice(None)] = own.codes
    return items.with_column("split", Coded((*own.values, None), codes))


def splits_path(manifest: Manifest) -> Path:
    """Return the file that keeps the splits of a manifest without any."""
    return manifest.source.parent / f"{manifest.name}.splits.csv"


def assign_splits(
    items: Iterable[Item],
    seed: int,
    kept: Mapping[str, str] | None = None,
    fractions: Mapping[str, float] = FRACTIONS,
) -> dict[str, str]:
    """Place labelled items into train, val and test, or into any other parts that have `fractions`.

    Notes
    -----
    Greedy iterative stratification, rarest label first (Sechidis et al., "On the stratification of multi-label data",
    ECML PKDD 2011), with a whole group as the unit.
    """
    kept = kept or {}
    rows = [*columns_of(items if isinstance(items, ItemColumns) else tuple(items), ("id", "group", "label"))]
    names = names_of_groups([(id_, group) for id_, group, _ in rows])
    members: dict[str, list[tuple[str, str]]] = {}
    for id_, _, label in sorted(rows, key=itemgetter(0)):
        members.setdefault(names[id_], []).append((id_, label or ""))
    alone = {label or "": Counter([label or ""]) for _, _, label in rows}  # of groups of one item, as most are
    labels = {
        group: alone[of_group[0][1]] if len(of_group) == 1 else Counter(label for _, label in of_group)
        for group, of_group in members.items()
    }
    totals = Counter(label or "" for _, _, label in rows)
    waiting = Counter(label for counts in labels.values() for label in counts)  # groups not placed yet, by label
    placed: dict[str, Counter[str]] = {split: Counter() for split in fractions}
    where: dict[str, str] = {}

    def place(group: str, split: str) -> None:
        where[group] = split
        placed[split].update(labels[group])
        waiting.subtract(labels[group].keys())

    for group, of_group in members.items():
        decided = sorted({kept[id_] for id_, _ in of_group if id_ in kept})
        if len(decided) > 1:
            raise ManifestError(
                f"group {group!r} joins items placed in {' and '.join(decided)}; correct the group or the splits"
            )
        if decided:
            place(group, decided[0])
    waiting_groups = sorted(members.keys() - where.keys())
    shuffled = map(waiting_groups.__getitem__, np.random.default_rng(seed).permutation(len(waiting_groups)).tolist())
    for group in sorted(
        shuffled, key=lambda group: (min(totals[label] for label in labels[group]), -labels[group].total())
    ):
        rarest = min(labels[group], key=lambda label: (totals[label], label))
        place(group, _neediest(rarest, totals[rarest], waiting[rarest], placed, fractions))
    return {id_: where[group] for group, of_group in members.items() for id_, _ in of_group}


def _neediest(
    label: str, total: int, waiting: int, placed: Mapping[str, Counter[str]], fractions: Mapping[str, float]
) -> str:
    """Choose the split that lacks most of a label; one without any comes first for the last groups."""
    usable = [split for split in fractions if fractions[split]]
    empty = [split for split in usable if not placed[split][label]]
    if empty and waiting <= len(empty):
        return empty[0]
    return max(usable, key=lambda split: fractions[split] * total - placed[split][label])


def _complete(
    path: Path, labelled: Sequence[Item], seed: int, keys: Callable[[Item], str], track: Track, keep: bool
) -> dict[str, str]:
    """Place the items that have no split in a file yet; of processes that do so at once, the first decides."""
    try:
        with ExitStack() as stack:
            if keep:
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(path.with_name(f".{path.name}.lock")))
            splits = _read(path)
            if not splits.keys() >= set(ids_of(labelled)):
                items = track(labelled, description=f"read {path.name}", total=len(labelled))
                splits |= assign_splits(_joined(labelled, contents_of(items, keys), splits), seed, splits)
            if keep:
                write_bytes(path, table_bytes(("id", "split"), sorted(splits.items()), path.suffix))
            return splits
    except OSError as error:
        raise ManifestError(
            f"the splits cannot be kept in {path} ({reason_of(error)}); give the manifest a column 'split'"
        ) from error


def _joined(items: Sequence[Item], contents: Mapping[str, str], kept: Mapping[str, str]) -> Sequence[Item]:
    """Put items of equal content into one group, unless that would join what lies in different splits already."""
    if len(set(contents.values())) == len(contents):
        return items
    joined = [replace(item, split=kept.get(item.id)) for item in join_groups(items, contents)]
    groups = {item.id: str(item.group) for item in joined}
    torn = torn_sets(joined, groups)
    return join_groups(items, {id_: content for id_, content in contents.items() if groups[id_] not in torn})


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    table = read_table(path, prose="id")
    splits = {row["id"]: row["split"] for _, row in table.records("id", "split")}
    if len(splits) < len(table.rows) or not set(splits.values()) <= set(SPLITS):
        raise ManifestError(f"{path} is not a table of id and split (train, val, test); correct or delete it")
    return splits
