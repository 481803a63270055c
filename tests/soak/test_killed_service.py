"""A service that is killed while it opens a library: what it leaves is whole, and the next one finds the same."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import processes
import pytest
from few_pictures import write_picture
from soaking import LONGER, rounds, soak
from tiny_workspace import GIVEN, PICTURES, TRAINED, write_music, write_pictures

from emoclim import cli
from emoclim.cache import open_cache
from emoclim.pipeline import (
    Resources,
    TrainHeads,
    Workspace,
    extract_features,
    import_features,
    open_searcher,
    start,
)

IN_ALBUM = 200 if LONGER > 1 else 60
LIMIT = 300  # seconds


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of pictures and given music, and an album that nobody has opened."""
    root = tmp_path_factory.mktemp("clean")
    place = Workspace(root)
    write_pictures(root, "images", 0)
    write_music(root)
    extract_features("image", config=PICTURES, workspace=place)
    import_features(root / "given.npz", "audio", "given", GIVEN, workspace=place)
    start(TrainHeads(), TRAINED, Resources(place))
    for number in range(IN_ALBUM):
        write_picture(root / "album" / f"{number}.png", 1000 + number)
    return root


def words(root: Path) -> list[str]:
    return ["app", "--workspace", str(root), "--in", str(root / "album"), "--port", "0", "--json"]


def serve(root: Path) -> subprocess.Popen[str]:
    """Start the service as users do, with the album."""
    command = [sys.executable, "-m", "emoclim", *words(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def serve_at_once(root: Path) -> None:
    """Be the service, in a process that has loaded everything."""
    os.setsid()
    cli.app(words(root))


def kill(service: subprocess.Popen[str] | BaseProcess) -> None:
    """Kill it and the processes that decode for it."""
    assert service.pid
    os.killpg(service.pid, signal.SIGKILL)
    service.communicate() if isinstance(service, subprocess.Popen) else service.join()


def wait_for_change(caches: Path, as_before: Path, is_at_work: Callable[[], bool]) -> None:
    """Wait until it begins to write, or has done so already."""
    before, limit = {path.name for path in as_before.iterdir()}, time.monotonic() + LIMIT
    while {path.name for path in caches.iterdir()} <= before:
        assert is_at_work(), "it ended by itself"
        assert time.monotonic() < limit, "it writes nothing"
        time.sleep(0.005)


def found(root: Path) -> list[tuple[str, float]]:
    """All that a photo finds in the album."""
    searcher = open_searcher(Workspace(root), library=str(root / "album"), device="cpu")
    photo = root / "data" / "images" / "0.png"
    return [(hit.id, hit.score) for hit in searcher.search([photo], top=2 * IN_ALBUM).results[0].found]


@soak
def test_a_service_that_is_killed_leaves_a_library_whole_or_absent(clean: Path, tmp_path: Path) -> None:
    root, draw = tmp_path / "work", random.Random(0)
    shutil.copytree(clean, root)
    service = serve(root)
    wait_for_change(root / "cache", clean / "cache", lambda: service.poll() is None)
    begun = time.monotonic()
    assert service.stdout is not None
    service.stdout.readline()  # its address: everything is open
    seconds = time.monotonic() - begun
    kill(service)
    expected = found(root)
    assert len(expected) == IN_ALBUM
    for _ in range(rounds(2)):
        shutil.rmtree(root)
        shutil.copytree(clean, root)
        killed = processes.start(serve_at_once, root, told=tmp_path / "told")
        wait_for_change(root / "cache", clean / "cache", killed.is_alive)
        time.sleep(draw.uniform(0, seconds))
        kill(killed)
        for path in (root / "cache").glob("*.h5"):
            with open_cache(path) as cache:
                cache.read(sorted(cache.keys()))
        assert found(root) == expected
