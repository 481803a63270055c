"""Read your own files, listed in a table.

A CSV (commas, semicolons or tabs) or Parquet file whose columns are called as you like. Columns that are not named are
looked for under the names that a manifest has; all further ones are kept.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from emoclim.data.datasets.base import GIVEN, Description, LeftOut, Prepared
from emoclim.data.datasets.files import in_words, modality_of
from emoclim.data.labels.valence_arousal import NUMBERS, measures_of
from emoclim.data.listing import list_files
from emoclim.data.manifest import COLUMNS, SPLITS, item_of_row, untimed
from emoclim.data.splits import split_called
from emoclim.data.tables import Table, read_table, require_none
from emoclim.errors import ManifestError
from emoclim.modality import MODALITIES, Modality

ROLES = ("path", "label", "tags", "split", "group")

DESCRIPTION = Description(
    about="your own files, listed in a table",
    what="Pictures or recordings of your own, listed in a table with a row for each.",
    layouts=(
        "a CSV or Parquet file with a column of paths; --path-column, --label-column and so on say which is which",
    ),
    options={
        **{f"{role}_column": f"column of the {role}; if not given, the one called {role}" for role in ROLES},
        "tags_separator": "what stands between the tags of an item",
        "root": "folder that the paths are relative to; if not given, that of the table",
        "modality": "image or audio; if not given, as the suffixes say",
    },
)


def prepare(
    folder: Path,
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    tags_column: str | None = None,
    tags_separator: str = "|",
    split_column: str | None = None,
    group_column: str | None = None,
    root: str | None = None,
    modality: Modality | None = None,
) -> Prepared:
    """Make an item of each row."""
    named = dict(zip(ROLES, (path_column, label_column, tags_column, split_column, group_column), strict=True))
    if folder.is_dir():
        raise ManifestError(
            f"{folder} is a folder, not a table; name the table in it (found {in_words(list_files(folder))})"
        )
    table = read_table(folder)
    columns = _columns(table, named | dict.fromkeys(("id", "pair", "start", "duration", *NUMBERS)))
    path = columns["path"]
    rows = table.records(*table.columns)
    pathless = tuple(LeftOut(f"row {number}", "unused", "no path") for number, row in rows if not row[path])
    rows = [(number, row) for number, row in rows if row[path]]
    kind = modality or modality_of([row[path] for _, row in rows], folder)
    base = folder.parent if root is None else Path(root).expanduser()
    joined = {"group"} - {columns.get("group", "").lower()}  # a column of groups stays: those of equal files are joined
    used = {name for role, name in columns.items() if role not in joined}
    further = [name for name in table.columns if name not in used]
    clashing = [name for name in further if name.lower() in COLUMNS]
    notes = list(table.notes)
    if clashing:
        notes.append(f"left out column {', '.join(clashing)}, which a manifest uses for something else")
    items, splits = [], {}
    problems: list[str] = []
    extra: dict[str, dict[str, str]] = {name: {} for name in further if name not in clashing}
    for number, row in rows:
        own = {role: row[name] if role == "path" else row[name].strip() for role, name in columns.items()}
        split, tags = own.pop("split", ""), own.pop("tags", "").split(tags_separator)
        start = own.get("start") if MODALITIES[kind].timed else None
        own["id"] = own.get("id") or own["path"].strip() + (f"@{start}" if start else "")
        item = item_of_row(str(base), number, own, False, problems)
        items.append(replace(item, tags=tuple(tag.strip() for tag in tags if tag.strip())))
        if part := split_called(split):
            splits[item.id] = part
        elif split:
            problems.append(f"row {number} has split {split!r} (the parts are called {', '.join(SPLITS)})")
        for name, cells in extra.items():
            cells[item.id] = row[name].strip()
    require_none(folder, problems)
    measures = measures_of([[row[name] for name in extra] for _, row in rows], [name.lower() for name in extra], ())
    items = [replace(item, measures=own) for item, own in zip(items, measures, strict=False)] or items
    kept, told = untimed(items, kind)
    return Prepared(kind, tuple(kept), pathless, {GIVEN: splits} if splits else {}, extra, (*notes, *told))


def _columns(table: Table, named: Mapping[str, str | None]) -> dict[str, str]:
    """Find the name of the column of each role."""
    found = {}
    for role, name in named.items():
        place = table.where(name or role)
        if place is not None:
            found[role] = table.columns[place]
        elif name or role == "path":
            raise ManifestError(
                f"{table.source} has no column {name or role!r} (it has: {table.named()}); name one: --{role}-column"
            )
    return found
