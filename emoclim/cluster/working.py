"""What a worker does: claim a task that nobody works at, do it, write what came of it, until there is none left."""

import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from emoclim.cache import WriterLock, who_writes
from emoclim.cluster.tasks import Job, TaskFolder
from emoclim.errors import CacheError, EmoclimError
from emoclim.files import write_json
from emoclim.progress import Track

T = TypeVar("T")
Call = Callable[[Mapping[str, Any], Mapping[str, Any], Track], Any]

MAX_TRIES = 10  # of a task that got no further meanwhile: its workers die of it
FRESH = {"number": 0, "best": 0, "error": ""}
ERROR_TRIES = 5  # that an error which was told counts for besides: it is tried once more, by another process
THREADS = "OMP_NUM_THREADS"
TELL_EVERY = 0.5  # seconds


def work(folder: Path, number: int = 0) -> None:
    """Do the tasks of a folder that nobody else does; the `number` of the worker says with which it begins."""
    tasks = TaskFolder(folder)
    while job := tasks.job():
        undone = tasks.undone(job)
        first = number * len(undone) // 64 % max(1, len(undone))  # workers look in different places
        if not any(_claim_and_do(tasks, job, one) for one in [*undone[first:], *undone[:first]]):
            return


def _claim_and_do(tasks: TaskFolder, job: Job, number: int) -> bool:
    """Do a task unless somebody is at it, or it was done meanwhile; tell whether it was done here."""
    file, done = tasks.file(number), tasks.file(number, ".done")
    if done.exists() or not file.exists() or (tasks.file(number, ".json.writer").exists() and who_writes(file)):
        return False
    try:
        lock = WriterLock(file)
    except CacheError:
        return False
    try:
        if not done.exists():
            write_json(done, _outcome(tasks, job, number))
    finally:
        lock.release()
    return True


def _outcome(tasks: TaskFolder, job: Job, number: int) -> dict[str, Any]:
    """Do a task, or tell why not where it was tried too often."""
    tries_file = tasks.file(number, ".tries")
    tries: dict[str, Any] = tasks.read(number, ".tries") if tries_file.exists() else {**FRESH}
    if (best := tasks.progress(number)) > tries["best"]:
        tries |= {"number": 0, "best": best}
    if tries["number"] >= MAX_TRIES:
        return {"error": tries["error"] or "the processes that worked at it died again and again"}
    tries["number"] += 1
    write_json(tries_file, tries)
    call: Call = pkgutil.resolve_name(job.call)
    try:
        return {"result": call(tasks.read(number), job.common, _Teller(tasks, job, number))}
    except EmoclimError as error:
        tries |= {"number": tries["number"] + ERROR_TRIES, "error": str(error)}
        write_json(tries_file, tries)
        if tries["number"] < MAX_TRIES:
            raise
        return {"error": str(error)}
    except (KeyboardInterrupt, SystemExit):
        write_json(tries_file, tries | {"number": tries["number"] - 1})  # it is nobody's fault
        raise


class _Teller:
    """Tracks the work at a task for the eye of others: a number in a file."""

    def __init__(self, tasks: TaskFolder, job: Job, number: int) -> None:
        self._file, self._size, self._told = tasks.file(number, ".progress"), job.sizes[number - 1], 0.0

    def __call__(self, sequence: Iterable[T], description: str = "", total: float | None = None) -> Iterator[T]:  # noqa: ARG002
        """Yield what `sequence` does; what of the task is not in its `total` was done before."""
        done = self._size - int(total or self._size)
        for value in sequence:
            yield value
            done += 1
            if (now := time.monotonic()) - self._told > TELL_EVERY:
                self._told = now
                with suppress(OSError):
                    self._file.write_text(str(done))


def run_worker(folder: Path, number: int, cores: int | None = None) -> int:
    """Work as a process of its own, which ends orderly when it is told to; return its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if cores is not None:  # torch reads this when it is loaded
        os.environ[THREADS] = str(min(cores, int(os.environ.get(THREADS) or cores)))
    try:
        work(folder, number)
    except EmoclimError as error:
        print(error, file=sys.stderr)  # noqa: T201 - its log is all that it writes to
        return 2
    except Exception:  # noqa: BLE001 - whatever it is, the log tells it, and another worker goes on
        traceback.print_exc()
        return 1
    return 0


def end_with(parent: int) -> None:
    """End this process orderly soon after `parent`, which started it, has died."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
