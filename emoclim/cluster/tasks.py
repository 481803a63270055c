"""Tasks as files in one folder: what is to be done, how far it is, and what came of it.

``job.json`` is written last and names the function and the number of tasks, of each of which there are

* ``<number>.json``: its arguments; beside it, while one works at it, the lock and who that is;
* ``<number>.progress``: how many of its items are done, for the eye;
* ``<number>.tries``: how often it was begun since it last got further, and the last error;
* ``<number>.done``: what came of it.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.cache import who_writes
from emoclim.errors import CacheError
from emoclim.files import read_json, write_json

JOB_FILE = "job.json"
AGAIN = "run the same command again"


@dataclass(frozen=True, slots=True)
class Job:
    """What all tasks of a folder have in common."""

    key: str  # digest of what was asked; other tasks are another job
    call: str  # ``module:function``, which takes arguments, common arguments and what tracks, and returns JSON
    common: Mapping[str, Any]
    sizes: Sequence[int]  # items of each task, for the eye


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """The tasks in a folder, by their numbers from 1 on."""

    path: Path

    def write(self, job: Job, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Put tasks into a new folder."""
        self.remove()
        self.path.mkdir(0o700, parents=True)  # what is to be read may hold keys to other machines
        for number, task in enumerate(tasks, start=1):
            self.file(number).write_text(json.dumps(task))
        self._note(job)

    def go_on_with(self, job: Job) -> None:
        """Go on with tasks that are there: what could not be done is tried again, and workers take what `job` says."""
        for path in self.path.glob("*.tries"):
            path.unlink()
        for path in self.path.glob("*.done"):
            if "error" in self.read(int(path.stem), ".done"):
                path.unlink()
        self._note(job)

    def _note(self, job: Job) -> None:
        write_json(self.path / JOB_FILE, {"key": job.key, "call": job.call, "common": job.common, "sizes": job.sizes})

    def job(self) -> Job | None:
        """Read what the tasks have in common; None where no tasks were written whole."""
        if not (self.path / JOB_FILE).is_file():
            return None
        return read_json(self.path / JOB_FILE, CacheError, f"delete {self.path}, and {AGAIN}", Job)

    def file(self, number: int, suffix: str = ".json") -> Path:
        """Return one of the files of a task."""
        return self.path / f"{number:05d}{suffix}"

    def read(self, number: int, suffix: str = ".json") -> dict[str, Any]:
        """Read one of the files of a task."""
        return read_json(self.file(number, suffix), CacheError, f"delete {self.path}, and {AGAIN}")

    def undone(self, job: Job) -> list[int]:
        """List the tasks of which nothing has come yet."""
        done = {path.stem for path in self.path.glob("*.done")}
        return [number for number in range(1, len(job.sizes) + 1) if f"{number:05d}" not in done]

    def items_done(self, job: Job, undone: Sequence[int]) -> int:
        """Count the items that are done, as far as it is told."""
        begun = {path.stem for path in self.path.glob("*.progress")}  # few, of which alone files are read
        told = sum(self.progress(number) for number in undone if f"{number:05d}" in begun)
        return sum(job.sizes) - sum(job.sizes[number - 1] for number in undone) + told

    def progress(self, number: int) -> int:
        """Return how many items of a task are done, as far as it is told."""
        with suppress(OSError, ValueError):
            return int(self.file(number, ".progress").read_text())
        return 0

    def claimed(self, numbers: Sequence[int]) -> int:
        """Count the tasks that somebody is working at."""
        return sum(
            self.file(number, ".json.writer").exists() and bool(who_writes(self.file(number))) for number in numbers
        )

    def end(self) -> None:
        """Take away what makes the folder one of tasks: from now on nobody begins one."""
        (self.path / JOB_FILE).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the folder, what makes it one of tasks first."""
        self.end()
        shutil.rmtree(self.path, ignore_errors=True)
