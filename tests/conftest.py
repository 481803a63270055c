"""Fixtures shared by the whole suite."""

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from warnings import catch_warnings

import processes
import pytest

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


@pytest.fixture(scope="module")
def _plain_umap() -> Iterator[None]:
    """Compile nothing of UMAP, which takes half a minute; it fits a few points without it in a second."""
    with pytest.MonkeyPatch.context() as patch:
        with suppress(ImportError), catch_warnings(action="ignore"):  # it is an extra, and tells what it lacks
            patch.setattr("numba.config.DISABLE_JIT", True)
            import umap  # noqa: F401 - its functions stay as they are when they are loaded
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Also where the tests were started in the background of a shell, which ignores it there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
