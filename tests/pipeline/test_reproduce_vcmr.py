"""`emoclim reproduce vcmr` on generated videos, with colours of their pictures in the place of CLIP."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from commands import answer
from reproduced import rewrite

from emoclim.data.generated.videos import generate_videos

pytest.importorskip("audiomentations", reason="augmentations need the extra [augment]")
pytest.importorskip("av", reason="videos need the extra [media]")

QUICK = "batch_size = 2\nepochs = 1\nbatches_per_epoch = 1\nval_batches = 1\n"
SPLITS = ("train", "train", "val", "test")
SECONDS = 4  # of a passage


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of videos as audio, as video and with tags."""
    root = tmp_path_factory.mktemp("vcmr")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("music", "videos"):
            patch.setattr(f"emoclim.data.generated.{module}.SECONDS", SECONDS)
        told = generate_videos(root / "data" / "films", seed=1, count=len(SPLITS), passages=2)
    rows = [
        (f"films/{n:03}.mp4", f"{n}-{place}", SECONDS * place, SECONDS, n, f"clip {n} {place}", SPLITS[n], emotion)
        for n, emotions in enumerate(told)
        for place, emotion in enumerate(emotions)
    ]
    columns = "path id start duration group pair split tags"
    for name in ("audio", "video"):
        rewrite(root / "data" / f"{name}.csv", columns.removesuffix(" tags"), [row[:-1] for row in rows])
    rewrite(root / "data" / "tagging.csv", columns, rows)
    (root / "quick.toml").write_text(QUICK)
    return root


def reproduce(root: Path, *more: object, code: int = 0) -> Any:
    words: list[object] = ["reproduce", "vcmr", *more, "--encoder", "clip_video=colour_video"]
    words += ["--setting", "sample_cnn.length=49152", "--config", root / "quick.toml", "--workspace", root]
    return answer(*words, "--workers", 0, "--device", "cpu", code=code)


def test_both_arms_are_made_the_second_from_the_first(root: Path) -> None:
    planned = {row["row"]: row for row in reproduce(root, "table1", "--rows", "mtat", "--explain")["rows"]}
    assert {row["state"] for row in planned.values()} == {"to do"}
    conditioned = reproduce(root, "table1", "--rows", "vcmr-mtat")["rows"][0]
    assert conditioned["runs"] == planned["vcmr-mtat"]["runs"]
    runs = {path.name for path in (root / "runs").iterdir()}
    assert runs == {run for row in planned.values() for run in row["runs"]}  # that of sound alone, which it starts with
    settings = json.loads((root / "runs" / conditioned["runs"][0] / "settings.json").read_text())
    start = settings["heads"][0]["config"]["encoder"]
    assert start["unfreeze"] == "after:4"
    assert settings["libraries"].keys() == {"audio", "video"}
    both = reproduce(root, "table1", "--rows", "mtat")
    assert {path.name for path in (root / "runs").iterdir()} == runs
    lines = {line["title"]: line for line in both["table"]["lines"] if line["own"]}
    assert lines.keys() == {"Audio-only, MTAT", "VCMR, MTAT"}
    for row in both["rows"]:
        report = json.loads((root / row["reports"][0]).read_text())
        assert (report["run"], report["items"]) == (row["runs"][0], {"train": 4, "val": 2, "test": 2})
        assert "vcmr-head" in row["reports"][0]
        told = str(row["departures"])
        assert row["mark"].startswith("miniature: ")
        assert "sample_cnn has length=49152 (98415)" in told
        assert "audio.csv has 8 items, where the paper had 161,200" in told
        assert ("colour_video stands in for clip_video" in told) == row["row"].startswith("vcmr")
        assert "with augmentations" not in told  # those of the preset


def test_the_preset_of_the_code_is_another_training(root: Path) -> None:
    words = ("table1", "--rows", "mtat", "--explain")
    paper, code = (
        {row["row"]: row for row in reproduce(root, *words, *more)["rows"]} for more in ((), ("--preset", "paper-code"))
    )
    assert all(paper[name]["runs"] != code[name]["runs"] for name in paper)
    assert "first 90 %" not in str(code["vcmr-mtat"]["departures"])
    assert "there, in 16" in str(code["vcmr-mtat"]["departures"])


def test_figures_measure_encoders_that_are_there(root: Path) -> None:
    with (root / "data" / "tagging.csv").open(newline="") as file:
        first, *rows = csv.reader(file)
    genres = dict(
        zip(sorted({row[-1] for row in rows}), ("rock", "slow", "piano", "vocal", "beat", "pop"), strict=False)
    )
    rewrite(root / "data" / "mtat.csv", " ".join(first), [(*row[:-1], genres[row[-1]]) for row in rows])
    runs = {path.name for path in (root / "runs").iterdir()}
    tags = ("--tagging", root / "data" / "mtat.csv")
    groups = reproduce(root, "figure2", "--rows", "audio-only", *tags)
    (line,) = (line for line in groups["table"]["lines"] if line["own"])
    assert line["own"].keys() <= {"genre", "mood", "instrument", "vocals", "other"}
    assert line["own"]
    shares = reproduce(root, "figure3", "--rows", "audio-only-mtat", *tags)
    (line,) = (line for line in shares["table"]["lines"] if line["own"])
    assert "80 % ROC-AUC" in line["own"]
    assert {path.name for path in (root / "runs").iterdir()} == runs


def test_what_is_missing_is_told_with_the_words_that_make_it(root: Path, tmp_path: Path) -> None:
    rows = {row["row"]: row for row in reproduce(root, "table1", "--explain")["rows"]}
    assert rows["vcmr-mtat"]["missing"] == []
    assert rows["vcmr-mtg"]["missing"] == [f"manifest {root / 'data' / 'moodtheme.csv'}"]
    notes = str(reproduce(tmp_path_with(root, tmp_path), "table1", "--explain")["notes"])
    assert "emoclim prepare music_videos FOLDER --option kind=audio" in notes
    assert "emoclim prepare mtg_jamendo FOLDER --output data/moodtheme.csv" in notes
    assert list(tmp_path.iterdir()) == [tmp_path / "quick.toml"]


def tmp_path_with(root: Path, empty: Path) -> Path:
    """An empty workspace with the same settings."""
    (empty / "quick.toml").write_text((root / "quick.toml").read_text())
    return empty
