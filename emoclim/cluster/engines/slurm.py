"""Workers as jobs of a SLURM cluster, by submitit: ``slurm:16,partition=gpu,gpus=1,minutes=240``."""

import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr
from typing_extensions import override

from emoclim.cluster.contract import Engine, Running
from emoclim.cluster.working import run_worker
from emoclim.errors import ConfigError, EmoclimError

log = logging.getLogger(__name__)

ASKED_AGAIN = 60  # seconds in which SLURM tells what became of all jobs; submitit lets ten minutes pass


@dataclass(frozen=True)
class Worker:
    """What a job runs; SLURM may take its machine away and start it anew, on the same tasks."""

    folder: Path
    number: int
    cores: int | None

    def __call__(self) -> int:
        """Work until there is nothing more to do."""
        if (status := run_worker(self.folder, self.number, self.cores)) != 0:
            raise EmoclimError(f"exit status {status}")
        return status

    def checkpoint(self) -> Any:
        """Tell submitit what to queue again when the machine is taken away, or time is up."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class _Job:
    job: Any  # of submitit, which has no types for what executors have in common

    def ended(self) -> str | None:
        if not self.job.done(force_check=_Clock.is_due()):
            return None
        told = self.job.paths.result_pickle.exists()  # submitit would wait for what a killed job never writes
        return "" if told and self.job.exception() is None else f"job {self.job.job_id} {self.job.state.lower()}"

    def stop(self) -> None:
        self.job.cancel(check=False)

    def wait(self) -> None:
        """Nothing: a job that is cancelled is ended by SLURM."""


@dataclass(frozen=True)
class _Refused:
    """A job that SLURM did not take after others; after a while another is tried."""

    reason: str
    since: float
    others: Sequence[_Job]

    def ended(self) -> str | None:
        if time.monotonic() - self.since <= ASKED_AGAIN:
            return None
        return "" if any(job.ended() is None for job in self.others) else self.reason  # they may wait for long

    def stop(self) -> None:
        """Nothing: there is no job."""

    def wait(self) -> None:
        """Nothing, either."""


class _Clock:
    """When SLURM was asked about all jobs."""

    asked: ClassVar[float] = -math.inf

    @classmethod
    def is_due(cls) -> bool:
        """Tell, once, whether it is time to ask again."""
        if due := time.monotonic() - cls.asked > ASKED_AGAIN:
            cls.asked = time.monotonic()
        return due


class Slurm(Engine):
    """Jobs of SLURM; what is not given is as the cluster has it by default."""

    name: ClassVar[str] = "slurm"
    executor: ClassVar[str] = "slurm"

    workers: int = Field(default=8, ge=1, le=100_000)
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    minutes: int = Field(default=24 * 60, ge=1)
    cpus: int = Field(default=4, ge=1)
    gpus: int | None = Field(default=None, ge=0)
    memory: float | None = Field(default=None, gt=0)  # GB
    _taken: list[_Job] = PrivateAttr(default_factory=list)  # jobs that SLURM took
    _told: str = PrivateAttr(default="")  # why it took no other one

    @override
    def ready(self, device: str) -> Self:
        if self.executor == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError("there is no sbatch here to submit jobs with; run the command on a login node of SLURM")
        return self if self.gpus is not None else self.updated(gpus=int(device.startswith("cuda")))

    @property
    @override
    def cores(self) -> int:
        return self.cpus

    @override
    def start(self, folder: Path, number: int) -> Running:
        import submitit
        from submitit.core.utils import FailedJobError

        executor = submitit.AutoExecutor(folder / "jobs", cluster=self.executor, slurm_max_num_timeout=1000)
        asked = {
            "timeout_min": self.minutes,
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus or None,
            "mem_gb": self.memory,
            "name": f"emoclim-{number}",
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "slurm_qos": self.qos,
            "slurm_constraint": self.constraint,
        }
        executor.update_parameters(**{name: value for name, value in asked.items() if value is not None})
        try:
            job = _Job(executor.submit(Worker(folder, number, self.cpus)))
        except FailedJobError as error:
            refused = f"SLURM takes no job: {str(error).strip()}"
            if not self._taken:
                raise EmoclimError(f"{refused}; correct what follows --on, and run the same command again") from error
            if refused != self._told:
                log.warning("%s; the jobs that it took go on", refused)
            self._told = refused
            return _Refused(refused, time.monotonic(), self._taken)
        self._taken.append(job)
        return job
