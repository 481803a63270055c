"""`emoclim cache gc` and `verify` while an import runs, and after it was killed: nothing half made is ever a cache."""

import threading
from pathlib import Path

import pytest
from cache_files import forked, kill
from cache_workspace import answer, imported, run

from emoclim.cache import open_cache
from emoclim.cache.disk import DiskCache
from emoclim.data import Features

N_ITEMS = 1500  # more than one commit
APPEND = DiskCache.append_features


class StopAfterCommit:
    """Stops an import when it has made its first commit, until it may go on."""

    def __init__(self) -> None:
        self.stopped, self.may_go_on = threading.Event(), threading.Event()

    def append(self, cache: DiskCache, items: Features) -> None:
        APPEND(cache, items)
        if not self.stopped.is_set():
            self.stopped.set()
            assert self.may_go_on.wait(60)

    def begin(self, root: Path, backend: str) -> threading.Thread:
        DiskCache.append_features = lambda cache, items: self.append(cache, items)
        thread = threading.Thread(target=imported, args=(root, backend), kwargs={"n_items": N_ITEMS}, daemon=True)
        thread.start()
        assert self.stopped.wait(60)
        return thread


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed just now is no reason to keep it; and `append` is put back."""
    monkeypatch.setattr("emoclim.pipeline.caches.collect.RECENT", 0)
    monkeypatch.setattr(DiskCache, "append_features", APPEND)
    monkeypatch.setattr("emoclim.pipeline.caches.importing.COMMIT_ITEMS", 1000)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def partial_cache(root: Path) -> Path:
    (found,) = (path for path in root.glob("cache/.*.partial/audio-given-*") if path.suffix in (".h5", ".zarr"))
    return found


@pytest.mark.parametrize("backend", ["h5", "zarr"])
@pytest.mark.parametrize("how", [[], ["--yes"]])
def test_gc_leaves_a_running_import_alone(tmp_path: Path, backend: str, how: list[str]) -> None:
    stop = StopAfterCommit()
    thread = stop.begin(tmp_path, backend)
    before = contents(tmp_path)
    found = answer("cache", "gc", *how, "--workspace", tmp_path)
    assert (found["found"], contents(tmp_path)) == ([], before)
    assert len(found["kept"]) == 1
    assert answer("cache", "list", "--workspace", tmp_path)["caches"] == []
    stop.may_go_on.set()
    thread.join()
    found = answer("cache", "verify", "given", "--workspace", tmp_path)
    assert (found["sound"], found["items"]) == (True, N_ITEMS)


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_a_killed_import_is_never_taken_for_a_cache(tmp_path: Path, backend: str) -> None:
    kill(forked(lambda: StopAfterCommit().begin(tmp_path, backend)))
    half = partial_cache(tmp_path)
    with open_cache(half) as cache:
        assert 0 < len(cache) < N_ITEMS
    before = contents(tmp_path)
    found = answer("cache", "gc", "--workspace", tmp_path)
    assert [Path(one["path"]) for one in found["found"]] == [half.parent]
    run("cache", "verify", "given", "--workspace", tmp_path, code=2)
    told = answer("cache", "verify", half, "--workspace", tmp_path, code=3)
    assert (told["sound"], len(told["problems"])) == (False, 1)
    assert contents(tmp_path) == before
    answer("cache", "gc", "--yes", "--workspace", tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []
    imported(tmp_path, backend, n_items=N_ITEMS)
    assert answer("cache", "verify", "given", "--workspace", tmp_path)["items"] == N_ITEMS


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_an_import_after_a_killed_one_is_whole(tmp_path: Path, backend: str) -> None:
    kill(forked(lambda: StopAfterCommit().begin(tmp_path, backend)))
    with open_cache(imported(tmp_path, backend, n_items=N_ITEMS)) as cache:
        assert len(cache) == N_ITEMS
