"""The scripts of benchmarks/ as modules of this process, and a fixture that undoes what they set for it."""

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scripts find each other, and what they set for their own process comes back."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, level = torch.get_num_threads(), logging.getLogger("emoclim").level
    with torch.random.fork_rng(devices=()):
        yield
    torch.set_num_threads(threads)
    logging.getLogger("emoclim").setLevel(level)


def script(name: str) -> Any:
    return importlib.import_module(name)
