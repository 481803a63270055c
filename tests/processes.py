"""Processes that begin clean and at once: forks of a server that has loaded the libraries and done nothing yet.

A fork of the tests' own process would have none of its threads, nor its devices; a new interpreter takes seconds.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

CONTEXT = multiprocessing.get_context("forkserver")
LIBRARIES = ["pytest", "hypothesis", "typer.testing", "pyarrow.parquet", "soundfile", "emoclim.stages.encoder_training"]


def start(work: Callable[..., object], *given: object, told: Path | None = None) -> BaseProcess:
    """Do some work, a function of a module, in another process; its errors are written to `told`."""
    process = CONTEXT.Process(target=_do, args=(work, given, told))
    process.start()
    return process


@contextmanager
def answering(serve: Callable[[Connection, Path], object], folder: Path) -> Iterator[Callable[..., Any]]:
    """Yield a function that sends its arguments to a process, and returns what comes back."""
    ours, theirs = CONTEXT.Pipe()
    process = start(serve, theirs, folder, told=folder / "errors")
    theirs.close()

    def ask(*given: object) -> Any:
        ours.send(given)
        try:
            return ours.recv()
        except EOFError:
            pytest.fail((folder / "errors").read_text())

    try:
        yield ask
    finally:
        ours.close()
        process.join()


def exit_codes(*processes: BaseProcess, seconds: float = 600) -> list[int | None]:
    """Wait for each process; None of one that does not end."""
    for process in processes:
        process.join(seconds)
    return [process.exitcode for process in processes]


def _do(work: Callable[..., object], given: tuple[object, ...], told: Path | None) -> None:
    if told is not None:
        sys.stderr = told.open("a", buffering=1)
    work(*given)
