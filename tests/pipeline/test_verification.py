"""`emoclim cache verify`: what is damaged is found, named and mended; what libraries make otherwise today is found."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from cache_files import STORES, edit_ledger
from cache_workspace import MANY, answer, cache_called, features_of, flip, imported, run
from cache_workspace import extracted as extracted
from cache_workspace import root as root

from emoclim.cache import item_table_path, note_path, open_cache, read_item_table, write_item_table
from emoclim.cache.items import EncodedItem
from emoclim.config import ExtractConfig
from emoclim.data.features import FeatureSpec
from emoclim.errors import CacheError
from emoclim.pipeline.caches.verify import verify_cache
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.find_caches import find_cache
from emoclim.pipeline.workspace import Workspace

OLD = time.time() - 3600
CHANGED = 7  # a piece of several segments


def test_a_sound_cache_is_called_sound(root: Path) -> None:
    found = answer("cache", "verify", "timbre", "--workspace", root)
    assert (found["sound"], found["items"], found["damaged"], found["problems"]) == (True, 8, [], [])
    assert "is sound: all 8 items were read" in run("cache", "verify", "timbre", "--workspace", root).stdout


@pytest.mark.parametrize("backend", ["h5", "zarr"])
@pytest.mark.parametrize("n", [0, 8, 100, MANY - 1])
def test_a_flipped_bit_is_found_and_its_item_named(tmp_path: Path, backend: str, n: int) -> None:
    path = imported(tmp_path, backend)
    with open_cache(path) as cache:
        features = cache.features([f"item {n}"])
        numbers = features.values if features.segments is None else features.segments
    flip(path, numbers[0].numpy().tobytes())
    found = answer("cache", "verify", "given", "--workspace", tmp_path, code=3)
    assert found["sound"] is False
    assert f"item {n}" in found["damaged"]
    assert backend == "zarr" or found["damaged"] == [f"item {n}"]
    told = run("cache", "verify", "given", "--workspace", tmp_path, code=3).stdout
    assert "is damaged: the numbers of" in told
    assert "--repair" in told


def test_repair_leaves_out_what_is_lost_and_extraction_brings_it_back(root: Path) -> None:
    before = features_of(root, "timbre")
    path = cache_called(root, "timbre")
    flip(path, before.values[2].numpy().tobytes())
    found = answer("cache", "verify", "timbre", "--repair", "--workspace", root, code=3)
    assert found["damaged"] == [before.ids[2]]
    assert found["repaired"] is True
    assert answer("cache", "verify", "timbre", "--workspace", root)["sound"] is True
    states = {state.id: state.state for state in read_item_table(item_table_path(path, "audio"))}
    assert [id_ for id_, state in states.items() if state == "missing"] == [before.ids[2]]
    result = extract_features("audio", config=ExtractConfig(encoder="timbre", workers=0), workspace=Workspace(root))
    assert (result.extraction.encoded, result.extraction.reused) == (1, 7)
    after = features_of(root, "timbre")
    assert torch.equal(after.values, before.values)
    assert torch.equal(after.segments, before.segments)


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_repair_keeps_order_failures_and_what_is_sound(tmp_path: Path, backend: str) -> None:
    path = imported(tmp_path, backend, n_items=27)
    with open_cache(path, find_cache(Workspace(tmp_path), "given").spec) as cache:
        cache.record_failure("id:lost", "too short")
        before = cache.features()
    flip(path, before.segments[1].numpy().tobytes())
    assert verify_cache("given", repair=True, workspace=Workspace(tmp_path)).damaged == ("item 8",)
    rest = [key for key in before.ids if key != "id:item 8"]
    with open_cache(path) as cache:
        assert list(cache) == rest
        assert cache.n_segments == len(before.segments) - 2
        assert torch.equal(cache.features().values, before.values[[before.ids.index(key) for key in rest]])
        assert dict(cache.failures()) == {"id:lost": "too short"}
    assert imported(tmp_path, backend, n_items=27) == path
    with open_cache(path) as cache:
        assert list(cache) == [*rest, "id:item 8"]
        after = cache.features(before.ids)
    assert torch.equal(after.values, before.values)
    assert torch.equal(after.segments, before.segments)
    assert answer("cache", "verify", "given", "--workspace", tmp_path)["sound"] is True


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_repair_of_a_cache_of_which_nothing_is_left(tmp_path: Path, backend: str) -> None:
    spec = FeatureSpec("mine", "audio", 2, "none", {})
    path = tmp_path / "cache" / f"audio-mine.{backend}"
    with open_cache(path, spec) as cache:
        cache.append([EncodedItem("a", torch.tensor([1.0, 2.0]))])
    flip(path, torch.tensor([1.0, 2.0]).numpy().tobytes())
    verify_cache("audio-mine", repair=True, workspace=Workspace(tmp_path))
    with open_cache(path, spec) as cache:
        assert (len(cache), cache.n_segments) == (0, 0)
        cache.append([EncodedItem("a", torch.tensor([1.0, 2.0]))])
        assert cache["a"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("backend", ["h5", "zarr"])
@pytest.mark.parametrize("call", ["reseal", "write_line"])
def test_a_repair_killed_before_its_line_can_be_done_again(tmp_path: Path, backend: str, call: str) -> None:
    path = imported(tmp_path, backend, n_items=27)
    with open_cache(path) as cache:
        segments = cache.features(["item 8"]).segments
    flip(path, segments[1].numpy().tobytes())

    def dying() -> None:
        setattr(STORES[path.suffix], call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        verify_cache("given", repair=True, workspace=Workspace(tmp_path))

    pid = os.fork()
    if not pid:
        dying()
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert verify_cache("given", workspace=Workspace(tmp_path)).damaged == ("item 8",)
    verify_cache("given", repair=True, workspace=Workspace(tmp_path))
    assert answer("cache", "verify", "given", "--workspace", tmp_path)["items"] == 26


def test_only_what_is_committed_is_left_out(tmp_path: Path) -> None:
    path = imported(tmp_path, n_items=9)
    with open_cache(path) as cache, pytest.raises(CacheError, match="opened for reading only"):
        cache.leave_out(["id:item 1"])
    with open_cache(path, find_cache(Workspace(tmp_path), "given").spec) as cache:
        with pytest.raises(CacheError, match="does not hold 1 of the 2"):
            cache.leave_out(["id:item 1", "id:item 99"])
        assert len(cache) == 9


def test_tables_that_say_what_is_not_true_are_found(root: Path) -> None:
    path = cache_called(root, "timbre")
    table = item_table_path(path, "audio")
    states = read_item_table(table)
    write_item_table(path, "audio", [*states[1:], states[0]._replace(key="0" * 32)])
    found = answer("cache", "verify", "timbre", "--workspace", root, code=3)
    (problem,) = found["problems"]
    assert f"calls 1 items committed that the cache does not hold ({states[0].id})" in problem
    write_item_table(path, "audio", [*states, states[1]])
    found = answer("cache", "verify", "timbre", "--workspace", root, code=3)
    assert "lists 1 items more than once" in found["problems"][0]
    write_item_table(path, "audio", [states[0]._replace(state="missing"), *states[1:]])
    found = answer("cache", "verify", "timbre", "--workspace", root)
    assert "does not know yet that 1 items were encoded since" in found["remarks"][0]
    table.write_text("something else")
    assert "is no table of items" in answer("cache", "verify", "timbre", "--workspace", root, code=3)["problems"][0]
    table.unlink()
    assert "is missing" in answer("cache", "verify", "timbre", "--workspace", root)["remarks"][0]


def test_a_cache_that_cannot_be_opened_is_not_sound(root: Path) -> None:
    path = cache_called(root, "timbre")
    path.write_bytes(path.read_bytes()[:1000])
    found = answer("cache", "verify", "timbre", "--workspace", root, code=3)
    assert found["items"] == 0
    assert "delete it" in found["problems"][0]


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("way", ["stem", "path"])
def test_a_cache_that_cannot_be_opened_is_told_with_and_without_its_note(root: Path, noted: bool, way: str) -> None:
    path = cache_called(root, "timbre")
    path.write_bytes(path.read_bytes()[:1000])
    if not noted:
        note_path(path).unlink()
    found = answer("cache", "verify", path.stem if way == "stem" else path, "--workspace", root, code=3)
    assert (found["cache"], found["sound"]) == (str(path), False)
    assert "delete it" in found["problems"][0]


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_a_last_commit_that_cannot_be_read_is_a_problem(tmp_path: Path, backend: str) -> None:
    path = imported(tmp_path, backend, n_items=9)
    edit_ledger(path, lambda text: text.replace(b"|id:item 8", b"|id:item 9"))
    found = answer("cache", "verify", "given", "--workspace", tmp_path, code=3)
    assert "cannot be read: its items may be missing; extract again" in found["problems"][0]
    assert imported(tmp_path, backend, n_items=9) == path
    assert answer("cache", "verify", "given", "--workspace", tmp_path)["items"] == 9


def test_encoding_again_finds_the_same_features(root: Path) -> None:
    found = answer("cache", "verify", "timbre", "--re-encode", 3, "--workspace", root)
    again = found["encoded_again"]
    assert (again["items"], again["recut"]) == (3, 0)
    assert again["difference"] <= 1e-5
    assert again["cosine"] == pytest.approx(1)
    everything = answer("cache", "verify", "timbre", "--re-encode", 100, "--workspace", root)
    assert everything["encoded_again"]["items"] == 8


def drifted(root: Path, factor: float, segments: int | None = None) -> None:
    """The cache as another version of a library would have made it: the first value of one item is another."""
    note = find_cache(Workspace(root), "timbre")
    with open_cache(note.path) as cache:
        table = cache.features()
    note.path.unlink()
    items = []
    for n, key in enumerate(table.ids):
        own = slice(int(table.offsets[n]), int(table.offsets[n + 1]))
        value = table.values[n].clone()
        if n == CHANGED:
            value[value.abs().argmax()] *= factor
            own = slice(own.start, own.stop if segments is None else own.start + segments)
        items.append(EncodedItem(key, value, table.segments[own], table.starts[own], float(table.seconds[n])))
    with open_cache(note.path, note.spec) as cache:
        cache.append(items)


def test_drift_of_a_library_is_found(root: Path) -> None:
    name = features_of(root, "timbre").ids[CHANGED]
    drifted(root, 1.001)
    assert answer("cache", "verify", "timbre", "--workspace", root)["sound"] is True
    found = answer("cache", "verify", "timbre", "--re-encode", 8, "--workspace", root, code=3)
    assert found["encoded_again"]["difference"] == pytest.approx(0.001, rel=0.01)
    assert found["encoded_again"]["worst"] == name
    assert found["encoded_again"]["cosine"] < 1
    told = run("cache", "verify", "timbre", "--re-encode", 8, "--workspace", root, code=3).stdout
    assert f"worst: {name}; not the same encoder any more" in told
    answer("cache", "verify", "timbre", "--re-encode", 8, "--tolerance", 0.01, "--workspace", root)


def test_another_number_of_segments_is_drift(root: Path) -> None:
    drifted(root, 1.0, segments=1)
    found = answer("cache", "verify", "timbre", "--re-encode", 8, "--workspace", root, code=3)
    assert (found["encoded_again"]["recut"], found["encoded_again"]["difference"]) == (1, 0.0)


def test_what_cannot_be_encoded_again_is_told(root: Path) -> None:
    imported(root, n_items=9)
    told = run("cache", "verify", "given", "--re-encode", 2, "--workspace", root, code=2).stderr
    assert "were imported, so there is no encoder" in told
    shutil.rmtree(root / "data" / "music")
    told = run("cache", "verify", "timbre", "--re-encode", 2, "--workspace", root, code=2).stderr
    assert "no item of" in told
