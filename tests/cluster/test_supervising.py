"""Tasks are done once each, whichever workers die, and what cannot be done is told."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cluster_tasks import folder_of, outcomes
from forked_engine import Forked

from emoclim.cache import WriterLock
from emoclim.cluster import run_tasks
from emoclim.cluster.working import MAX_TRIES, work
from emoclim.errors import EmoclimError
from emoclim.progress import Track, silent


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.cluster.supervising.POLL", 0.02)


def square(task: Mapping[str, Any], common: Mapping[str, Any], track: Track) -> dict[str, Any]:
    """Note that it was begun, then do what the task says."""
    again = begun(Path(common["log"]).parent, task["n"])
    with (Path(common["log"]) / f"{task['n']}-{os.getpid()}").open("a"):
        pass
    match task.get("end"):
        case "die once" if not again:
            os.kill(os.getpid(), signal.SIGKILL)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "refuse":
            raise EmoclimError("it is too large")
        case "raise":
            raise ValueError("a fault")
    for _ in track(range(2), description="square", total=2):
        time.sleep(common.get("pause", 0.0))
    return {"square": task["n"] ** 2}


def begun(tmp_path: Path, n: int) -> int:
    return len(list((tmp_path / "log").glob(f"{n}-*")))


def test_each_task_is_done_once_and_its_items_are_shown(tmp_path: Path) -> None:
    folder, shown = folder_of(tmp_path, square, [{"n": n} for n in range(7)]), list[Any]()

    def track(sequence: Any, description: str, total: float) -> Any:
        shown.append((description, total, len(list(sequence))))
        return ()

    run_tasks(folder, Forked(workers=3), track=track, description="square all")
    assert outcomes(folder, 7) == [{"result": {"square": n**2}} for n in range(7)]
    assert [begun(tmp_path, n) for n in range(7)] == [1] * 7
    assert shown == [("square all", 14, 14)]


def test_workers_that_die_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.cluster.working.MAX_TRIES", 21)  # on a slow machine all may die of the same task
    folder = folder_of(tmp_path, square, [{"n": n} for n in range(12)], pause=0.02)
    engine = Forked(workers=3, longest=0.1, kills=20)
    run_tasks(folder, engine, track=silent, description="")
    assert outcomes(folder, 12) == [{"result": {"square": n**2}} for n in range(12)]
    assert engine.started > 3


@pytest.mark.parametrize(("end", "told"), [("die", "died"), ("refuse", "too large"), ("raise", "died")])
def test_a_task_that_cannot_be_done_does_not_keep_others_from_being_done(tmp_path: Path, end: str, told: str) -> None:
    folder = folder_of(tmp_path, square, [{"n": 1, "end": end}, {"n": 2}, {"n": 3}])
    run_tasks(folder, Forked(workers=2), track=silent, description="")
    first, *others = outcomes(folder, 3)
    assert told in first["error"]
    assert others == [{"result": {"square": 4}}, {"result": {"square": 9}}]
    assert 1 < begun(tmp_path, 1) <= MAX_TRIES


def test_workers_that_die_at_once_end_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, square, [{"n": 1}])
    with pytest.raises(EmoclimError, match="run the same command again"):
        run_tasks(folder, Forked(workers=1, longest=0.001, kills=100), track=silent, description="")


def test_what_others_do_is_waited_for_and_not_done_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, square, [{"n": 1}, {"n": 2}])
    lock = WriterLock(folder.file(1))
    work(folder.path)
    assert [folder.file(number, ".done").exists() for number in (1, 2)] == [False, True]
    assert folder.claimed([1, 2]) == 1
    lock.release()
    work(folder.path)
    assert (begun(tmp_path, 1), begun(tmp_path, 2)) == (1, 1)


def test_the_last_task_of_others_is_taken_over_when_they_die(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(tmp_path, square, [{"n": 1}, {"n": 2}])
    (folder.file(2, ".done")).write_text('{"result": {"square": 4}}')
    lock = WriterLock(folder.file(1))
    done = threading.Event()

    def release() -> None:
        for _ in range(6_000):
            if "others" in caplog.text or done.wait(0.01):
                break
        lock.release()

    (other := threading.Thread(target=release)).start()
    run_tasks(folder, Forked(workers=2), track=silent, description="")
    done.set()
    other.join()
    assert outcomes(folder, 2) == [{"result": {"square": 1}}, {"result": {"square": 4}}]
    assert "others" in caplog.text


def test_a_stopped_command_ends_its_workers(tmp_path: Path) -> None:
    folder, engine = folder_of(tmp_path, square, [{"n": n} for n in range(4)], pause=30), Forked(workers=2)

    def stop() -> None:
        while len(engine.pids) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        signal.raise_signal(signal.SIGINT)

    def started(sequence: Any, description: str, total: float) -> Any:
        threading.Thread(target=stop, daemon=True).start()
        return sequence

    with pytest.raises(KeyboardInterrupt):
        run_tasks(folder, engine, track=started, description="")
    assert folder.claimed([1, 2, 3, 4]) == 0
    assert not list(folder.path.glob("*.done"))
    assert len(engine.pids) == 2
    for pid in engine.pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
