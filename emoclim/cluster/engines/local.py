"""Workers as processes of this machine: ``local:8``."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field
from typing_extensions import override

from emoclim.cluster.contract import Engine
from emoclim.errors import ConfigError

PATIENCE = 30  # seconds in which a worker that is told to end may commit what it has
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class _Process:
    process: subprocess.Popen[bytes]

    def ended(self) -> str | None:
        code = self.process.poll()
        if code is None or code == 0:
            return None if code is None else ""
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def stop(self) -> None:
        self.process.terminate()

    def wait(self) -> None:
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Local(Engine):
    """Processes of this machine, which share its cores; each has a GPU to itself as far as there are any."""

    name: ClassVar[str] = "local"
    gpus: int | None = Field(default=None, ge=0)  # how many there are to share; None takes all

    @override
    def ready(self, device: str) -> Self:
        found = self._gpus() if device == "auto" or device.startswith("cuda") else 0
        if device != "cpu" and (self.gpus or 0) > found:
            raise ConfigError(f"PyTorch finds {found} GPUs here, not gpus={self.gpus}; leave gpus out to take all")
        gpus = found if self.gpus is None else self.gpus
        given = "workers" in self.model_fields_set
        return self.updated(gpus=gpus, workers=self.workers if given else gpus or self._cores())

    @property
    @override
    def cores(self) -> int:
        return max(1, self._cores() // self.workers)

    @staticmethod
    def _cores() -> int:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @override
    def start(self, folder: Path, number: int) -> _Process:
        command = [sys.executable, "-m", "emoclim.cluster", str(folder), str(number), str(self.cores), str(os.getpid())]
        with (folder / f"worker-{number}.log").open("ab") as told:
            return _Process(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env=self._own(number))
            )

    def _own(self, number: int) -> dict[str, str]:
        """Return the environment of a worker, which sees one of the GPUs."""
        if not self.gpus:
            return dict(os.environ)
        seen = os.environ[VISIBLE].split(",") if os.environ.get(VISIBLE) else list(map(str, range(self.gpus)))
        return os.environ | {VISIBLE: seen[number % min(self.gpus, len(seen))]}

    @staticmethod
    def _gpus() -> int:
        import torch

        return torch.cuda.device_count()
