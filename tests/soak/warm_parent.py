"""A process that has loaded everything and made a small workspace; forks of it spoil files, and are killed."""

import os
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from fuzzing import Fuzzer
from killing import Killer
from killing_trainings import TrainingKiller
from pairing import Pairer
from tiny_workspace import build

from emoclim.pipeline.caches import collect

WORKERS: dict[str, Callable[[Path, Path], Callable[..., object]]] = {
    "fuzz": Fuzzer,
    "kill": Killer,
    "kill training": TrainingKiller,
    "pair": Pairer,
}


def serve(asked: Connection, folder: Path) -> None:
    """Answer for the workers, by name, until nobody asks any more."""
    torch.set_num_threads(1)
    os.fsync = lambda handle: None  # type: ignore[assignment] # processes are killed here, but the power is never cut
    collect.RECENT = 0
    build(folder / "tiny")
    workers: dict[str, Callable[..., object]] = {}
    with suppress(EOFError):
        while True:
            name, *given = asked.recv()
            if name not in workers:
                workers[name] = WORKERS[name](folder / "tiny", folder / name)
            asked.send(workers[name](*given))
