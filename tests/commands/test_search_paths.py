"""`emoclim search --in PATH`: a folder or manifest of which what lacks is encoded first, by the encoder of the run."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import answer, mistake, run
from commands import finished as finished
from commands import workspace as workspace

from emoclim.cache import read_note


@pytest.fixture
def album(workspace: Path, tmp_path: Path) -> Path:
    """A folder with subfolders, of recordings and their covers, that nobody has seen."""
    (folder := tmp_path / "album").mkdir()
    for n, piece in enumerate(sorted((workspace / "data" / "audio" / "happy").iterdir())[:3]):
        (folder / f"disc {n}").mkdir()
        shutil.copy(piece, folder / f"disc {n}" / "track.flac")
    shutil.copy(picture(workspace), folder / "cover.png")
    return folder


def picture(workspace: Path, label: str = "fear") -> Path:
    return min((workspace / "data" / "images" / label).iterdir())


def searched(workspace: Path, album: Path, query: Path | None = None) -> list[str]:
    words = ("search", query or picture(workspace), "--in", album, "--top", 99, "--workspace", workspace)
    (found,) = answer(*words)
    assert {one["label"] for one in found["found"]} == {None}
    return sorted(one["id"] for one in found["found"])


def times(workspace: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file()}


def test_what_a_folder_holds_is_encoded_once_and_searched(workspace: Path, album: Path) -> None:
    tracks = [f"disc {n}/track.flac" for n in range(3)]
    assert searched(workspace, album) == tracks
    before = times(workspace)
    assert searched(workspace, album) == tracks
    assert times(workspace) == before  # not even that it is as it was is written


def test_new_changed_and_gone_files_are_noticed(workspace: Path, album: Path) -> None:
    searched(workspace, album)
    shutil.copy(album / "disc 0" / "track.flac", album / "new.flac")
    (album / "disc 1" / "track.flac").unlink()
    other = max((workspace / "data" / "audio" / "sad").iterdir())
    shutil.copy(other, album / "disc 2" / "track.flac")
    assert searched(workspace, album) == ["disc 0/track.flac", "disc 2/track.flac", "new.flac"]
    (found,) = answer("search", other, "--in", album, "--top", 1, "--workspace", workspace)
    assert found["left_out"] == ["disc 2/track.flac"]  # music is searched there, not its covers
    shutil.rmtree(workspace / "data" / "audio")
    (found,) = answer("search", album / "disc 2" / "track.flac", "--in", album, "--workspace", workspace)
    assert found["left_out"] == ["disc 2/track.flac"]


def test_a_file_that_fails_is_told_and_the_others_are_searched(
    workspace: Path, album: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (album / "bad.flac").write_bytes(b"no sound")
    assert len(searched(workspace, album)) == 3
    assert sum("failed: bad.flac: " in text for text in caplog.messages) == 1
    shutil.copy(album / "disc 0" / "track.flac", album / os.fsdecode(b"caf\xe9.flac"))
    for _ in range(2):  # whether anything is encoded or not
        caplog.clear()
        assert len(searched(workspace, album)) == 3
        assert sum("no UTF-8" in text for text in caplog.messages) == 1
    caplog.clear()
    before = times(workspace)
    assert len(searched(workspace, album)) == 3
    assert "1 of 4 items" in caplog.text
    assert times(workspace) == before
    for track in album.glob("*/track.flac"):
        track.write_bytes(b"no sound either")
    words = ("search", picture(workspace), "--in", album, "--workspace", workspace)
    assert "nothing to search in" in run(*words, code=2).stderr


def test_the_modality_is_that_of_most_files_and_of_equally_many_another_than_the_querys(
    workspace: Path, album: Path, tmp_path: Path
) -> None:
    song = min((workspace / "data" / "audio" / "sad").iterdir())
    assert len(searched(workspace, album, song)) == 3
    for n in range(2):
        (album / f"disc {n}" / "track.flac").unlink()
    assert searched(workspace, album, song) == ["cover.png"]
    assert searched(workspace, album) == ["disc 2/track.flac"]
    alone = tmp_path / "pictures"
    shutil.copytree(workspace / "data" / "images" / "sadness", alone)
    assert len(searched(workspace, alone)) == len(list(alone.iterdir()))
    table = tmp_path / "list.csv"
    table.write_text("id,path,label\n" + "2,album/disc 2/track.flac,happy\n")
    assert searched(workspace, table) == ["2"]


def test_what_was_extracted_with_labels_keeps_them(workspace: Path) -> None:
    new = workspace / "data" / "audio" / "happy" / "new.flac"
    soundfile.write(new, np.sin(np.arange(22_050) / 9), 22_050)
    (workspace / "data" / "audio.csv").unlink()
    run("extract", "audio", workspace / "data" / "audio", "--encoder", "timbre", "--workspace", workspace)
    new.unlink()
    words = ("search", picture(workspace), "--in", workspace / "data" / "audio", "--workspace", workspace)
    assert all(one["label"] for one in answer(*words)[0]["found"])
    (cache,) = (workspace / "cache").glob("audio-*.h5")
    assert not read_note(cache).sources[-1].unlabelled


def test_paths_that_cannot_be_searched_are_told(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").write_text("nothing")
    query = picture(workspace)
    for name, told in (
        (tmp_path / "empty", "holds no image or audio"),
        (tmp_path / "gone", "no folder or manifest, and no library called"),
        (query, "is a single file"),
    ):
        assert told in mistake("search", query, "--in", name, "--workspace", workspace)
    before = times(workspace)
    gone = tmp_path / "gone.png"
    assert "gone.png" in mistake("search", gone, "--in", workspace / "data" / "audio", "--workspace", workspace)
    assert times(workspace) == before  # a query that is wrong is told before anything is encoded


def test_home_may_be_meant_by_its_sign(workspace: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(album.parent))
    (found,) = answer("search", picture(workspace), "--in=~/album", "--workspace", workspace)
    assert found["library"] == "album"


def test_two_libraries_for_one_search_are_refused(workspace: Path, album: Path) -> None:
    assert "--in" in mistake("search", picture(workspace), "--in", album, "--in", "audio", "--workspace", workspace)
