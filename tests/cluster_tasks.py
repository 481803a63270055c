"""Tasks in a folder, for tests of what does them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoclim.cluster import Job, TaskFolder
from emoclim.cluster.engines.local import VISIBLE
from emoclim.cluster.working import THREADS
from emoclim.progress import Track


def folder_of(tmp_path: Path, call: Any, tasks: list[dict[str, Any]], **common: Any) -> TaskFolder:
    (log := tmp_path / "log").mkdir()
    folder = TaskFolder(tmp_path / "tasks")
    folder.write(Job("key", f"{call.__module__}:{call.__name__}", {"log": str(log), **common}, [2] * len(tasks)), tasks)
    return folder


def outcomes(folder: TaskFolder, count: int) -> list[Any]:
    return [folder.read(number, ".done") for number in range(1, count + 1)]


def seen(task: Mapping[str, Any], common: Mapping[str, Any], track: Track) -> dict[str, str | None]:
    """Tell what a worker may use."""
    return {name: os.environ.get(name) for name in (VISIBLE, THREADS)}
