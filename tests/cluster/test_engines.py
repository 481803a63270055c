"""Engines are found by name, and one that is not there is told in a sentence that says how to start it."""

import importlib.util
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cluster_tasks import folder_of, outcomes, seen
from pydantic import PrivateAttr
from test_supervising import square

from emoclim.cluster import open_engine, run_tasks
from emoclim.cluster.engines import opening
from emoclim.cluster.engines.local import VISIBLE, Local
from emoclim.cluster.engines.slurm import Slurm
from emoclim.cluster.working import THREADS
from emoclim.errors import ConfigError, EmoclimError, MissingLibrary
from emoclim.progress import silent


@pytest.fixture(autouse=True)
def _same_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started find what this one does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


TASKS: list[dict[str, Any]] = [{"n": n} for n in range(4)]


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("slrum:4", "slurm"),
        ("local:0", "--on local:0: workers = 0"),
        ("local:two", "workers"),
        ("local:2,partition=gpu", "partition"),
        ("local:2,gpus", "slurm:16,partition"),
    ],
)
def test_what_cannot_be_an_engine_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_engine(text)


@pytest.mark.parametrize("name", ["slurm", "ray"])
def test_an_engine_that_is_not_installed_is_told_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda package: None)
    with pytest.raises(MissingLibrary, match=rf"pip install 'emoclim\[{name}\]'"):
        open_engine(f"{name}:2")


def test_slurm_is_asked_for_on_a_login_node(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("submitit")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="login node"):
        open_engine("slurm:2")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_ray_is_told_how_to_be_started(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ray")
    with pytest.raises(ConfigError, match="ray start --head"):
        open_engine(f"ray:2,address={address}")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match="ray start --head"):
        open_engine("ray:2")


def test_a_ray_that_does_not_take_this_process_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ray")
    monkeypatch.setattr("ray.init", lambda *_, **__: os.kill(2**22 + 1, 0))  # some OSError
    with socket.create_server(("", 0)) as there, pytest.raises(ConfigError, match="ProcessLookup.*RAY_AUTH_MODE=token"):
        open_engine(f"ray:2,address=127.0.0.1:{there.getsockname()[1]}")


def test_workers_share_cores_and_each_sees_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "_cores", staticmethod(lambda: 6))
    monkeypatch.setattr(Local, "_gpus", staticmethod(lambda: 2))
    monkeypatch.delenv(VISIBLE, raising=False)
    engine = open_engine("local:4", "auto")
    assert isinstance(engine, Local)
    assert (engine.workers, engine.cores, engine.gpus) == (4, 1, 2)
    assert [engine._own(number)[VISIBLE] for number in range(4)] == ["0", "1", "0", "1"]
    assert open_engine("local").workers == 2
    assert open_engine("local", "cpu").workers == 6
    with pytest.raises(ConfigError, match="finds 2 GPUs here, not gpus=3"):
        open_engine("local:4,gpus=3", "auto")
    monkeypatch.setenv(VISIBLE, "5,3")
    assert [engine._own(number)[VISIBLE] for number in range(2)] == ["5", "3"]


def test_local_processes_do_tasks(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, square, TASKS)
    run_tasks(folder, open_engine("local:1", "cpu"), track=silent, description="")
    assert outcomes(folder, 4) == [{"result": {"square": n**2}} for n in range(4)]


def test_a_gpu_by_its_number_is_refused_for_workers_share_them_out() -> None:
    with pytest.raises(ConfigError, match="cuda:1.*local:2"):
        open_engine("local:2", "cuda:1")


def test_a_process_of_this_machine_sees_its_gpu_and_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "5,3")
    monkeypatch.setenv(THREADS, "7")
    monkeypatch.setattr(Local, "_cores", staticmethod(lambda: 2))
    folder = folder_of(tmp_path, seen, TASKS)
    run_tasks(folder, open_engine("local:1,gpus=2", "cpu"), track=silent, description="")
    assert outcomes(folder, 4) == [{"result": {VISIBLE: "5", THREADS: "2"}}] * 4


class Here(Slurm):
    """Jobs of submitit as they are on SLURM, but processes of this machine."""

    executor = "local"
    _jobs: list[Any] = PrivateAttr(default_factory=list)

    def start(self, folder: Path, number: int) -> Any:
        self._jobs.append(super().start(folder, number))
        return self._jobs[-1]

    def close(self) -> None:
        for job in self._jobs:
            job.job._process.wait()


def test_jobs_of_submitit_do_tasks(tmp_path: Path) -> None:
    needs("submitit")
    folder = folder_of(tmp_path, square, TASKS)
    run_tasks(folder, Here(workers=1, minutes=5).ready("cpu"), track=silent, description="")
    assert outcomes(folder, 4) == [{"result": {"square": n**2}} for n in range(4)]


SLURM = {  # commands of a cluster of this machine alone, whose jobs are called like the processes that submitted them
    "sbatch": """
sed -n 's/^#SBATCH //p' "$1" > "$here/asked"
SLURM_JOB_ID=$$ setsid bash "$1" > "$here/$$.log" 2>&1 &
echo $! > "$here/$$.pid"
echo "Submitted batch job $$"
""",
    "srun": """
while [ "$1" != "${1#--}" ]; do [ "$1" = --unbuffered ] || shift; shift; done
CUDA_VISIBLE_DEVICES=6 exec "$@"
""",
    "sacct": """
echo 'JobID|State|NodeList'
for pid in "$here"/*.pid; do
    id=$(basename "$pid" .pid)
    kill -0 "$(cat "$pid")" 2> /dev/null && echo "$id|RUNNING|here" || echo "$id|NODE_FAIL|here"
done
""",
    "scancel": 'kill -- "-$(cat "$here/$1.pid")"',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the commands; their folder, where the file ``asked`` tells what was asked of the last job."""
    needs("submitit")
    (folder := tmp_path / "slurm").mkdir()
    for name, lines in SLURM.items():
        (folder / name).write_text(f"#!/bin/bash\nhere={shlex.quote(str(folder))}\n{lines.strip()}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_jobs_of_slurm_ask_for_what_was_given_and_see_their_gpu(tmp_path: Path, slurm: Path) -> None:
    folder = folder_of(tmp_path, seen, TASKS)
    engine = open_engine("slurm:1,partition=gpu,cpus=3,minutes=9,memory=1.5,constraint=a100", "cuda")
    run_tasks(folder, engine, track=silent, description="")
    assert outcomes(folder, 4) == [{"result": {VISIBLE: "6", THREADS: "1"}}] * 4
    asked = set((slurm / "asked").read_text().split())
    assert asked >= {"--gpus-per-node=1", "--cpus-per-task=3", "--time=9", "--mem=1536MB", "--partition=gpu"}
    assert asked >= {"--constraint=a100", "--job-name=emoclim-0"}
    assert not any(one.startswith(("--qos", "--account")) for one in asked)


def test_a_job_of_slurm_that_dies_is_replaced(tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.cluster.engines.slurm.ASKED_AGAIN", 1)
    folder = folder_of(tmp_path, square, [{"n": 1, "end": "die once"}, {"n": 2}])
    run_tasks(folder, open_engine("slurm:1", "cpu"), track=silent, description="")
    assert outcomes(folder, 2) == [{"result": {"square": 1}}, {"result": {"square": 4}}]
    assert len(list(slurm.glob("*.pid"))) == 2


REFUSE = "#!/bin/bash\necho 'sbatch: error: invalid partition specified: gpus' >&2\nexit 1\n"


def test_jobs_that_slurm_refuses_are_told(tmp_path: Path, slurm: Path) -> None:
    (slurm / "sbatch").write_text(REFUSE)
    folder = folder_of(tmp_path, square, TASKS)
    with pytest.raises(EmoclimError, match="invalid partition specified: gpus"):
        run_tasks(folder, open_engine("slurm:1,partition=gpus"), track=silent, description="")


def test_a_job_that_slurm_refuses_later_leaves_others_at_work(tmp_path: Path, slurm: Path) -> None:
    folder, engine = folder_of(tmp_path, square, TASKS), open_engine("slurm:2", "cpu")
    first = engine.start(folder.path, 0)
    (slurm / "sbatch").write_text(REFUSE)
    second = engine.start(folder.path, 1)
    assert second.ended() is None
    while first.ended() is None:
        time.sleep(0.1)
    assert (first.ended(), folder.undone(one) if (one := folder.job()) else None) == ("", [])


def test_jobs_that_slurm_refuses_again_and_again_do_not_end_the_one_that_it_took(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("emoclim.cluster.engines.slurm.ASKED_AGAIN", 0.01)
    monkeypatch.setattr("emoclim.cluster.supervising.MAX_TRIES", 1)
    (slurm / "sbatch").rename(slurm / "taken")
    once = '[ -e "$0.full" ] || { touch "$0.full"; exec "${0%sbatch}taken" "$@"; }'
    (slurm / "sbatch").write_text(REFUSE.replace("\n", f"\n{once}\n", 1))
    (slurm / "sbatch").chmod(0o755)
    folder = folder_of(tmp_path, square, TASKS)
    run_tasks(folder, open_engine("slurm:2", "cpu"), track=silent, description="")
    assert outcomes(folder, 4) == [{"result": {"square": n**2}} for n in range(4)]
    assert caplog.text.count("invalid partition") == 1
