"""Make, tell and check the indexes that libraries are searched by: `emoclim index`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic_core import to_jsonable_python

from emoclim.cache import ledger_digest, located, open_cache
from emoclim.errors import CacheError
from emoclim.files import remove
from emoclim.index import IndexNote, lists_name, read_note
from emoclim.modality import Modality
from emoclim.pipeline.caches.inventory import shown_size, size_of
from emoclim.pipeline.searching.opening.indexes import content_digest
from emoclim.pipeline.searching.opening.lists import make_lists, remove_lists
from emoclim.pipeline.searching.opening.opened import Opened
from emoclim.pipeline.searching.searcher import Searcher
from emoclim.pipeline.searching.spaces import heads_digest
from emoclim.pipeline.workspace import Workspace, heads_file
from emoclim.progress import Track, silent
from emoclim.stages import ExactRanker, embed

STALE = "the next search brings it up to date"
CHECKED, NEAREST = 256, 10  # items that are embedded anew and searched with; how many found ones are compared


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index, and what became of it."""

    library: str
    modality: Modality | None  # None where that cannot be read
    space: str  # run, or what it is compared by
    items: int
    width: int  # dimensions
    bytes: int
    lists: bool  # whether there are lists, by which not all of it is read
    state: str  # what was done, or why it is of no use
    left_out: Mapping[str, int]  # items of the library that are not in it, by reason
    path: Path | None  # None where it could not be kept
    recall: float | None  # share of the nearest that it finds; None where no lists were made and that was not asked for
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one `emoclim index` made or found."""

    indexes: tuple[IndexState, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with any."""
        return not any(one.problems for one in self.indexes)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain values, for JSON."""
        return [dict(to_jsonable_python(one)) for one in self.indexes]

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per index."""
        names = ("library", "of", "compared by", "items", "values", "size", "read", "recall", "state")
        rows: list[tuple[str, ...]] = [names]
        for one in self.indexes:
            recall = "" if one.recall is None else f"{one.recall:.3f}"
            counts = str(one.items), str(one.width), shown_size(one.bytes)
            read = "by lists" if one.lists else "all"
            rows.append((one.library, one.modality or "", one.space, *counts, read, recall, one.state))
        return rows

    def summary(self) -> list[str]:
        """Say what was left out, and what is wrong."""
        lines = [
            f"{one.library}: {count} {reason}: left out"
            for one in self.indexes
            for reason, count in one.left_out.items()
        ]
        return [*lines, *(problem for one in self.indexes for problem in one.problems)]


def index_libraries(
    searcher: Searcher, *, approximate: bool | None = None, verify: bool = False, track: Track = silent
) -> IndexReport:
    """Bring the indexes of the libraries that a searcher searches up to date; if asked, check what they hold.

    With `approximate`, lists are made by which not all of a library is read; False deletes them, None leaves them.
    """
    opened, recalls = searcher.libraries(), dict[str, float | None]()
    for one in opened if approximate is not None else ():
        if approximate:
            one.gallery.rank, recalls[one.name] = make_lists(one.indexed.index, track)
        else:
            remove_lists(one.indexed.index)
            one.gallery.rank = ExactRanker(one.embedded.vectors)
    space = searcher.space.told
    return IndexReport(tuple(_state(one, space, recalls.get(one.name), verify, track) for one in opened))


def list_indexes(workspace: Workspace) -> IndexReport:
    """Tell which indexes there are, without opening runs and libraries."""
    folders = sorted(path.parent for path in (workspace.caches / "index").glob("*/index.json"))
    return IndexReport(tuple(_listed(workspace, folder) for folder in folders))


def remove_useless(workspace: Workspace) -> IndexReport:
    """Delete the indexes whose run or cache is gone, and those that cannot be read."""
    useless = [one for one in list_indexes(workspace).indexes if one.state not in ("", STALE)]
    for one in useless:
        if one.path:
            remove(one.path)
    return IndexReport(tuple(replace(one, problems=()) for one in useless))


def _state(opened: Opened, space: str, recall: float | None, verify: bool, track: Track) -> IndexState:
    index = opened.indexed.index
    recall, problems = _check(opened, track) if verify else (recall, ())
    return IndexState(
        library=opened.name,
        modality=opened.modality,
        space=space,
        items=len(index.items),
        width=index.note.width,
        bytes=index.size(),
        lists=index.lists.is_file(),
        state=opened.indexed.state,
        left_out=index.note.source.left_out,
        path=index.folder,
        recall=recall,
        problems=problems,
    )


def _check(opened: Opened, track: Track) -> tuple[float, tuple[str, ...]]:
    """Read all bytes with their checksums, embed some items anew, and search with these as plainly as can be."""
    index, embedded = opened.indexed.index, opened.embedded
    advice = f"delete {index.folder}, and it is made anew"
    problems = [f"{index.folder}/{name} is damaged; {advice}" for name in index.damaged()]
    rows = torch.arange(0, len(embedded), -(-len(embedded) // CHECKED))
    keys = [index.items.key(row) for row in rows.tolist()]
    with open_cache(opened.note.path) as cache:
        anew = embed(cache.read(keys), opened.heads, opened.average)
    if embedded.metric == "ip" and not torch.allclose(anew.vectors, embedded.vectors[rows], atol=1e-5):
        problems.append(f"{index.folder} does not hold what {opened.note.path} gives; {advice}")
    exact, found = ExactRanker(embedded.vectors), 0
    for row in track(rows, "verify", len(rows)):
        wanted = embedded.vectors[row]
        best = exact(wanted, NEAREST).rows
        found += int(torch.isin(opened.gallery.rank(wanted, NEAREST).rows, best).sum())
    return found / (len(rows) * min(NEAREST, len(embedded))), tuple(problems)


def _listed(workspace: Workspace, folder: Path) -> IndexState:
    try:
        note = read_note(folder)
    except CacheError as error:
        return _unreadable(folder, str(error))
    if note is None:
        return _unreadable(folder)
    space, library = note.key["space"], located(note.key["library"], workspace.caches)
    return IndexState(
        library=library.stem if library.is_file() else library.name,
        modality=note.modality,
        space=f"run {space['run']}" if "run" in space else space["objective"],
        items=note.rows,
        width=note.width,
        bytes=size_of(folder),
        lists=(folder / lists_name(note.generation)).is_file(),
        state=_why_useless(workspace, note.key) or _why_stale(workspace, note),
        left_out=note.source.left_out,
        path=folder,
        recall=None,
        problems=(),
    )


def _unreadable(folder: Path, *problems: str) -> IndexState:
    state = "it cannot be read" if problems else "it is of another version"
    return IndexState("", None, "", 0, 0, size_of(folder), False, state, {}, folder, None, problems)


def _why_useless(workspace: Workspace, key: Mapping[str, Any]) -> str:
    if not (workspace.caches / key["cache"]).exists():
        return "its cache is gone"
    if (run := key["space"].get("run")) is None:
        return ""
    if not heads_file(workspace.runs / run).is_file():
        return "its run is gone"
    return "" if heads_digest(workspace.runs / run) == key["space"]["heads"] else "its run was trained again"


def _why_stale(workspace: Workspace, note: IndexNote) -> str:
    library, cache = located(note.key["library"], workspace.caches), workspace.caches / note.key["cache"]
    as_was = (content_digest(library), ledger_digest(cache)) == (note.source.content, note.source.ledger)
    return "" if as_was else STALE
