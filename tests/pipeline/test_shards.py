"""Shards: what several extractions made apart is one cache after a merge, however often and wherever it stops."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from cache_files import assert_same, edit_ledger
from cache_workspace import answer, cache_called, features_of, run, write_music
from cache_workspace import extracted as extracted
from contracts import SPEC, encoded

from emoclim.cache import (
    CacheNote,
    failures_path,
    item_table_path,
    note_path,
    open_cache,
    read_item_table,
    read_note,
)
from emoclim.cache.disk import DiskCache
from emoclim.cache.items import EncodedItem, in_blocks
from emoclim.config import ExtractConfig
from emoclim.errors import CacheError, CacheMismatch
from emoclim.pipeline.caches.merge import merge_shards
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.workspace import Shard, Workspace

STEM = f"{SPEC.modality}-{SPEC.name}-{SPEC.digest()}"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose music was extracted in three parts."""
    root = tmp_path_factory.mktemp("workspace")
    write_music(root)
    for index in (1, 2, 3):
        extract_features(
            "audio", config=ExtractConfig(encoder="timbre", workers=0), workspace=Workspace(root), shard=Shard(index, 3)
        )
    return root


@pytest.fixture
def parts(sharded: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(sharded, tmp_path / "workspace"))


def fill(root: Path, number: str, items: Sequence[EncodedItem], suffix: str = ".h5", **failures: str) -> Path:
    """A shard of a few items."""
    path = root / "cache" / f"{STEM}.shards" / f"{number}{suffix}"
    with open_cache(path, SPEC) as cache:
        cache.append(items)
        for key, reason in failures.items():
            cache.record_failure(key, reason)
    CacheNote(path, SPEC, None, {}).save()
    return path


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def test_merged_shards_are_like_one_extraction(parts: Path, extracted: Path) -> None:
    found = answer("cache", "merge", "timbre", "--workspace", parts)
    assert (found["shards"], found["added"], found["there"], found["failures"]) == (3, 8, 0, 1)
    assert (found["lacking"], found["writing"], found["remarks"]) == ([], [], [])
    assert_same(features_of(parts, "timbre"), features_of(extracted, "timbre"))
    path, whole = cache_called(parts, "timbre"), cache_called(extracted, "timbre")
    assert path.name == whole.name
    assert read_item_table(item_table_path(path, "audio")) == read_item_table(item_table_path(whole, "audio"))
    with failures_path(path, "audio").open() as table, failures_path(whole, "audio").open() as expected:
        assert [line.split(",")[::2] for line in table] == [line.split(",")[::2] for line in expected]
    note, other = read_note(path), read_note(whole)
    assert (note.sources, note.spec, note.checkpoint, note.settings) == (
        other.sources,
        other.spec,
        other.checkpoint,
        other.settings,
    )
    assert sum(made["encoded"] for made in note.made) == 8
    assert [made["time"] for made in note.made] == sorted(made["time"] for made in note.made)
    result = extract_features("audio", config=ExtractConfig(encoder="timbre", workers=0), workspace=Workspace(parts))
    assert (result.extraction.encoded, result.extraction.reused) == (0, 8)


def test_shards_are_listed_until_they_are_merged_and_swept(parts: Path) -> None:
    assert list(answer("cache", "list", "--workspace", parts)["shards"].values()) == [3]
    assert "has 3 shards; join them with: emoclim cache merge" in run("cache", "list", "--workspace", parts).stdout
    assert answer("cache", "gc", "--yes", "--workspace", parts)["found"] == []
    (folder,) = (parts / "cache").glob("*.shards")
    run("cache", "merge", folder, "--workspace", parts)
    folder = next((parts / "cache").glob("*.shards"))
    assert len([path for path in folder.iterdir() if path.suffix == ".h5"]) == 3
    found = answer("cache", "gc", "--yes", "--workspace", parts)["found"]
    assert {one["why"].split(" into ")[0] for one in found} == {"merged"}
    assert not folder.exists()
    assert features_of(parts, "timbre").ids == tuple(f"music/piece{n}.wav" for n in range(8))
    told = run("cache", "merge", "timbre", "--workspace", parts, code=2).stderr
    assert f"there is no cache with shards in {parts / 'cache'}; make one" in told


def test_shards_are_not_swept_while_something_of_them_is_missing_or_damaged(parts: Path) -> None:
    run("cache", "merge", "timbre", "--workspace", parts)
    path = cache_called(parts, "timbre")
    with open_cache(path) as cache:
        numbers = cache.read(list(cache)[:1]).values.numpy().tobytes()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(numbers) + 1] ^= 1
    path.write_bytes(damaged)
    assert answer("cache", "gc", "--yes", "--workspace", parts)["found"] == []
    lost = next((parts / "cache").glob("*.shards/2-of-3.h5"))
    lost.unlink()
    path.unlink()
    found = {Path(one["path"]) for one in answer("cache", "gc", "--workspace", parts)["found"]}
    tables = {item_table_path(path, "audio"), failures_path(path, "audio")}
    assert found - {lost.with_name("2-of-3.audio.items.csv")} == {
        note_path(path),
        note_path(lost),
        *tables,
    }


def test_shards_are_kept_until_all_of_them_are_merged(tmp_path: Path) -> None:
    fill(tmp_path, "2-of-2", [encoded("a")])
    merge_shards("letters", workspace=Workspace(tmp_path))
    assert answer("cache", "gc", "--yes", "--workspace", tmp_path)["found"] == []
    fill(tmp_path, "1-of-2", [encoded("b")])
    assert answer("cache", "gc", "--yes", "--workspace", tmp_path)["found"] == []
    merge_shards("letters", workspace=Workspace(tmp_path))
    assert len(answer("cache", "gc", "--yes", "--workspace", tmp_path)["found"]) == 4


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_a_merge_that_stops_anywhere_and_is_done_again_gives_the_same_bytes(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoclim.pipeline.caches.merge.in_blocks", partial(in_blocks, size=2))
    fill(tmp_path, "1-of-2", [encoded(key, n) for n, key in enumerate("dacbe")], suffix, x="too short", y="silent")
    fill(
        tmp_path, "2-of-2", [encoded("f"), encoded("a", 1), encoded("y", 2), encoded("g")], suffix, x="?", z="no sound"
    )
    whole = tmp_path / "cache" / f"{STEM}{suffix}"
    merge_shards("letters", workspace=Workspace(tmp_path))
    expected = content(whole)
    with open_cache(whole) as cache:
        assert list(cache) == list("dacbefyg")
        assert dict(cache.failures()) == {"x": "too short", "z": "no sound"}
    append, record = DiskCache.append_features, DiskCache.record_failure
    for last in range(7):
        shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
        calls = [0]

        def count(calls: list[int] = calls, last: int = last) -> None:
            calls[0] += 1
            if calls[0] > last:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(DiskCache, "append_features", lambda self, items, count=count: (count(), append(self, items)))
            patch.setattr(DiskCache, "record_failure", lambda self, *what, count=count: (count(), record(self, *what)))
            with pytest.raises(KeyboardInterrupt):
                merge_shards("letters", workspace=Workspace(tmp_path))
        result = merge_shards("letters", workspace=Workspace(tmp_path))
        assert content(whole) == expected, f"stopped after {last} commits"
    assert result.failures == 2


def test_a_merge_counts_the_failures_that_it_lists(parts: Path) -> None:
    with (parts / "data" / "audio.csv").open("a") as manifest:
        manifest.write("music/gone.wav,sad,test\n")  # without content, so without a key
    found = answer("cache", "merge", "timbre", "--workspace", parts)
    table = failures_path(cache_called(parts, "timbre"), "audio").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in table] == ["music/broken.wav", "music/gone.wav"]
    assert found["failures"] == 2
    assert "2 items could not be encoded" in run("cache", "merge", "timbre", "--workspace", parts).stdout


def test_shards_whose_end_is_lost_are_not_swept(tmp_path: Path) -> None:
    path = fill(tmp_path, "1-of-1", [encoded("a"), encoded("b")])
    merge_shards("letters", workspace=Workspace(tmp_path))
    with open_cache(path, SPEC) as cache:
        cache.append([encoded("c")])
    edit_ledger(path, lambda text: text.replace(b'"keys":"c"', b'"keys":"d"'))
    assert answer("cache", "gc", "--workspace", tmp_path)["found"] == []
    open_cache(path, SPEC).close()
    found = answer("cache", "gc", "--yes", "--workspace", tmp_path)
    assert {Path(one["path"]) for one in found["found"]} == {path, note_path(path)}


def test_merging_again_adds_nothing(parts: Path) -> None:
    run("cache", "merge", "timbre", "--workspace", parts)
    path = cache_called(parts, "timbre")
    before = path.read_bytes(), json.loads(note_path(path).read_text())
    found = answer("cache", "merge", "timbre", "--workspace", parts)
    assert (found["added"], found["there"]) == (0, 8)
    assert (path.read_bytes(), json.loads(note_path(path).read_text())) == before


def test_a_shard_that_is_not_here_or_grows_later_is_told_and_merged_when_it_is(tmp_path: Path) -> None:
    fill(tmp_path, "1-of-3", [encoded("a")])
    late = fill(tmp_path, "3-of-3", [encoded("b")])
    with open_cache(late, SPEC) as cache:
        cache.append([encoded("c")])
        result = merge_shards(STEM, workspace=Workspace(tmp_path))
        assert result.lacking == ("2 of 3",)
        assert any("not here: shard 2 of 3; extract it" in line for line in result.summary())
        assert len(result.writing) == 1
        assert "3-of-3.h5 is being written by process" in result.writing[0]
        cache.append([encoded("d", 3)])
    fill(tmp_path, "2-of-3", [encoded("e")])
    result = merge_shards(STEM, workspace=Workspace(tmp_path))
    assert (result.added, result.there, result.lacking, result.writing) == (2, 3, (), ())


def test_shards_join_a_cache_that_is_there(tmp_path: Path) -> None:
    whole = tmp_path / "cache" / f"{STEM}.zarr"
    with open_cache(whole, SPEC) as cache:
        cache.append([encoded("a", 2)])
        cache.record_failure("b", "of old")
    fill(tmp_path, "1-of-1", [encoded("a", 2, seed=1), encoded("b")])
    result = merge_shards(STEM, workspace=Workspace(tmp_path))
    assert (result.cache, result.added, result.there, result.failures) == (whole, 1, 1, 0)
    with open_cache(whole) as cache:
        assert list(cache) == ["a", "b"]
        assert cache["a"].equal(encoded("a", 2).value)


def test_a_shard_of_other_features_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "1-of-2", [encoded("a")])
    path = tmp_path / "cache" / f"{STEM}.shards" / "2-of-2.h5"
    other = type(SPEC)(SPEC.name, SPEC.modality, SPEC.dim, "other.pt@0123456789ab", SPEC.settings)
    with open_cache(path, other) as cache:
        cache.append([encoded("b")])
    with pytest.raises(CacheMismatch, match="letters.pt@.* other.pt@"):
        merge_shards(STEM, workspace=Workspace(tmp_path))


def test_a_whole_that_is_being_written_is_not_merged_into(tmp_path: Path) -> None:
    fill(tmp_path, "1-of-1", [encoded("a")])
    with open_cache(tmp_path / "cache" / f"{STEM}.h5", SPEC) as cache:
        cache.append([encoded("b")])
        with pytest.raises(CacheError, match="is being written by process"):
            merge_shards(STEM, workspace=Workspace(tmp_path))


def test_files_that_are_no_shards_are_left_alone(tmp_path: Path) -> None:
    path = fill(tmp_path, "1-of-1", [encoded("a")])
    (path.parent / "copy of 1-of-1.h5").write_bytes(b"x")
    (tmp_path / "cache" / "audio-empty-0123456789ab.shards").mkdir()
    assert merge_shards("letters", workspace=Workspace(tmp_path)).shards == 1


def test_shards_made_elsewhere_find_the_manifest_here(parts: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(parts, tmp_path / "elsewhere"))
    found = answer("cache", "merge", "timbre", "--workspace", moved)
    assert found["remarks"] == []
    assert features_of(moved, "timbre").ids == tuple(f"music/piece{n}.wav" for n in range(8))


def test_a_manifest_that_is_gone_is_told_and_hinders_nothing(parts: Path) -> None:
    (parts / "data" / "audio.csv").unlink()
    found = answer("cache", "merge", "timbre", "--workspace", parts)
    assert found["added"] == 8
    assert "no table of the items of audio was written: there is no manifest at" in found["remarks"][0]
