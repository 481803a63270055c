"""Real engines whose workers are killed at random, and a node of Ray that dies: the bytes are those of one process."""

import importlib.util
import json
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import shared_out
from cluster_tasks import folder_of, outcomes, seen
from shared_out import encode, require_same
from soaking import LONGER, soak

from emoclim.cache import who_writes
from emoclim.cluster import Engine, open_engine, run_tasks
from emoclim.cluster.engines.local import VISIBLE
from emoclim.cluster.engines.slurm import Slurm
from emoclim.cluster.working import MAX_TRIES
from emoclim.progress import silent

COUNT, KILLS, NODES = (2000, 100, 3) if LONGER > 1 else (40, 1, 2)
BETWEEN = 5.0 if LONGER > 1 else 1.0  # seconds from one kill to the next: a worker takes about so long to begin
PACE = (
    0.6 if LONGER > 1 else 0.3
)  # seconds a picture, as long as there are kills to come: the work shall last as long as they
ENCODER = f'''"""Colours of pictures, not to be had quickly while the file ``slow`` is there, and committed often."""

import time
from dataclasses import replace
from pathlib import Path

from emoclim.encoders import colour
from emoclim.extraction import writer

MODALITY = "image"
SLOW = Path(__file__).with_name("slow")
writer.COMMIT_SECONDS = 0.5


def load(*, size: int = 64):
    quick = colour.load(size=size)

    def transform(image):
        time.sleep({PACE} * SLOW.exists())
        return quick.transform(image)

    return replace(quick, spec=replace(quick.spec, name="unhurried"), transform=transform)
'''
UNHURRIED = shared_out.SMALL.updated(encoder="unhurried", batch_size=2)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the encoder for this process and those that it starts; the file that slows it down."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "unhurried_colours.py").write_text(ENCODER, encoding="utf-8")
    (info := folder / "unhurried-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unhurried\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[emoclim.encoders]\nunhurried = unhurried_colours\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield folder / "slow"
    del sys.modules["unhurried_colours"]


@pytest.fixture(scope="module")
def whole(slow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    shared_out.write_library(root, COUNT)
    encode(root, config=UNHURRIED)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "data", tmp_path / "workspace" / "data")
    return tmp_path / "workspace"


def at_work(root: Path) -> list[int]:
    """List the processes that are at a task, but for one of which the next worker that dies would be the last."""
    tasks = [task for task in root.glob("cache/*.shards/tasks/?????.json") if tries(task) < MAX_TRIES]
    return [writer.pid for task in tasks if (writer := who_writes(task))]


def tries(task: Path) -> int:
    """Count how often a task was begun without getting further."""
    with suppress(OSError, ValueError):
        return int(json.loads(task.with_suffix(".tries").read_bytes())["number"])
    return 0


@contextmanager
def killing(root: Path, kills: int, seed: int, then: Callable[[], None]) -> Iterator[list[int]]:
    """Kill a worker that is at a task, now and then, so many times; list the processes that died of it."""
    chance, killed, over = random.Random(seed), list[int](), threading.Event()

    def kill() -> None:
        while len(killed) < kills and not over.wait(chance.uniform(0, 2 * BETWEEN)):
            if (pids := at_work(root)) and (pid := chance.choice(pids)) not in (*killed, os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
        then()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


class Jobs(Slurm):
    """Jobs of submitit as they are on SLURM, but processes of this machine."""

    executor = "local"


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def shared_among(engine: Engine, root: Path, whole: Path, slow: Path) -> None:
    slow.touch()
    with killing(root, KILLS, 1, slow.unlink) as killed:
        done = encode(root, engine, UNHURRIED).extraction
    assert len(killed) == KILLS
    assert (done.encoded, len(done.failures)) == (COUNT, 2)
    require_same(root, whole)


@soak
def test_processes_of_this_machine(root: Path, whole: Path, slow: Path) -> None:
    shared_among(open_engine("local:2", "cpu"), root, whole, slow)


@soak
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_jobs_of_submitit(root: Path, whole: Path, slow: Path) -> None:
    needs("submitit")
    shared_among(Jobs(workers=2, minutes=60).ready("cpu"), root, whole, slow)


@soak
@pytest.mark.filterwarnings("ignore")
def test_tasks_of_ray_one_of_whose_nodes_dies(root: Path, whole: Path, slow: Path) -> None:
    needs("ray")
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    doomed, *_ = [cluster.add_node(**node) for _ in range(NODES - 1)]

    over = threading.Event()

    def die() -> None:
        counted: tuple[int, ...] = (0, 0)
        while not 0 < counted[0] <= 2 * counted[1] and not over.wait(0.1):
            counted = tuple(len(list(root.glob(f"cache/*.shards/tasks/?????{end}"))) for end in (".json", ".done"))
        cluster.remove_node(doomed, allow_graceful=False)

    tasks = folder_of(root, seen, [{}] * 3)
    run_tasks(tasks, open_engine(f"ray:1,gpus=1,address={cluster.address}"), track=silent, description="")
    assert [one["result"][VISIBLE] for one in outcomes(tasks, 3)] == ["0"] * 3
    killer = threading.Thread(target=die)
    killer.start()
    try:
        shared_among(open_engine(f"ray:{NODES},address={cluster.address}", "cpu"), root, whole, slow)
    finally:
        over.set()
        killer.join()
        cluster.shutdown()
