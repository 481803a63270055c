"""Workers as tasks of a Ray cluster that runs already: ``ray``, or ``ray:8,gpus=1,address=HOST:6379``."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field
from typing_extensions import override

from emoclim.cluster.contract import Engine
from emoclim.cluster.working import work
from emoclim.config import LARGEST
from emoclim.errors import ConfigError

KILLED = 10  # seconds that a worker has to end
ANSWER = 5  # seconds in which a cluster answers


@dataclass(frozen=True)
class _Task:
    worker: Any  # what Ray promises to return

    def ended(self) -> str | None:
        import ray

        if not ray.wait([self.worker], timeout=0)[0]:
            return None
        try:
            ray.get(self.worker)
        except ray.exceptions.RayError as error:
            return _named(error)
        return ""

    def stop(self) -> None:
        import ray

        ray.cancel(self.worker, force=True)

    def wait(self) -> None:
        import ray

        ray.wait([self.worker], timeout=KILLED)


class Ray(Engine):
    """Tasks of Ray, spread over its nodes; each starts a process of its own, which Ray gives cores and GPUs."""

    name: ClassVar[str] = "ray"

    address: str = "auto"
    cpus: int = Field(default=1, ge=1)
    gpus: float | None = Field(default=None, ge=0)

    @property
    @override
    def cores(self) -> int:
        return self.cpus

    @override
    def ready(self, device: str) -> Self:
        import ray

        where = "here" if self.address == "auto" else f"at {self.address}"
        try:
            _require_answer(self.address)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no Ray cluster answers {where}; start one with: ray start --head") from error
        try:
            ray.init(self.address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ConfigError(
                f"the Ray cluster {where} does not take this process ({_named(error)}); install the same versions of "
                "Ray and Python as there, and if it asks for a token, set RAY_AUTH_MODE=token"
            ) from error
        if (self.gpus or 0) > 1 and self.gpus != int(self.gpus or 0):
            raise ConfigError(f"Ray gives a worker a part of one GPU or whole ones, not gpus={self.gpus:g}")
        there = ray.cluster_resources()
        gpus = self.gpus if self.gpus is not None else float(device != "cpu" and there.get("GPU", 0) >= 1)
        room = min(there.get("CPU", 0) // self.cpus, there.get("GPU", 0) / gpus if gpus else LARGEST)
        given = "workers" in self.model_fields_set
        return self.updated(gpus=gpus, workers=self.workers if given else max(1, int(room)))

    @override
    def start(self, folder: Path, number: int) -> _Task:
        import ray

        if not ray.is_initialized():  # it was closed after other tasks
            self.ready("cpu")
        remote = ray.remote(max_calls=1, max_retries=0, num_cpus=self.cpus, num_gpus=self.gpus or 0)(_work)
        spread = remote.options(scheduling_strategy="SPREAD")
        return _Task(spread.remote(str(folder.absolute()), number, str(Path.cwd())))

    @override
    def close(self) -> None:
        import ray

        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise OSError where nothing listens at the address that Ray would take; it would try for many minutes."""
    from ray._private.services import canonicalize_bootstrap_address

    address = (os.environ.get("RAY_ADDRESS") or address) if address == "auto" else address
    place = urlsplit(address if "://" in address else f"//{canonicalize_bootstrap_address(address)}")
    if place.port:
        socket.create_connection((place.hostname or "", place.port), ANSWER).close()


def _work(folder: str, number: int, here: str) -> None:
    """Work on a node, where paths are relative to where the command was typed; Ray sees to the cores."""
    os.chdir(here)
    work(Path(folder), number)


def _named(error: Exception) -> str:
    """Say in a few words how a worker died: the last line of what it raised, or what became of it."""
    *_, last = str(error).strip().split("\n")
    return f"{type(error).__name__}: {last}"[:200]
