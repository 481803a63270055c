"""Fuzz: each fork of a warm parent spoils one file of a small workspace, and does what one command does with it.

It may go well or be refused in one line; and whatever is read of an item equals what was written of it.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import torch
from forks import Ended, fork, tell, wait
from mutations import mutate
from tiny_workspace import GIVEN, PICTURES, RUN, STOPPED, TRAINED, Rows, copy, require_same, rows_of

from emoclim import pipeline
from emoclim.cache import open_cache, split_features
from emoclim.config import CompareConfig
from emoclim.data import read_manifest
from emoclim.errors import EmoclimError
from emoclim.learning import TagConfig
from emoclim.pipeline import Resources, Workspace
from emoclim.pipeline.find_caches import cache_paths
from emoclim.pipeline.training.trained_runs import open_run

ROOM = 2**30  # bytes of memory that a fork may take
KEPT = "kept"  # folder of what was written, to be compared


Call = Callable[[Workspace], None]


@dataclass(frozen=True)
class Kind:
    """Files to be spoilt, by patterns, and what is done with them."""

    files: Sequence[str]
    calls: Sequence[Call]


@dataclass(frozen=True)
class Report:
    """What came of files that were spoilt."""

    codes: Counter[int]  # how often the work ended so
    grown: int  # bytes, the most that any took above its parent
    faults: dict[int, str]  # by the number of the mutation


class Fuzzer:
    """Spoils files in forks, each in a copy of one workspace."""

    def __init__(self, tiny: Path, folder: Path) -> None:
        self._clean, self._root, self._told = folder / "clean", folder / "spoilt", folder / "told"
        self._warm = set[Call]()
        _keep(copy(tiny, self._clean))

    def __call__(self, name: str, numbers: Sequence[int]) -> Report:
        """Spoil a file of a kind once by each of the numbers."""
        kind = KINDS[name]
        for call in kind.calls:
            self._warm_up(call)
        ended = {number: self._spoil(kind, f"{name} {number}") for number in numbers}
        return Report(
            Counter(one.code for one in ended.values()),
            max(one.grown for one in ended.values()),
            {number: one.fault for number, one in ended.items() if one.fault},
        )

    def _warm_up(self, call: Call) -> None:
        """Do once what forks will do, which loads what it needs, and shows that it works."""
        if call not in self._warm:
            workspace = self._anew()
            call(workspace)
            check_rows(workspace)
            self._warm.add(call)

    def _spoil(self, kind: Kind, seed: str) -> Ended:
        draw, workspace = random.Random(seed), self._anew()
        root = workspace.root
        victim = draw.choice(sorted(path for pattern in kind.files for path in root.glob(pattern) if path.is_file()))
        call = draw.choice(kind.calls)

        def work() -> None:
            tell(f"{seed}: {victim.relative_to(root)}, {call.__name__}")
            status, content = victim.stat(), victim.read_bytes()
            victim.unlink()  # it is linked
            victim.write_bytes(mutate(content, victim.name, draw))
            os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
            try:
                call(workspace)
            finally:
                check_rows(workspace)

        return wait(fork(work, self._told, ROOM), self._told)

    def _anew(self) -> Workspace:
        shutil.rmtree(self._root, ignore_errors=True)
        return copy(self._clean, self._root)


def _keep(workspace: Workspace) -> None:
    """Make the files that `build` does not, and keep what was written."""
    root, data = workspace.root, workspace.root / "data"
    pipeline.export_features("given", root / "given.parquet", workspace=workspace)
    checked = {"write_page_checksum": True}
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(root / "given.parquet"), root / "given.parquet", **checked)
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(data / "images.csv"), data / "pictures.parquet", **checked)
    kept = root / KEPT
    shutil.copytree(workspace.runs / RUN, kept / "run")
    torch.save({path.name: rows_of(path) for path in cache_paths(workspace)}, kept / "rows")


def check_rows(workspace: Workspace) -> None:
    """What can be read of the caches is what was written."""
    written = torch.load(workspace.root / KEPT / "rows")
    for path in cache_paths(workspace):
        if path.name in written:
            try:
                found = rows_of(path)
            except EmoclimError:
                continue
            require_same(found, written[path.name])


def _given(workspace: Workspace) -> Rows:
    (rows,) = (rows for name, rows in torch.load(workspace.root / KEPT / "rows").items() if name.startswith("audio-"))
    return rows


# What commands do


def inspect(workspace: Workspace) -> None:
    pipeline.list_caches(workspace)
    pipeline.collect_leftovers(workspace, delete=True)
    for path in cache_paths(workspace):
        pipeline.describe_cache(path.name, workspace)


def verify(workspace: Workspace) -> None:
    for path in cache_paths(workspace):
        pipeline.verify_cache(str(path), repair=True, workspace=workspace)


def evaluate(workspace: Workspace) -> None:
    pipeline.evaluate_run(RUN, plots=False, workspace=workspace)


def search(workspace: Workspace) -> None:
    pipeline.Searcher(workspace, RUN).search([workspace.root / "data" / "images" / "3.png"])


def extract(workspace: Workspace) -> None:
    pipeline.extract_features("image", config=PICTURES, workspace=workspace)


def extract_again(workspace: Workspace) -> None:
    config = PICTURES.updated(rehash=True, retry_failed=True)
    pipeline.extract_features("image", config=config, workspace=workspace)


def add(workspace: Workspace) -> None:
    """Put more into each cache."""
    for path in cache_paths(workspace):
        with open_cache(path) as cache:
            spec, items = cache.spec, list(split_features(cache.read(list(cache)[:1])))
        with open_cache(path, spec) as cache:
            cache.append([replace(item, key="one more") for item in items])
            cache.record_failure("another", "too short")
            assert all(torch.equal(cache["one more"], item.value) for item in items)
            cache.leave_out(["one more"] * len(items))


def export(workspace: Workspace) -> None:
    for name in ("given", "colour"):
        pipeline.export_features(name, workspace.root / f"{name}.new.npz", workspace=workspace)


def resume(workspace: Workspace) -> None:
    pipeline.resume(pipeline.TrainHeads(), STOPPED, Resources(workspace))
    for name in ("heads.safetensors", "history.json"):
        same = (workspace.runs / STOPPED / name).read_bytes() == (workspace.root / KEPT / "run" / name).read_bytes()
        assert same, f"{name} is not what an undisturbed run gives"


def train(workspace: Workspace) -> None:
    pipeline.start(pipeline.TrainHeads(), TRAINED, Resources(workspace), name="new")


def tag(workspace: Workspace) -> None:
    config = pipeline.TaggingConfig(seeds=1, resamples=10, plots=False, base=TagConfig(epochs=1))
    pipeline.start(pipeline.Tag(), config, Resources(workspace))


def compare(workspace: Workspace) -> None:
    files = [
        folder / "evaluation" / "test" / "queries.parquet"
        for folder in (workspace.runs / RUN, workspace.root / KEPT / "run")
    ]
    pipeline.compare_runs(list(map(str, files)), CompareConfig(resamples=100), workspace=workspace)


def open_heads(workspace: Workspace) -> None:
    found, written = (
        open_run(workspace, str(folder)).heads for folder in (workspace.runs / RUN, workspace.root / KEPT / "run")
    )
    for name, tensor in written.banks.state_dict().items():
        assert torch.equal(found.banks.state_dict()[name], tensor), f"wrong numbers of {name}"


def read_tables(workspace: Workspace) -> None:
    """Read a manifest, and import features."""
    found, written = (
        {item.id: item for item in read_manifest(workspace.root / "data" / name, "image").items}
        for name in ("pictures.parquet", "images.csv")
    )
    assert found == written
    _import(workspace, "given.parquet")


def import_npz(workspace: Workspace) -> None:
    _import(workspace, "given.npz")


def _import(workspace: Workspace, name: str) -> None:
    result = pipeline.import_features(workspace.root / name, "audio", "again", GIVEN, workspace=workspace)
    require_same(rows_of(result.cache), _given(workspace))


def merge(workspace: Workspace) -> None:
    pipeline.merge_shards("colour", workspace=workspace)


OF_CACHES = (inspect, verify, evaluate, search, add, export)
KINDS = {
    "hdf5": Kind(["cache/*.h5"], (*OF_CACHES, extract)),
    "zarr": Kind(["cache/*.zarr/**/*"], OF_CACHES),
    "notes": Kind(
        ["cache/*.json", "cache/*.csv", "cache/*.shards/*.json"],
        (*OF_CACHES, extract, extract_again, train, tag, merge, import_npz),
    ),
    "heads": Kind([f"runs/{RUN}/heads.safetensors"], (open_heads, evaluate, search, tag)),
    "runs": Kind(
        [f"runs/**/*.{suffix}" for suffix in ("json", "safetensors", "parquet")],
        (resume, evaluate, search, compare, tag),
    ),
    "parquet": Kind(["data/pictures.parquet", "given.parquet"], (read_tables,)),
    "npz": Kind(["given.npz"], (import_npz,)),
}
