"""Fixtures shared by the whole suite."""

import gc
import os
import signal
from pathlib import Path

import processes
import pytest

os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiling UMAP takes half a minute, fitting a few points without it a second

gc.set_threshold(20_000, 20, 20)  # looking for cycles after every 700 objects took a quarter of the time


def pytest_collection_finish() -> None:
    """Look for cycles among what tests make, not among the modules, which stay; name what the server of forks loads."""
    processes.CONTEXT.set_forkserver_preload([*processes.LIBRARIES, "emoclim.app.guard.loaded"])
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real photos, music, weights and reference numbers, kept beside the project; never part of it."""
    folder = Path(os.environ.get("EMOCLIM_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "corpus" / "images.csv").is_file():
        pytest.skip(f"needs the real corpus, which is not part of the project (looked in {folder})")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Also where the tests were started in the background of a shell, which ignores it there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
