"""`emoclim cache list`, `info`, `verify`, `diff` and `gc`: what they tell of sound caches, and of others."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cache_workspace import answer, cache_called, imported, run
from cache_workspace import extracted as extracted
from cache_workspace import root as root
from contracts import SPEC

from emoclim.cache import note_path, open_cache
from emoclim.data.features import Features
from emoclim.errors import CacheError
from emoclim.pipeline.caches.diff import FeatureDiff, compare_features
from emoclim.pipeline.caches.inventory import shown_size
from emoclim.pipeline.find_caches import find_cache
from emoclim.pipeline.workspace import Workspace

OLD = time.time() - 3600
CHANGED = 7  # a piece of several segments


def test_list_shows_caches_with_the_newest_first(root: Path) -> None:
    imported(root, n_items=18)
    caches = answer("cache", "list", "--workspace", root)["caches"]
    assert [(one["spec"]["name"], one["items"], one["failures"], one["manifests"]) for one in caches] == [
        ("given", 18, 0, ["many"]),
        ("timbre", 8, 1, ["audio"]),
    ]
    assert [one["segments"] > 8 for one in caches] == [False, True]
    assert caches[0]["segments"] == 4
    assert all(one["bytes"] == Path(one["path"]).stat().st_size and not one["problem"] for one in caches)
    shown = run("cache", "list", "--workspace", root).stdout
    assert "timbre" in shown
    assert "many" in shown


def test_list_of_nothing_is_empty(tmp_path: Path) -> None:
    assert answer("cache", "list", "--workspace", tmp_path) == {"caches": [], "shards": {}, "waveforms": []}
    assert run("cache", "list", "--workspace", tmp_path).stdout == ""
    assert "nothing is left over" in run("cache", "gc", "--workspace", tmp_path).stdout


def test_list_tells_who_writes_and_what_cannot_be_read(root: Path) -> None:
    note = find_cache(Workspace(root), "timbre")
    (root / "cache" / "audio-spoilt-0123456789ab.h5").write_bytes(b"nothing of use")
    with open_cache(note.path, note.spec):
        caches = {one["name"]: one for one in answer("cache", "list", "--workspace", root)["caches"]}
        shown = run("cache", "list", "--workspace", root).stdout
    assert f"process {os.getpid()} on host" in caches[note.path.stem]["writer"]
    assert caches[note.path.stem]["items"] == 8
    assert "is no feature cache" in caches["audio-spoilt-0123456789ab"]["problem"]
    assert "writing" in shown
    assert "cannot be read" in shown
    assert f"is being written by process {os.getpid()}" in shown


def test_info_tells_the_spec_the_states_and_the_making(root: Path) -> None:
    info = answer("cache", "info", "timbre", "--workspace", root)
    assert info["manifests"] == {"audio": {"committed": 8, "failed": 1}}
    assert [run["encoded"] for run in info["made"]] == [8]
    assert info["warnings"] == []
    shown = run("cache", "info", "timbre", "--workspace", root).stdout
    assert "manifest audio" in shown
    assert "8 committed, 1 failed" in shown
    assert "8 items made at 20" in shown
    assert "overlap" in shown


def test_versions_of_then_that_are_not_those_of_now_are_told(root: Path) -> None:
    path = note_path(cache_called(root, "timbre"))
    note = json.loads(path.read_text())
    note["made"][0]["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(note))
    (told,) = answer("cache", "info", "timbre", "--workspace", root)["warnings"]
    assert f"torch 1.0, now {torch.__version__.split('+')[0]}" in told
    assert "--re-encode" in told
    assert told in run("cache", "verify", "timbre", "--workspace", root).stdout


@pytest.mark.parametrize(
    "way", ["stem", "name", "path", "digest", "part of the digest", "beginning", "encoder", "manifest"]
)
def test_a_cache_has_many_names(root: Path, way: str) -> None:
    path = cache_called(root, "timbre")
    digest = path.stem[-12:]
    name = {
        "stem": path.stem,
        "name": path.name,
        "path": str(path),
        "digest": digest,
        "part of the digest": digest[:4],
        "beginning": "audio-tim",
        "encoder": "timbre",
        "manifest": "audio",
    }[way]
    assert find_cache(Workspace(root), name).path == path


def test_names_of_none_or_of_several_caches_are_told(root: Path) -> None:
    path = imported(root, n_items=9)
    imported(root, n_items=18)
    with pytest.raises(CacheError, match=r"'given' is the name of 2 caches \(audio-given-.*, audio-given-.*\)"):
        find_cache(Workspace(root), "given")
    assert find_cache(Workspace(root), path.stem).path == path
    told = run("cache", "info", "clap", "--workspace", root, code=2).stderr
    assert "there is no cache in" in told
    assert "called 'clap' (there are: audio-" in told


def test_an_extraction_that_was_stopped_before_its_note_can_be_looked_at(root: Path) -> None:
    path = cache_called(root, "timbre")
    note_path(path).unlink()
    (one,) = answer("cache", "list", "--workspace", root)["caches"]
    assert (one["items"], one["spec"]["name"], one["manifests"]) == (8, "timbre", [])
    assert answer("cache", "info", path.stem, "--workspace", root)["made"] == []
    assert answer("cache", "verify", "timbre", "--workspace", root)["sound"] is True


def test_diff_of_a_cache_with_itself_and_with_a_copy_is_nothing(root: Path, tmp_path: Path) -> None:
    path = cache_called(root, "timbre")
    other = Path(shutil.copy(path, tmp_path / "other.h5"))
    for one in (path, other):
        found = answer("cache", "diff", "timbre", one, "--workspace", root)
        assert (found["spec"], found["only_one"], found["only_other"]) == ([], [], [])
        assert (found["common"]["items"], found["common"]["difference"], found["common"]["cosine"]) == (8, 0, 1)
    assert "8 items are equal, bit for bit" in run("cache", "diff", "timbre", other, "--workspace", root).stdout


def test_diff_tells_specs_items_and_numbers(tmp_path: Path) -> None:
    one, other = imported(tmp_path, name="one", n_items=18), imported(tmp_path, name="two", n_items=9, shift=1e-3)
    found = answer("cache", "diff", one.stem, other.stem, "--workspace", tmp_path)
    assert [line.split(":")[0] for line in found["spec"]] == ["checkpoint", "name"]
    assert found["only_one"] == [f"item {n}" for n in range(9, 18)]
    assert found["only_other"] == []
    assert found["common"]["items"] == 9
    assert found["common"]["difference"] > 0
    shown = run("cache", "diff", one.stem, other.stem, "--workspace", tmp_path).stdout
    assert "9 items are only here: item 9, item 10, item 11, item 12, item 13 and 4 more" in shown
    assert "name: one here, two there" in shown


def test_a_gap_is_as_wide_as_the_farthest_number_of_values_and_segments() -> None:
    segments = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.5, 0.25]])
    offsets, starts = torch.tensor([0, 2, 2, 3]), torch.zeros(3)
    one = Features(SPEC, ("a", "b", "c"), torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]), segments, offsets, starts)
    assert compare_features(one, one) == FeatureDiff(3, 0.0, 1.0, "a", 0)
    value = compare_features(one, replace(one, values=one.values + torch.tensor([[0.0], [0.5], [0.0]])))
    assert (value.worst, value.difference, value.recut) == ("b", 0.5, 0)
    assert value.cosine == pytest.approx(1.5 / 2.5**0.5)
    part = compare_features(one, replace(one, segments=segments + torch.tensor([[0.0], [1.0], [0.0]])))
    assert (part.worst, part.difference, part.cosine) == ("a", 0.25, 1.0)
    cut = compare_features(
        one, replace(one, segments=segments[:2], starts=starts[:2], offsets=torch.tensor([0, 2, 2, 2]))
    )
    assert (cut.recut, cut.difference) == (1, 0.0)
    assert compare_features(one, replace(one, segments=None, offsets=None, starts=None)) == FeatureDiff(
        3, 0.0, 1.0, "a", 0
    )
    assert value.merged(part) == FeatureDiff(6, 0.5, value.cosine, "b", 0)
    assert FeatureDiff().merged(part) == part


def test_diff_knows_items_by_id_where_one_cache_was_imported(root: Path) -> None:
    run("cache", "export", "timbre", root / "out.npz", "--workspace", root)
    run("cache", "import", root / "out.npz", "--name", "copy", "--modality", "audio", "--workspace", root)
    found = answer("cache", "diff", "timbre", "copy", "--workspace", root)
    assert (found["common"]["items"], found["common"]["difference"], found["only_one"]) == (8, 0, [])
    imported(root, n_items=9)
    assert answer("cache", "diff", "timbre", "given", "--workspace", root)["common"] is None
    assert "cannot be compared" in run("cache", "diff", "timbre", "given", "--workspace", root).stdout


def old(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (OLD, OLD))
    return path


def test_gc_finds_what_nobody_needs_and_deletes_it_when_told(root: Path) -> None:
    caches = root / "cache"
    gone = caches / "audio-gone-0123456789ab.h5"
    left = {
        old(caches / ".content.json.999999999.partial"),
        old(caches / f"{gone.name}.partial"),
        old(caches / f"{gone.name}.json"),
        old(caches / f"{gone.stem}.audio.items.csv"),
        old(caches / f"{gone.stem}.audio.failures.csv"),
        old(caches / f"{gone.name}.writer", b'{"host": "elsewhere"}'),
        old(caches / ".image-x-0123456789ab.h5.999999999.partial" / "image-x-0123456789ab.h5.partial").parent,
    }
    os.utime(caches / ".image-x-0123456789ab.h5.999999999.partial", (OLD, OLD))
    before = sorted(path.name for path in caches.iterdir())
    found = answer("cache", "gc", "--workspace", root)
    assert {Path(one["path"]) for one in found["found"]} == left
    assert found["deleted"] is False
    assert sorted(path.name for path in caches.iterdir()) == before
    assert "delete these" in run("cache", "gc", "--workspace", root).stdout
    assert answer("cache", "gc", "--yes", "--workspace", root)["deleted"] is True
    assert sorted(path.name for path in caches.iterdir()) == sorted(set(before) - {path.name for path in left})
    assert answer("cache", "verify", "timbre", "--workspace", root)["sound"] is True
    assert "nothing is left over" in run("cache", "gc", "--workspace", root).stdout


def test_gc_keeps_what_may_be_in_use(root: Path) -> None:
    note = find_cache(Workspace(root), "timbre")
    own = old(root / "cache" / f".x.{os.getpid()}.partial")
    recent = root / "cache" / ".y.999999999.partial"
    recent.touch()
    with open_cache(note.path, note.spec):
        written = old(note.path.with_name(f"{note.path.name}.partial"))
        found = answer("cache", "gc", "--yes", "--workspace", root)
    assert found["found"] == []
    assert len(found["kept"]) == 5  # and the lock, and who holds it
    assert f"process {os.getpid()} may be writing it" in found["kept"][0]
    assert own.exists()
    assert recent.exists()
    assert written.exists()


def test_gc_knows_the_writer_of_what_is_written_aside(root: Path) -> None:
    note = find_cache(Workspace(root), "timbre")
    aside = old(note.path.with_name(f".{note.path.name}.999999999.partial"))
    with open_cache(note.path, note.spec):
        found = answer("cache", "gc", "--yes", "--workspace", root)
    assert found["found"] == []
    assert f"{aside} is kept: {note.path.name} is being written by process {os.getpid()}" in found["kept"][0]
    assert aside.exists()


def test_gc_tells_of_caches_without_manifests_and_keeps_them(root: Path) -> None:
    path = cache_called(root, "timbre")
    (root / "data" / "audio.csv").unlink()
    found = answer("cache", "gc", "--yes", "--workspace", root)
    assert found["found"] == []
    assert f"{path} is kept, but its manifests are gone" in found["told"][0]
    assert path.exists()


def test_sizes_are_told_as_people_do() -> None:
    assert [shown_size(size) for size in (0, 999, 1500, 2_170_000, 7.5e10, 3e12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.17 MB",
        "75 GB",
        "3 TB",
    ]


def test_gc_asks_for_no_process_on_windows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = old(root / "cache" / ".x.999999999.partial")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("on Windows this sends Ctrl-C"))
    found = answer("cache", "gc", "--yes", "--workspace", root)
    assert "process 999999999 may be writing it" in found["kept"][0]
    assert partial.exists()


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        '{"spec": {}}',
        '{"spec": {}, "checkpoint": null, "settings": {}, "sources": 3, "made": []}',
        "[" * 9999,
    ],
    ids=["empty", "list", "too little", "other types", "deep"],
)
def test_extraction_writes_a_damaged_note_anew(root: Path, note: str) -> None:
    path = cache_called(root, "timbre")
    note_path(path).write_text(note)
    told = run("cache", "info", path.stem, "--workspace", root, code=2).stderr
    assert "extract or import its manifest again" in told
    run("extract", "audio", "--encoder", "timbre", "--workspace", root, "--workers", 0, code=3)
    assert answer("cache", "info", "timbre", "--workspace", root)["manifests"] == {
        "audio": {"committed": 8, "failed": 1}
    }


def test_import_writes_a_damaged_note_anew(tmp_path: Path) -> None:
    path = imported(tmp_path, n_items=9)
    note_path(path).write_text("{")
    imported(tmp_path, n_items=9)
    assert answer("cache", "info", "given", "--workspace", tmp_path)["manifests"] == {"many": {"committed": 9}}
