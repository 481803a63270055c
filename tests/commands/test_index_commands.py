"""`emoclim index`, and searches by it: made once, kept up to date, checked, and of use where it cannot be kept."""

import errno
import logging
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from commands import answer, mistake, run
from commands import finished as finished
from commands import workspace as workspace

from emoclim.cache import WriterLock
from emoclim.errors import CacheError
from emoclim.index import Index, build_index
from emoclim.index.numbers import NumberWriter
from emoclim.pipeline import Workspace, open_searcher


def picture(workspace: Path) -> Path:
    return min((workspace / "data" / "images" / "fear").iterdir())


def indexes(workspace: Path) -> list[Path]:
    return sorted((workspace / "cache" / "index").glob("*/index.json"))


def test_it_is_made_told_kept_and_checked(workspace: Path) -> None:
    words = ("index", "--workspace", workspace)
    made = answer(*words)
    assert {one["library"]: (one["modality"], one["state"]) for one in made} == {
        "images": ("image", "made"),
        "audio": ("audio", "made"),
    }
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file()}
    checked = answer(*words, "--verify")
    assert {(one["state"], one["recall"]) for one in checked} == {("as it was", 1.0)}
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file()} == before
    assert sum(one["bytes"] for one in answer("index", "--list", "--workspace", workspace)) >= sum(
        one["bytes"] for one in made
    )
    vectors = next(Path(made[0]["path"]).glob("vectors-*.bin"))
    vectors.write_bytes(bytes(4) + vectors.read_bytes()[4:])
    told = run(*words, "--verify", code=3).stdout
    assert f"{vectors.name} is damaged" in " ".join(told.split()).replace("- ", "-")
    shutil.rmtree(workspace / "runs")
    assert {one["state"] for one in answer("index", "--clean", "--workspace", workspace)} == {"its run is gone"}
    assert not indexes(workspace)
    assert "--run would have no effect" in mistake("index", "--list", "--run", "x", "--workspace", workspace)


def test_making_lists_tells_what_share_of_the_nearest_they_find(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("faiss")
    words = ("index", "--approximate", "--workspace", workspace)
    assert [(one["lists"], one["recall"] > 0.9) for one in answer(*words)] == [(True, True)] * 2
    assert not caplog.records
    assert [one["recall"] for one in answer(*words)] == [None] * 2  # they were there


def test_what_is_new_is_put_into_it_and_an_index_that_is_spoilt_is_made_anew(workspace: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    pieces = sorted((workspace / "data" / "audio" / "happy").iterdir())
    shutil.copytree(pieces[0].parent, album)
    (album / pieces[0].name).unlink()
    words = ("index", "--in", album, "--workspace", workspace)
    assert [(one["state"], one["items"]) for one in answer(*words)] == [("made", len(pieces) - 1)]
    shutil.copy(pieces[0], album)
    assert "up to date" in answer("index", "--list", "--workspace", workspace)[0]["state"]
    assert [(one["state"], one["items"]) for one in answer(*words)] == [("brought up to date", len(pieces))]
    (note,) = indexes(workspace)
    note.write_text("spoilt")
    (listed,) = answer("index", "--list", "--workspace", workspace, code=3)
    assert (listed["state"], str(note) in listed["problems"][0]) == ("it cannot be read", True)
    assert [(one["state"], one["items"]) for one in answer(*words)] == [("made", len(pieces))]


def test_several_threads_are_answered_alike(finished: Path) -> None:
    pictures = sorted((finished / "data" / "images").rglob("*.png"))[:6]
    alone = open_searcher(Workspace(finished), device="cpu").search(pictures)
    searcher = open_searcher(Workspace(finished), device="cpu")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: searcher.search([one]).results[0], pictures))
    assert found == alone.results


def test_where_it_cannot_be_kept_it_is_made_for_once(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = open_searcher(Workspace(workspace), device="cpu").search([picture(workspace)])
    shutil.rmtree(workspace / "cache" / "index")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("emoclim.pipeline.searching.opening.indexes.WriterLock", full)
        assert open_searcher(Workspace(workspace), device="cpu").search([picture(workspace)]) == expected
    assert "No space left" in caplog.text
    assert not indexes(workspace)
    monkeypatch.setattr(NumberWriter, "append", full)
    with pytest.raises(CacheError, match="make room"):
        open_searcher(Workspace(workspace), device="cpu").search([picture(workspace)])
    assert not indexes(workspace)


def test_an_index_that_another_makes_is_waited_for(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer("index", "--workspace", workspace)
    caplog.clear()
    caplog.set_level(logging.WARNING)
    places = [note.parent for note in indexes(workspace)]
    for place in places:
        shutil.rmtree(place)
    locks = [WriterLock(place, "index") for place in places]
    done = threading.Event()

    def release() -> None:
        for _ in range(6_000):
            if "waiting, as index" in caplog.text or done.wait(0.01):
                break
        done.wait(1)  # in which it tries again and again
        for lock in locks:
            lock.release()

    other = threading.Thread(target=release)
    other.start()
    assert len(answer("search", picture(workspace), "--workspace", workspace)[0]["found"]) == 5
    done.set()
    other.join()
    assert caplog.text.count("waiting, as index") == 1


def test_a_file_that_changes_while_it_is_indexed_is_seen_by_the_next_search(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happy, sad = (sorted((workspace / "data" / "audio" / name).iterdir()) for name in ("happy", "sad"))
    shutil.copytree(happy[0].parent, album := tmp_path / "album")

    def late(*given: Any) -> Index:
        shutil.copy(sad[0], album / happy[0].name)
        return build_index(*given)

    words = ("index", "--in", album, "--workspace", workspace)
    with monkeypatch.context() as patch:
        patch.setattr("emoclim.pipeline.searching.opening.indexes.build_index", late)
        assert answer(*words)[0]["state"] == "made"
    assert [answer(*words)[0]["state"] for _ in range(2)] == ["brought up to date", "as it was"]
    (found,) = answer("search", sad[0], "--in", album, "--workspace", workspace)
    assert found["left_out"] == [happy[0].name]
