"""Real engines whose workers are killed at random, and a node of Ray that dies: the bytes are those of one process."""

import importlib.util
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import shared_out
from shared_out import encode, require_same
from soaking import LONGER, soak

from emoclim.cluster import Engine, open_engine
from emoclim.cluster.engines.slurm import Slurm

COUNT, KILLS = (2000, 100) if LONGER > 1 else (60, 2)
BETWEEN = 3.0  # seconds from one kill to the next: a worker takes about so long to begin


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    shared_out.write_library(root, COUNT)
    encode(root)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "data", tmp_path / "workspace" / "data")
    return tmp_path / "workspace"


@contextmanager
def killing(root: Path, kills: int, seed: int) -> Iterator[list[int]]:
    """Kill a worker that has claimed a task, now and then, so many times."""
    chance, killed, over = random.Random(seed), list[int](), threading.Event()

    def kill() -> None:
        while len(killed) < kills and not over.wait(chance.uniform(0, 2 * BETWEEN)):
            claimed = list(root.glob("cache/*.shards/tasks/*.writer"))
            with suppress(OSError, ValueError, ProcessLookupError):
                pid = json.loads(chance.choice(claimed).read_bytes())["pid"] if claimed else None
                if pid not in (None, os.getpid()):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

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


def shared_among(engine: Engine, root: Path, whole: Path) -> None:
    with killing(root, KILLS, seed=1):
        done = encode(root, engine).extraction
    assert done.encoded == COUNT
    require_same(root, whole)


@soak
def test_processes_of_this_machine(root: Path, whole: Path) -> None:
    shared_among(open_engine("local:2", "cpu"), root, whole)


@soak
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_jobs_of_submitit(root: Path, whole: Path) -> None:
    needs("submitit")
    shared_among(Jobs(workers=2, minutes=60).ready("cpu"), root, whole)


@soak
@pytest.mark.filterwarnings("ignore")
def test_tasks_of_ray_one_of_whose_nodes_dies(root: Path, whole: Path) -> None:
    needs("ray")
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    doomed = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)

    def die() -> None:
        while not list(root.glob("cache/*.shards/tasks/*.done")):
            time.sleep(0.1)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=die)
    killer.start()
    try:
        shared_among(open_engine(f"ray:2,address={cluster.address}", "cpu"), root, whole)
    finally:
        killer.join()
        cluster.shutdown()
