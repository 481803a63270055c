"""What the tests of the caches on disk share: a filled cache, and a look at its files past the package."""

import os
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from contracts import SPEC, encoded

from emoclim.cache import open_cache
from emoclim.cache.formats import hdf5, store
from emoclim.cache.formats import zarr as zarr_store
from emoclim.cache.items import EncodedItem
from emoclim.cache.memory import MemoryCache
from emoclim.data.features import Features

STORES: dict[str, type[store.Store]] = {".h5": hdf5.HDF5Store, ".zarr": zarr_store.ZarrStore}
ITEMS = [encoded("a", 2), encoded("b"), encoded("c", 3), encoded("d", 0)]


@pytest.fixture(params=STORES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"cache{request.param}"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of four rows, and of few bytes of ledger, so that a handful of items needs several."""
    monkeypatch.setattr(store, "CHUNK_ROWS", 4)
    monkeypatch.setattr(hdf5, "LEDGER_CHUNK", 256)


def fill(path: Path, items: list[EncodedItem] = ITEMS) -> None:
    """A cache of two commits and a failure."""
    with open_cache(path, SPEC) as cache:
        cache.append(items[:2])
        cache.record_failure("f", "too short")
        cache.append(items[2:])


def assert_same(one: Features, other: Features) -> None:
    assert (one.spec, one.ids) == (other.spec, other.ids)
    for name in ("values", "segments", "offsets", "starts", "seconds"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        assert mine is None or (mine.dtype == theirs.dtype and torch.equal(mine, theirs)), name


def assert_holds(path: Path, items: list[EncodedItem]) -> None:
    """The cache on disk holds these items and no others."""
    model = MemoryCache(SPEC)
    model.append(items)
    with open_cache(path) as cache:
        assert cache.keys() == model.keys()
        keys = [item.key for item in items]
        assert_same(cache.read(keys), model.read(keys))


def files(path: Path) -> dict[str, bytes]:
    """Contents of all files of a cache."""
    found = [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file())
    return {found.relative_to(path.parent).as_posix(): found.read_bytes() for found in found}


def ledger_text(path: Path) -> bytes:
    if path.suffix == ".zarr":
        return (path / "ledger.jsonl").read_bytes()
    with h5py.File(path) as file:
        return bytes(file["ledger"][:]).rstrip(b"\0")


def edit_ledger(path: Path, edit: Callable[[bytes], bytes]) -> None:
    """Change the text of the ledger, as something outside of this package might."""
    if path.suffix == ".zarr":
        ledger = path / "ledger.jsonl"
        ledger.write_bytes(edit(ledger.read_bytes()))
        return
    with h5py.File(path, "r+") as file:
        table = file["ledger"]
        text = edit(bytes(table[:]).rstrip(b"\0"))
        table[:] = np.frombuffer(text.ljust(len(table), b"\0"), np.uint8)


def forked(work: Callable[[], object]) -> int:
    """The number of a forked process that has done some work, and then does nothing until it is killed."""
    done, told = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # no thread of these tests holds a lock
        pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(told, b".")
            signal.pause()
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(told)
    answer = os.read(done, 1)
    os.close(done)
    assert answer == b".", "the process could not do its work"
    return pid


def kill(pid: int) -> None:
    """End a process with no chance to tidy up."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def die(*args: object) -> None:
    raise OSError(28, "No space left on device")
