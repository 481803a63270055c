"""Kill commands at any moment: whatever can be seen then is whole, and done again they leave what was to be."""

import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from forks import Ended, count_events, fork, kill_after, wait
from tiny_workspace import CLASSES, GIVEN, Rows, copy, require_same, rows_of

from emoclim import pipeline
from emoclim.cache import BACKENDS, LOCKS, SHARDS
from emoclim.config import EvaluateConfig, ExtractConfig
from emoclim.files import PARTIAL
from emoclim.pipeline import Shard, Workspace
from emoclim.pipeline.find_caches import cache_paths

MEMO = ".sqlite"
Job = Callable[[Workspace], object]
Bytes = dict[str, bytes]
SMALLER = ExtractConfig(encoder="colour", workers=0, settings={"size": 64})
VAL = EvaluateConfig(split="val")


def import_(workspace: Workspace, backend: str) -> None:
    config = GIVEN.updated(backend=backend)
    pipeline.import_features(workspace.root / "given.npz", "audio", "fresh", config, workspace=workspace)


def merge(workspace: Workspace) -> None:
    (folder,) = workspace.caches.glob("*.shards")
    pipeline.merge_shards(folder.stem, workspace=workspace)


def export(workspace: Workspace, name: str) -> None:
    pipeline.export_features("given", workspace.root / name, workspace=workspace)


def export_folder(workspace: Workspace) -> None:
    pipeline.export_features("given", workspace.root / "folder", kind="hf", workspace=workspace)


def prepare(workspace: Workspace) -> None:
    target = workspace.root / "data" / "photos.csv"
    pipeline.prepare_dataset("folder", workspace.root / "photos", output=target, workspace=workspace)


def evaluate(workspace: Workspace) -> None:
    pipeline.evaluate_run(config=VAL, workspace=workspace)


def index(workspace: Workspace) -> None:
    pipeline.index_libraries(pipeline.open_searcher(workspace, device="cpu"))


JOBS: dict[str, Sequence[Job]] = {
    "import": (partial(import_, backend="h5"), partial(import_, backend="zarr")),
    "merge": (merge,),
    "export": (partial(export, name="new.npz"), partial(export, name="new.parquet"), export_folder),
    "prepare": (prepare,),
    "evaluate": (evaluate,),
    "index": (index,),
}


def add_work(workspace: Workspace) -> None:
    """Give each job something to do in a workspace."""
    root = workspace.root
    shutil.rmtree(next(workspace.caches.glob("*.shards")))
    for number, path in enumerate(sorted((root / "data" / "images").iterdir())):
        (folder := root / "photos" / CLASSES[number % 3]).mkdir(parents=True, exist_ok=True)
        os.link(path, folder / path.name)
    for index in (1, 2):
        pipeline.extract_features("image", config=SMALLER, workspace=workspace, shard=Shard(index, 2))


@dataclass(frozen=True)
class Whole:
    """What a job does that nobody kills."""

    job: Job
    before: Bytes
    after: Bytes
    rows: dict[str, Rows]
    seconds: float
    events: int  # uses of files


class Killer:
    """Does jobs in forks, always in the same place, and kills them."""

    def __init__(self, tiny: Path, folder: Path) -> None:
        self._clean, self._root, self._told = folder / "clean", folder / "work", folder / "told"
        add_work(copy(tiny, self._clean))

    def __call__(self, name: str, number: int) -> list[str]:
        """Kill a job so many times, each time from anew; return what is wrong."""
        wholes = list(map(self._whole, JOBS[name]))
        faults = []
        for n in range(number):
            try:
                self._kill(wholes[n % len(wholes)], random.Random(f"{name} {n}"))
            except AssertionError as error:
                faults.append(f"{name} {n}: {error}")
        return faults

    def _whole(self, job: Job) -> Whole:
        job(self._begin())  # loads what it needs
        workspace = self._begin()
        before, begun = visible(workspace.root), time.perf_counter()
        counted = self._wait(fork(partial(count_events, partial(job, workspace)), self._told))
        seconds = time.perf_counter() - begun
        rows = {path.name: rows_of(path) for path in cache_paths(workspace)}
        return Whole(job, before, visible(workspace.root), rows, seconds, int(counted.told.split()[-1]))

    def _kill(self, whole: Whole, draw: random.Random) -> None:
        """Kill a job at the use of a file or by the clock, look at what is there, and do it again."""
        workspace, event = self._begin(), draw.choice((None, draw.randrange(whole.events)))
        pid = fork(partial(whole.job, workspace), self._told, killed_at=event)
        if event is None:
            kill_after(pid, draw.uniform(0, whole.seconds))
        wait(pid, self._told)
        half = [name for name, content in visible(workspace.root).items() if not whole_in(name, content, whole)]
        assert not half, f"half done: {half}"
        check_caches(workspace, whole)
        again = self._wait(fork(partial(whole.job, workspace), self._told))
        after = visible(workspace.root)
        wrong = [name for name in after.keys() | whole.after.keys() if after.get(name) != whole.after.get(name)]
        assert not wrong, f"not as it should be: {wrong}, after {again.told}"
        check_caches(workspace, whole)
        pipeline.collect_leftovers(workspace, delete=True)
        left = [str(path) for path in workspace.caches.rglob("*") if is_partial(path.name)]
        assert not left, f"left over: {left}"

    def _wait(self, pid: int) -> Ended:
        ended = wait(pid, self._told)
        assert not ended.fault, ended.fault
        return ended

    def _begin(self) -> Workspace:
        shutil.rmtree(self._root, ignore_errors=True)
        return copy(self._clean, self._root)


def is_partial(name: str) -> bool:
    """Whether nobody takes a file or folder of that name for what it is to become."""
    return name.startswith(".") or name.endswith(PARTIAL)


def visible(root: Path) -> Bytes:
    """All files that a user sees, but for what they say of the time, locks, and what SQLite will take back."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_partial(name)]
        for name in names:
            path = Path(folder, name)
            seen = not is_partial(name) and path.suffix not in (*LOCKS, f"{MEMO}-journal")
            if seen and (lasting := _lasting(path)) is not None:
                found[str(path.relative_to(root))] = lasting
    return found


def _lasting(path: Path) -> bytes | None:
    if path.suffix == MEMO:
        return _rows_of_memo(path)
    content = path.read_bytes()
    if path.suffix != ".json":
        return content
    told = json.loads(content)
    for name in ("made", "time", "command"):
        told.pop(name, None)
    return json.dumps(told).encode()


def _rows_of_memo(path: Path) -> bytes | None:
    """What is known of files, as SQLite finds it: without what a killed writer did not commit, which stays as it is."""
    with TemporaryDirectory() as folder:
        for part in path.parent.glob(f"{path.name}*"):
            shutil.copy(part, folder)
        with closing(sqlite3.connect(Path(folder, path.name))) as memo:
            if not memo.execute("SELECT * FROM sqlite_master").fetchall():
                return None
            return repr(memo.execute("SELECT * FROM files ORDER BY name").fetchall()).encode()


def whole_in(name: str, content: bytes, whole: Whole) -> bool:
    """Whether a file is as it was before a job or is after it; of caches and indexes, what says that it counts."""
    parts = Path(name).parts
    cache = parts[0] == "cache" and Path(parts[1]).suffix in BACKENDS
    cache |= parts[:2] == ("cache", "index") and parts[-1] != "index.json"
    return cache or content in (whole.before.get(name), whole.after.get(name))


def check_caches(workspace: Workspace, whole: Whole) -> None:
    """Each cache is sound, and holds all of its rows unless it is still to be merged."""
    for path in cache_paths(workspace):
        found = pipeline.verify_cache(str(path), workspace=workspace)
        assert found.sound, found.summary()
        rows = rows_of(path)
        require_same(rows, whole.rows[path.name])
        merged = path.with_suffix(SHARDS).exists()
        assert merged or len(rows) == len(whole.rows[path.name]), f"{path.name} lacks rows"
