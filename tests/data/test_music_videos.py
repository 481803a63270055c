"""Music videos: which clips are cut, that their pictures and sounds are pairs, and which videos are left out."""

import sys
from pathlib import Path

import pytest
from film_files import grey_frames, write_film

from emoclim.data import Item
from emoclim.data.datasets.music_videos import prepare
from emoclim.data.media.videos.scenes import longest_scene
from emoclim.errors import ManifestError, MissingLibrary
from emoclim.pipeline.preparation.prepare import prepare_dataset
from emoclim.pipeline.workspace import Workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos of 11 s, each of its own grey."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(12):
        frames = [frame + number for frame in grey_frames(11, 16, 16)]
        write_film(folder / f"{number:02}.mp4", frames, milliseconds=[1000 * second for second in range(11)])
    return folder


def test_clips_are_of_the_middle_and_those_of_both_modalities_are_pairs(folder: Path) -> None:
    videos = prepare(folder, middle=8.0, length=2.0, longest_scene=0).items
    sounds = prepare(folder, kind="audio", middle=8.0, length=2.0, longest_scene=0).items
    first = [item for item in videos if item.group == "00.mp4"]
    assert [(item.start, item.duration) for item in first] == [(1.0, 2.0), (3.0, 2.0), (5.0, 2.0), (7.0, 2.0)]
    assert len({item.pair for item in videos}) == len(videos) == 48
    assert [(item.pair, item.start) for item in videos] == [(item.pair, item.start) for item in sounds]


@pytest.mark.parametrize(("middle", "starts"), [(120.0, [1.0, 5.0]), (3.0, [])])
def test_a_video_shorter_than_the_middle_has_what_whole_clips_there_are(
    folder: Path, middle: float, starts: list[float]
) -> None:
    found = prepare(folder, middle=middle, length=4.0, longest_scene=0)
    assert [item.start for item in found.items if item.group == "00.mp4"] == starts
    assert {one.reason for one in found.left_out} == (set() if starts else {"shorter than a clip of 4 s"})


def test_splits_keep_videos_whole_but_for_that_of_the_code_which_tells_so(folder: Path, tmp_path: Path) -> None:
    def placed(split: str) -> tuple[dict[str | None, set[str | None]], str]:
        options = {"middle": 8.0, "length": 2.0, "longest_scene": 0.0}
        where = {"output": tmp_path / f"{split}.csv", "workspace": Workspace(tmp_path), "split": split}
        result = prepare_dataset("music_videos", folder, options=options, **where)
        parts: dict[str | None, set[str | None]] = {}
        for item in result.items:
            parts.setdefault(str(item.pair).partition("#")[0], set()).add(item.split)
        return parts, " ".join([result.description.splits.get(split, ""), *result.notes])

    whole, _ = placed("80-10-10")
    assert {len(found) for found in whole.values()} == {1}
    torn, told = placed("paper-code")
    assert any(found == {"train", "val"} for found in torn.values())
    assert "leaks" in told
    assert "groups lie in two parts" in told


def test_lengths_that_make_no_clips_are_refused(folder: Path) -> None:
    with pytest.raises(ManifestError, match="positive"):
        prepare(folder, length=0.0, longest_scene=0)


def test_a_video_with_a_long_scene_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("scenedetect", reason="scenes need the extra [scenes]")
    dark = grey_frames(1)[0]
    write_film(tmp_path / "cut.mp4", [dark] * 40 + [dark + 200] * 40 + [dark] * 40)
    write_film(tmp_path / "still.mp4", [dark] * 120)
    assert longest_scene(tmp_path / "cut.mp4") == pytest.approx(1.6, abs=0.1)
    found = prepare(tmp_path, middle=4.0, length=2.0, longest_scene=3.0)
    assert {item.group for item in found.items} == {"cut.mp4"}
    assert [(one.id, one.reason) for one in found.left_out] == [("still.mp4", "a scene of over 3 s")]


def test_the_library_that_tells_scenes_apart_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(MissingLibrary, match=r"emoclim\[scenes\].* longest_scene=0"):
        prepare(folder)


def test_a_video_whose_length_cannot_be_read_stands_whole_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "odd.mp4").write_bytes(b"no film")
    found = prepare(tmp_path, longest_scene=0)
    assert found.items == (Item("odd.mp4#0", tmp_path / "odd.mp4", group="odd.mp4", pair="odd.mp4#0"),)
    assert "1 videos stand whole" in found.notes[0]
