"""An engine for tests: workers are forks of this process, which begin at once, and may be killed by chance."""

import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import torch
from pydantic import PrivateAttr

from emoclim.cluster.contract import Engine
from emoclim.cluster.working import run_worker


@dataclass
class Fork:
    pid: int
    code: int | None = field(default=None)

    def ended(self) -> str | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if not pid:
                return None
            self.code = os.waitstatus_to_exitcode(status)
        return f"ended with {self.code}" if self.code else ""

    def stop(self) -> None:
        if self.ended() is None:
            os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> None:
        while self.ended() is None:
            signal.sigtimedwait([], 0.01)


class Forked(Engine):
    name: ClassVar[str] = "forked"

    longest: float | None = None  # seconds after which the last worker that dies is dead at the latest
    kills: int = 0  # how many workers die so
    seed: int = 0
    _started: int = PrivateAttr(default=0)
    _pids: list[int] = PrivateAttr(default_factory=list)

    def ready(self, device: str) -> Self:
        return self

    @property
    def started(self) -> int:
        return self._started

    @property
    def pids(self) -> list[int]:
        return self._pids

    def start(self, folder: Path, number: int) -> Fork:
        self._started += 1
        if pid := os.fork():
            self._pids.append(pid)
            return Fork(pid)
        code = 70
        try:
            if self.longest is not None and self._started <= self.kills:
                chance = random.Random(self.seed * 10_000 + self._started)
                longest = self.longest * self._started / self.kills  # the first die however fast the machine is
                signal.setitimer(signal.ITIMER_REAL, max(chance.uniform(0, longest), 0.001))  # nobody handles it
            torch.set_num_threads(1)  # more do not live on in a fork
            code = run_worker(folder, number)
        finally:
            os._exit(code)
