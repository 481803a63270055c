"""`emoclim cache gc` and `list` among links, pipes and writers: what is in use or lies elsewhere is left alone."""

import json
import os
import shutil
from pathlib import Path

import pytest
from cache_workspace import answer, run, write_music
from contracts import SPEC, encoded
from typer.testing import CliRunner, Result

from emoclim.cache import CacheNote, note_or_new, open_cache, read_note
from emoclim.cli import app
from emoclim.config import ExtractConfig
from emoclim.pipeline.caches import collect
from emoclim.pipeline.caches.collect import collect_leftovers
from emoclim.pipeline.caches.merge import merge_shards
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.workspace import Shard, Workspace

STEM = f"{SPEC.modality}-{SPEC.name}-{SPEC.digest()}"


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed just now is no reason to keep it."""
    monkeypatch.setattr(collect, "RECENT", 0)


@pytest.fixture
def caches(tmp_path: Path) -> Path:
    """Folder of one cache."""
    path = tmp_path / "cache" / f"{STEM}.h5"
    with open_cache(path, SPEC) as cache:
        cache.append([encoded("a", 2)])
    CacheNote(path, SPEC, None, {}).save()
    return path.parent


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", [".lock", ".writer"])
def test_what_is_gone_before_it_is_looked_at_is_not_told(
    caches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    (held := caches / f"{STEM}.h5{suffix}").touch()
    monkeypatch.setattr(collect, "who_writes", lambda _: held.unlink(missing_ok=True))  # its writer ends just now
    result = collect_leftovers(Workspace(tmp_path), delete=True)
    assert (result.found, result.kept) == ((), ())


@pytest.mark.parametrize("suffix", [".partial", ".json"])
def test_what_a_writer_took_up_meanwhile_is_kept(
    caches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = caches / "audio-new.h5"
    left = path.with_name(path.name + suffix)
    left.write_text("{}")
    writers = []

    def size_of(_: Path) -> int:
        writers.append(open_cache(path, SPEC))  # between the look and the deed
        left.write_text("in use")
        return 0

    monkeypatch.setattr(collect, "size_of", size_of)
    result = collect_leftovers(Workspace(tmp_path), delete=True)
    assert not result.found
    assert [str(left) in told for told in result.kept] == [True]
    assert left.read_text() == "in use"
    writers[0].close()


def test_shards_are_kept_until_the_note_of_their_whole_names_their_manifests(tmp_path: Path) -> None:
    write_music(tmp_path)
    workspace = Workspace(tmp_path)
    for index in (1, 2):
        config = ExtractConfig(encoder="timbre", workers=0)
        extract_features("audio", config=config, workspace=workspace, shard=Shard(index, 2))
    cache = merge_shards("timbre", workspace=workspace).cache
    shards = len(names(cache.with_suffix(".shards")))
    note = read_note(cache)
    cache.with_name(f"{cache.name}.json").unlink()  # as where a merge was killed when it had copied everything
    assert not collect_leftovers(workspace, delete=True).found
    note.save()
    with open_cache(cache, note.spec):
        assert not collect_leftovers(workspace, delete=True).found
    assert len(collect_leftovers(workspace, delete=True).found) == shards
    assert not cache.with_suffix(".shards").exists()


@pytest.mark.parametrize("suffix", [".shards", ".waveforms"])
def test_a_link_to_a_folder_is_not_swept(caches: Path, tmp_path: Path, suffix: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".x.h5.999999999.partial").write_text("not ours")
    (caches / f"audio-x{suffix}").symlink_to(elsewhere)
    assert not collect_leftovers(Workspace(tmp_path), delete=True).found
    assert answer("cache", "list", "--workspace", tmp_path)["shards"] == {}
    run("cache", "merge", "audio-x", "--workspace", tmp_path, code=2)
    assert names(elsewhere) == [".x.h5.999999999.partial"]


def test_links_and_pipes_are_swept_themselves(caches: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not ours")
    (tmp_path / "folder").mkdir()
    kept = names(caches)
    for name, to in {"a.h5.lock": "file", "b.h5.writer": "nowhere", "c.h5.json": "file", "d.partial": "folder"}.items():
        (caches / name).symlink_to(tmp_path / to)
    os.mkfifo(caches / "e.h5.partial")
    assert len(collect_leftovers(Workspace(tmp_path), delete=True).found) == 5
    assert names(caches) == kept
    assert (tmp_path / "file").read_text() == "not ours"
    assert (tmp_path / "folder").is_dir()


def test_what_is_no_cache_is_told_in_the_list_and_hinders_nothing(caches: Path, tmp_path: Path) -> None:
    os.mkfifo(caches / "audio-pipe.h5")
    (caches / "audio-dangling.h5").symlink_to("nowhere")
    (caches / "audio-loop.zarr").symlink_to("audio-loop.zarr")
    (caches / "audio-device.h5").symlink_to("/dev/zero")
    (caches / "audio-folder.h5").mkdir()
    shutil.copy(caches / f"{STEM}.h5", caches / "audio-noted.h5")
    (tmp_path / "diary").write_text("a secret\n")
    (caches / "audio-noted.h5.json").symlink_to(tmp_path / "diary")
    (caches / "audio-file.shards").write_text("no folder")
    found = {one["name"]: one for one in answer("cache", "list", "--workspace", tmp_path)["caches"]}
    assert found.pop(STEM)["problem"] is None
    assert len(found) == 6
    for one in found.values():
        assert one["problem"]
        assert "secret" not in one["problem"]  # nothing of a file that a link leads to
    answer("cache", "gc", "--yes", "--workspace", tmp_path)
    assert len(names(caches)) == 10


def forge(note: Path, **fields: object) -> None:
    note.write_text(json.dumps(json.loads(note.read_text()) | fields))


def source(name: str = "m", path: str = "../data/m.csv") -> dict[str, object]:
    return {"name": name, "path": path, "digest": "0", "unlabelled": False}


def outcome(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


FORGED: dict[str, dict[str, object]] = {
    "versions that are none": {"made": [{"versions": [1]}]},
    "time that is none": {"made": [{"time": [1]}]},
    "name with a slash": {"sources": [source("../../m")]},
    "name with NUL": {"sources": [source("\0")]},
    "path with NUL": {"sources": [source(path="\0")]},
    "checkpoint with NUL": {"checkpoint": "\0"},
    "settings of settings": {"settings": {"a": {}}},
    "spec of another kind": {"spec": {"name": 1}},
    "number of 70 bits": {"made": [{"encoded": 2**70}]},
    "long name": {"sources": [source("n" * 300)]},
    "long path": {"sources": [source(path="n" * 300)]},
    "round in circles": {"sources": [source(path="loop")]},
}


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED)
def test_a_forged_note_is_told(caches: Path, tmp_path: Path, fields: dict[str, object]) -> None:
    (caches / "loop").symlink_to("loop")
    forge(caches / f"{STEM}.h5.json", **fields)
    for command in ("info", "verify", "export"):
        more = [tmp_path / "out.npz"] if command == "export" else []
        assert outcome("cache", command, STEM, *more, "--workspace", tmp_path).exit_code in (0, 2, 3)
    for command in ("list", "gc"):
        answer("cache", command, "--workspace", tmp_path)


def test_a_note_shows_nothing_of_a_file_that_it_calls_a_manifest(caches: Path, tmp_path: Path) -> None:
    (tmp_path / "diary").write_text("a secret\nb\n")
    forge(caches / f"{STEM}.h5.json", sources=[source(path="../diary")])
    for command in ("info", "verify", "export", "diff"):
        more = {"export": [tmp_path / "out.npz"], "diff": [STEM]}.get(command, [])
        told = outcome("cache", command, STEM, *more, "--workspace", tmp_path)
        assert "secret" not in told.output


def test_a_note_of_other_features_is_told_and_written_anew(caches: Path, tmp_path: Path) -> None:
    path, note = caches / f"{STEM}.h5", caches / f"{STEM}.h5.json"
    forge(note, spec=SPEC.to_dict() | {"dim": 5}, settings={"mine": 1})
    told = answer("cache", "verify", STEM, "--workspace", tmp_path, code=3)
    assert ["dim: 5" in problem for problem in told["problems"]] == [True]
    assert note_or_new(CacheNote(path, SPEC, None, {})).spec == SPEC
    forge(note, spec=SPEC.to_dict())
    assert note_or_new(CacheNote(path, SPEC, None, {})).settings == {"mine": 1}
    assert answer("cache", "verify", STEM, "--workspace", tmp_path)["sound"]


def test_what_a_killed_training_left_in_its_run_is_swept(tmp_path: Path) -> None:
    run_folder = tmp_path / "runs" / "001"
    dead, living = (run_folder / f".unfinished.{process}.00000000.partial" for process in (2**30, os.getpid()))
    for left in (dead, living):
        left.mkdir(parents=True)
        (left / "0-1.safetensors").write_bytes(b"parameters")
    (run_folder / "settings.json").write_text("{}")
    result = collect_leftovers(Workspace(tmp_path), delete=True)
    assert [left.path for left in result.found] == [dead]
    assert names(run_folder) == [living.name, "settings.json"]
