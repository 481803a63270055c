"""Read manifests: the list of items a command works on, from a table (CSV or Parquet) or from one folder per label.

Conventions: a path in a table is relative to that table; an item's id is its path as written unless a column `id` says
otherwise; items keep the order of the file, or for folders the order of their ids; every name is UTF-8. A label, tag,
split or group is one however its accents are spelt: as letters of their own (as a Mac names folders) or not.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from emoclim.config import closest
from emoclim.data.items.columns import ItemColumns, digest_of, files_of, ids_of, values_of
from emoclim.data.items.item import SPLITS as SPLITS
from emoclim.data.items.item import Item as Item
from emoclim.data.items.reading import read_columns
from emoclim.data.items.remote import is_remote, name_of, path_within, shown_path
from emoclim.data.labels.valence_arousal import NUMBERS, measures_of, numbers_of_row
from emoclim.data.listing import is_there, is_utf8, list_folder, tell_empty, tell_left_out, usable_files
from emoclim.data.tables import PARQUET, SEPARATOR, read_table, require_none
from emoclim.errors import ManifestError, name_some
from emoclim.modality import MODALITIES, Modality

COLUMNS = ("path", "label", "split", "id", "tags", "group", "pair", "start", "duration", "text", *NUMBERS)
FILES = frozenset[str]().union(*(one.suffixes for one in MODALITIES.values() if one.preview))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The items of one library.

    Examples
    --------
    >>> Manifest("poems", "text", Path("poems.csv"), (Item("1", text="A sunny day"),)).items[0].text
    'A sunny day'
    """

    name: str  # stem of the table or name of the folder
    modality: Modality
    source: Path  # the table or folder it was read from
    items: Sequence[Item]  # a tuple, or of a large table its columns, of which each item is made when it is asked for
    notes: tuple[str, ...] = ()  # what was left out or looked odd while reading, one sentence each
    left_out: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Hash what it says of its items to 12 hex digits."""
        return self.items.digest if isinstance(self.items, ItemColumns) else digest_of(self.items)


def read_manifest(
    source: Path | str, modality: Modality, *, unlabelled: bool = False, need_files: bool = True
) -> Manifest:
    r"""Read a table, or a folder with one subfolder per label.

    Parameters
    ----------
    source
        A CSV (commas, semicolons or tabs) or Parquet file with a column `path` and any of `label`, `split`, `id`,
        `tags` (separated by ``|``), `group`, `pair`, `start`, `duration` (seconds), `valence` and `arousal`, and any
        of numbers; or with `id` and `text` for the content itself; or a folder ``<label>/**/<file>``.
    modality
        What the items are.
    unlabelled
        Leave labels, numbers and pairs out: the library is only to be searched.
    need_files
        False where only ids and labels are used: no file is looked for.

    Returns
    -------
    Manifest
        Files that are not there are kept as items, and counted in its notes.

    Raises
    ------
    ManifestError
        Nothing to read, no usable column, or rows that cannot be used; all problems are told together.

    Examples
    --------
    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp()) / "poems.csv"
    >>> _ = table.write_text("id,text,label\n1,A sunny day,happy\n")
    >>> read_manifest(table, "text").items[0].label
    'happy'
    """
    source = Path(source)
    if source.name in ("", ".."):  # the name of a folder is that of its library
        source = source.resolve()
    if modality not in MODALITIES:
        raise ManifestError(f"there is no modality {modality!r}; there are {', '.join(MODALITIES)}")
    if not is_utf8(str(source)):
        raise ManifestError(f"the name {str(source)!r} is no UTF-8, as all names here must be; rename it")
    if is_remote(source):
        raise ManifestError(f"{shown_path(source)} is an address; a manifest lies here, and its paths may be addresses")
    if source.is_dir():
        manifest = _from_folder(source, modality, unlabelled)
    elif source.is_file() and source.suffix.lower() in FILES:
        raise ManifestError(
            f"{source} is a single file, no list of files; give the folder that holds it, "
            "or a CSV file that names it in a column 'path'"
        )
    elif source.is_file():
        try:
            manifest = _from_table(source, modality, unlabelled)
        except ManifestError as error:
            if source.suffix.lower() not in MODALITIES[modality].suffixes:
                raise
            raise ManifestError(f"{error}; or, if it is no list but a text itself, give the folder it is in") from error
    else:
        fault = f"{source} is no regular file" if is_there(source) else f"there is no manifest at {source}"
        raise ManifestError(f"{fault}; give a CSV file or a folder with one subfolder per label")
    return _checked(manifest, need_files)


def _from_table(source: Path, modality: Modality, unlabelled: bool) -> Manifest:
    if source.suffix.lower() in PARQUET and (large := read_columns(source, unlabelled=unlabelled)) is not None:
        return Manifest(source.stem, modality, source, large)
    table = read_table(source)
    columns = [name.lower() for name in table.columns]
    known = {name for name in COLUMNS if table.where(name) is not None}
    if known.isdisjoint(("path", "text")):
        raise ManifestError(f"{source} has no column 'path' (it has: {table.named()}); add one")
    problems = table.overfull()
    items = [
        item_of_row(str(source.parent), number, dict(zip(columns, row, strict=False)), unlabelled, problems)
        for number, row in table.rows
    ]
    require_none(source, problems)
    measures = [] if unlabelled else measures_of([row for _, row in table.rows], columns, known)
    items = [replace(item, measures=own) for item, own in zip(items, measures, strict=False)] or items
    left_out = [name for name in columns if name not in known and not any(name in own for own in measures)]
    unused = [f"{name}{closest(name, {*COLUMNS} - known)}" for name in left_out]
    notes = [f"left out column{'s' * (len(left_out) > 1)} {name_some(unused, 12)}"] if unused else []
    kept, told = untimed(items, modality)
    return Manifest(source.stem, modality, source, tuple(kept), (*table.notes, *told, *notes))


def item_of_row(folder: str, number: int, row: dict[str, str], unlabelled: bool, problems: list[str]) -> Item:
    """Make an item of a row; add whatever is wrong with it to `problems`."""
    path = row.get("path", "")  # as written: a file name may begin or end with a space
    text = None if path else _cell(row, "text")
    id_ = _cell(row, "id") or name_of(path)
    if not path and not text:
        problems.append(f"row {number} has no path")
    elif not id_:
        problems.append(f"row {number} has a text and no id")
    split = _cell(row, "split")
    if split and split not in SPLITS:
        problems.append(f"row {number} has split {split!r} (it is one of {', '.join(SPLITS)})")
    seconds: dict[str, float | None] = {"start": None, "duration": None}
    for name in seconds:
        if given := _cell(row, name):
            try:
                seconds[name] = float(given)
            except ValueError:
                problems.append(f"row {number} has {name} {given!r} (it is a number of seconds)")
    return Item(
        id=id_,
        path=None if text else path_within(folder, path),
        text=text,
        start=seconds["start"],
        duration=seconds["duration"],
        label=None if unlabelled else _cell(row, "label"),
        tags=tuple(tag.strip() for tag in (_cell(row, "tags") or "").split(SEPARATOR) if tag.strip()),
        split=split,
        group=_cell(row, "group"),
        pair=None if unlabelled else _cell(row, "pair"),
        numbers=() if unlabelled or row.keys().isdisjoint(NUMBERS) else numbers_of_row(number, row, problems),
    )


def untimed(items: Sequence[Item], modality: Modality) -> tuple[Sequence[Item], list[str]]:
    """Take start and duration from items of a modality that knows no time; tell it in a sentence."""
    timed = [item.id for item in items if item.start is not None or item.duration is not None]
    if MODALITIES[modality].timed or not timed:
        return items, []
    told = f"left out start and duration of {len(timed)} {MODALITIES[modality].nouns}, which have none"
    return [replace(item, start=None, duration=None) for item in items], [f"{told} ({name_some(timed, 3)})"]


def _cell(row: dict[str, str], name: str) -> str | None:
    return row.get(name, "").strip() or None


def _from_folder(source: Path, modality: Modality, unlabelled: bool) -> Manifest:
    files, left_out = usable_files(list_folder(source), modality)
    labelled = [] if unlabelled else [path for path in files if "/" in path]
    if labelled:
        left_out |= dict.fromkeys(sorted(set(files).difference(labelled)), "in no label's folder")
    chosen = labelled or files
    items = [Item(path, source / path, label=path.partition("/")[0] if labelled else None) for path in chosen]
    empty = tell_empty(source, files, modality, left_out) if labelled else []
    return Manifest(source.name, modality, source, tuple(items), (*tell_left_out(left_out, modality), *empty), left_out)


def _checked(manifest: Manifest, need_files: bool) -> Manifest:
    """Check ids and groups, and note missing files."""
    items, source = manifest.items, manifest.source
    if not items:
        raise ManifestError(f"{source} lists no {manifest.modality}; add some, or name another manifest")
    problems = []
    unique = isinstance(items, ItemColumns)  # or it would not be of columns
    if twice := [] if unique else [id_ for id_, n in Counter(ids_of(items)).items() if n > 1]:
        problems.append(f"{len(twice)} ids occur more than once ({name_some(twice)})")
    if torn := torn_groups(items):
        problems.append(f"{len(torn)} groups lie in more than one split ({name_some(torn)})")
    looked_for = files_of(items if need_files else ())
    missing = [id_ for id_, path in looked_for if not is_there(path) and not is_there(Path(path))]  # as "song.wav/" is
    told = f"{len(missing)} of {len(items)} files are missing"
    if missing and (problems or len(missing) == len(items)):
        problems.append(f"{told} ({name_some(missing)}; paths are relative to it)")
    require_none(source, problems)
    return replace(manifest, notes=(*manifest.notes, f"{told}: {name_some(missing)}")) if missing else manifest


def torn_groups(items: Sequence[Item]) -> list[str]:
    """Return which groups of items lie in more than one split."""
    groups, splits = values_of(items, "group"), values_of(items, "split")
    if not any(groups.values):
        return []
    both = np.unique(groups.codes.astype(np.int64) * len(splits.values) + splits.codes)
    pairs = (divmod(pair, len(splits.values)) for pair in both.tolist())
    counts = Counter(groups.values[group] for group, split in pairs if splits.values[split])
    return [group for group in groups.values if group and counts[group] > 1]


def torn_sets(items: Iterable[Item], sets: Mapping[str, str]) -> list[str]:
    """Return which sets of items lie in more than one split; the set of an item is by its id."""
    parts = dict.fromkeys((sets[item.id], item.split) for item in items if item.split and sets.get(item.id))
    return [found for found, count in Counter(name for name, _ in parts).items() if count > 1]
