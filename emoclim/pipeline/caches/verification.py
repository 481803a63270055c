"""`emoclim cache verify`: whether a cache is whole, and its tables say what is true."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emoclim.cache import BACKENDS, open_cache
from emoclim.cache.base import FeatureCache
from emoclim.cache.opening import finish_swaps
from emoclim.errors import CacheError, name_some
from emoclim.files import PARTIAL
from emoclim.pipeline.accounts import accounts_path, read_accounts
from emoclim.pipeline.caches.comparison import Gap
from emoclim.pipeline.caches.finding import changed_versions, find_path, ids_by_key, note_of
from emoclim.pipeline.caches.reencoding import encode_again
from emoclim.pipeline.caches.repair import leave_out
from emoclim.pipeline.libraries import CacheNote, Source
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

BLOCK_ITEMS = 256  # read at once
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Verification:
    """What one `emoclim cache verify` found.

    Attributes
    ----------
    cache
        Which.
    items
        How many it holds.
    damaged
        Those whose numbers are not what was written: ids, or keys where no manifest tells the id.
    problems
        What else is not as it should be, one sentence each.
    remarks
        What is worth knowing, one sentence each.
    gap
        How far items that were encoded again are from those in the cache; None if none were.
    tolerance
        The largest difference that is none.
    kept
        Where the damaged cache is now, after another has taken its place; None if none has.
    """

    cache: Path
    items: int
    damaged: tuple[str, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    gap: Gap | None
    tolerance: float
    kept: Path | None = None

    @property
    def drifted(self) -> bool:
        """Whether the encoder makes other features today."""
        return self.gap is not None and (self.gap.difference > self.tolerance or self.gap.recut > 0)

    @property
    def sound(self) -> bool:
        """Whether the cache may be trusted."""
        return not (self.damaged or self.problems or self.drifted)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "cache": str(self.cache),
            "sound": self.sound,
            "items": self.items,
            "damaged": list(self.damaged),
            "kept": None if self.kept is None else str(self.kept),
            "problems": list(self.problems),
            "remarks": list(self.remarks),
            "encoded_again": None if self.gap is None else asdict(self.gap) | {"tolerance": self.tolerance},
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = []
        if self.damaged:
            remedy = "leave them out with --repair, then extract them again"
            if self.kept is not None:
                remedy = f"they are left out now, to be extracted again, and the old cache is {self.kept}"
            lines.append(
                f"{self.cache} is damaged: the numbers of {len(self.damaged)} items are not what was written "
                f"({name_some(self.damaged)}); {remedy}"
            )
        lines += self.problems
        if self.gap is not None:
            verdict = f"worst: {self.gap.worst}; not the same encoder any more" if self.drifted else "within tolerance"
            lines.append(f"encoded again: {self.gap.told()} ({verdict})")
        if self.sound:
            lines.insert(0, f"{self.cache} is sound: all {self.items} items were read and are what was written")
        return [*lines, *self.remarks]


def verify_cache(
    name: str,
    *,
    encode: int = 0,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    repair: bool = False,
    device: str = "auto",
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    track: Track = silent,
) -> Verification:
    """Read all of a cache, and encode some of it again.

    Parameters
    ----------
    name
        See :func:`emoclim.pipeline.caches.find_cache`.
    encode
        How many items to encode again, to see whether libraries have drifted.
    seed
        Which ones.
    tolerance
        The largest difference, as a share of the largest number of an item, that is none.
    repair
        Put a cache without the damaged items in the place of a damaged one, which is kept under another name.
    device
        Where to encode: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    workspace
        Where the cache lies.
    track
        Shows progress.

    Raises
    ------
    EmoclimError
        There is no such cache, or nothing of it can be encoded again.
    """
    for folder in {workspace.caches, *([Path(name).parent] if Path(name).suffix in BACKENDS else [])}:
        finish_swaps(folder)
    path = find_path(workspace, name)
    try:
        cache = open_cache(path)
    except CacheError as error:
        return Verification(path, 0, (), (str(error),), (), None, tolerance)
    with cache:
        note = note_of(path)
        damaged, ids = _damaged(cache, track), ids_by_key(note)
        problems = cache.problems()
        if path.resolve().parent.suffix == PARTIAL:
            problems += (f"{path} was being made by a run that did not end; delete it, and run that again",)
        remarks = tuple(changed_versions(note))
        for source in note.sources:
            wrong, stale = _disagreements(note, source, cache)
            problems, remarks = problems + wrong, remarks + stale
        gap = None
        if encode:
            gap, failed = encode_again(
                note, cache, encode, avoid=damaged, seed=seed, device=device, workspace=workspace, track=track
            )
            gap = replace(gap, worst=ids.get(gap.worst, gap.worst))
            problems += failed
        items = len(cache)
    kept = leave_out(note, frozenset(damaged), track) if damaged and repair else None
    named = tuple(ids.get(key, key) for key in damaged)
    return Verification(note.path, items, named, problems, remarks, gap, tolerance, kept)


def _damaged(cache: FeatureCache, track: Track) -> list[str]:
    """Keys of the items that cannot be read as they were written."""
    keys = list(cache)
    blocks = [keys[first : first + BLOCK_ITEMS] for first in range(0, len(keys), BLOCK_ITEMS)]
    return [key for block in track(blocks, description="verify") for key in _damaged_of(cache, block)]


def _damaged_of(cache: FeatureCache, keys: list[str]) -> list[str]:
    try:
        cache.read(keys)
    except CacheError:
        half = len(keys) // 2
        return keys if len(keys) == 1 else _damaged_of(cache, keys[:half]) + _damaged_of(cache, keys[half:])
    return []


def _disagreements(note: CacheNote, source: Source, cache: FeatureCache) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the table of a manifest's items says more than is true, and where it says less."""
    table = accounts_path(note.path, source.name)
    if not table.is_file():
        return (), (f"{table} is missing; extract again to write it anew",)
    try:
        states = read_accounts(table)
    except CacheError as error:
        return (str(error),), ()
    committed, problems, remarks = cache.keys(), [], []
    if twice := [id_ for id_, count in Counter(state.id for state in states).items() if count > 1]:
        problems.append(f"{table} lists {len(twice)} items more than once ({name_some(twice)}); extract again")
    if lost := [state.id for state in states if state.state == "committed" and state.key not in committed]:
        problems.append(
            f"{table} calls {len(lost)} items committed that the cache does not hold ({name_some(lost)}); extract again"
        )
    if found := [state.id for state in states if state.state != "committed" and state.key in committed]:
        remarks.append(
            f"{table} does not know yet that {len(found)} items were encoded since; extract again to renew it"
        )
    return tuple(problems), tuple(remarks)
