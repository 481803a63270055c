"""Two commands at the same time in one workspace: nothing is lost, nothing is wrong, at most one is told to wait."""

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Self

import torch
from forks import DONE, fork, wait
from tiny_workspace import GIVEN, PICTURES, RUN, Rows, copy, require_same, rows_of, write_pictures

from emoclim import pipeline
from emoclim.cache import read_note
from emoclim.errors import EmoclimError
from emoclim.pipeline import Shard, Workspace
from emoclim.pipeline.find_caches import cache_paths

JITTER = 0.05  # seconds by which the other one begins later, at the most
OLD = 7200  # seconds that everything is old before, so that `gc` does not keep it for its youth


def extract(workspace: Workspace) -> None:
    pipeline.extract_features("image", workspace.root / "data" / "new.csv", PICTURES, workspace=workspace)


def import_(workspace: Workspace) -> None:
    root = workspace.root
    source = root / "data" / "more.csv"
    pipeline.import_features(root / "given.npz", "audio", "given", GIVEN, source=source, workspace=workspace)


def merge(workspace: Workspace) -> None:
    pipeline.merge_shards("colour", workspace=workspace)


def gc(workspace: Workspace) -> None:
    pipeline.collect_leftovers(workspace, delete=True)


def verify(workspace: Workspace) -> None:
    for name in ("colour", "given"):
        found = pipeline.verify_cache(name, workspace=workspace)
        assert found.sound, found.summary()


def evaluate(workspace: Workspace) -> None:
    found = pipeline.evaluate_run(RUN, plots=False, workspace=workspace).to_dict()
    written = torch.load(workspace.root / "kept", weights_only=False)["evaluation"]
    assert found == written


def search(workspace: Workspace) -> None:
    assert hits(workspace) == torch.load(workspace.root / "kept", weights_only=False)["hits"]


COMMANDS: dict[str, Callable[[Workspace], None]] = {
    "extract": extract,
    "import": import_,
    "merge": merge,
    "gc": gc,
    "verify": verify,
    "evaluate": evaluate,
    "search": search,
}
PAIRS = list(combinations(COMMANDS, 2))


@dataclass(frozen=True)
class State:
    """What a workspace holds: rows by cache, and the manifests that each cache notes."""

    rows: dict[str, Rows]
    sources: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        """Read a workspace."""
        paths = cache_paths(workspace)
        noted = frozenset((path.name, one.name) for path in paths for one in read_note(path).sources)
        return cls({path.name: rows_of(path) for path in paths}, noted)

    def require(self, other: "State") -> None:
        """Everything of another one is here as well."""
        assert not (lost := other.sources - self.sources), f"no longer noted: {lost}"
        for name, rows in other.rows.items():
            assert not (gone := rows.keys() - self.rows[name].keys()), f"lost of {name}: {gone}"
            require_same(rows, self.rows[name])


class Pairer:
    """Gives two commands at once, each time from anew."""

    def __init__(self, tiny: Path, folder: Path) -> None:
        self._clean, self._root, self._told = folder / "clean", folder / "work", (folder / "one", folder / "other")
        add_work(copy(tiny, self._clean))
        self._after = {name: self._alone(command) for name, command in COMMANDS.items()}

    def __call__(self, one: str, other: str, number: int) -> list[str]:
        """Give a pair so many times; return what is wrong."""
        faults = []
        for n in range(number):
            try:
                self._give((one, other), random.Random(f"{one} {other} {n}"))
            except (AssertionError, EmoclimError) as error:
                faults.append(f"{one} {other} {n}: {error}")
        return faults

    def _alone(self, command: Callable[[Workspace], None]) -> State:
        workspace = self._begin()
        command(workspace)
        return State.of(workspace)

    def _give(self, names: tuple[str, str], draw: random.Random) -> None:
        workspace, delays = self._begin(), draw.sample([0.0, draw.uniform(0, JITTER)], 2)
        may_begin, begin = os.pipe()

        def work(name: str, delay: float) -> None:
            os.close(begin)
            os.read(may_begin, 1)
            time.sleep(delay)
            COMMANDS[name](workspace)

        works = [partial(work, *one) for one in zip(names, delays, strict=True)]
        forks = [fork(one, told) for one, told in zip(works, self._told, strict=True)]
        os.close(may_begin)
        os.close(begin)
        ended = [wait(pid, told) for pid, told in zip(forks, self._told, strict=True)]
        for name, how in zip(names, ended, strict=True):
            assert not how.fault, f"{name}: {how.fault}"
        for name, how in zip(names, ended, strict=True):
            if how.code != DONE and not (name == "merge" and not shards_of(workspace)):  # all of them were merged
                COMMANDS[name](workspace)  # now that it is alone
        now = State.of(workspace)
        for name in names:
            now.require(self._after[name])
        for command in (verify, evaluate, search):
            command(workspace)

    def _begin(self) -> Workspace:
        shutil.rmtree(self._root, ignore_errors=True)
        return copy(self._clean, self._root)


def add_work(workspace: Workspace) -> None:
    """Give each command something to do in a workspace."""
    root = workspace.root
    write_pictures(root, "new", 1, 6)
    source = write_pictures(root, "parts", 2, 6)
    for index in (1, 2):
        pipeline.extract_features("image", source, PICTURES, workspace=workspace, shard=Shard(index, 2))
    (cache,) = workspace.caches.glob("*.h5")
    for left in (".old.csv.999999999.0123abcd.partial", f"{cache.name}.lock", f"{cache.name}.writer"):
        (workspace.caches / left).touch()
    evaluation = pipeline.evaluate_run(RUN, plots=False, workspace=workspace).to_dict()
    torch.save({"evaluation": evaluation, "hits": hits(workspace)}, root / "kept")
    for path in workspace.caches.rglob("*"):
        when = path.stat().st_mtime - OLD
        os.utime(path, (when, when))


def hits(workspace: Workspace) -> list[tuple[str, float]]:
    """What a search finds."""
    query = workspace.root / "data" / "images" / "3.png"
    (result,) = pipeline.Searcher(workspace, RUN).search([query]).results
    return [(hit.id, hit.score) for hit in result.found]


def shards_of(workspace: Workspace) -> list[Path]:
    return list(workspace.caches.glob("*.shards"))
