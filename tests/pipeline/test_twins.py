"""Files that lie twice under two names: read once, in one split, and no candidates of each other."""

import csv
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import answer
from commands import finished as finished
from commands import workspace as workspace

from emoclim.data import content


def write_twins(workspace: Path, columns: Sequence[str]) -> list[str]:
    """Copy each picture beside itself, and list both with some columns only; paths of the originals."""
    manifest = workspace / "data" / "images.csv"
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        shutil.copy(manifest.parent / row["path"], manifest.parent / twin(row["path"]))
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", *columns], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        writer.writerows(row | {"path": twin(row["path"])} for row in rows)
    return [row["path"] for row in rows]


def twin(path: str) -> str:
    return f"{path}.twin.png"


def test_twins_share_a_split_and_are_read_once(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = write_twins(workspace, ["label"])
    (workspace / "cache" / "content.sqlite").unlink()
    read = Counter[Path]()

    def count(path: Path, whole: object = content.hash_bytes) -> str:
        read[path] += 1
        return str(whole(path))  # type: ignore[operator]

    monkeypatch.setattr(content, "hash_bytes", count)
    words = ("extract", "images", "--encoder", "colour", "--workspace", workspace, "--workers", 0)
    result = answer(*words)
    assert result["leaks"] == []
    assert len(result["duplicates"]) == len(names)
    assert set(read.values()) == {1}
    assert len(read) == 2 * len(names)
    with (workspace / "data" / "images.splits.csv").open(newline="") as file:
        splits = {row["id"]: row["split"] for row in csv.DictReader(file)}
    assert set(splits.values()) == {"train", "val", "test"}
    assert all(splits[name] == splits[twin(name)] for name in names)
    answer(*words)
    assert set(read.values()) == {1}


def test_twins_are_no_candidates_of_each_other(workspace: Path) -> None:
    before = answer("evaluate", "--workspace", workspace, "--no-plots")["directions"]
    write_twins(workspace, ["label", "split"])
    report = answer("evaluate", "--workspace", workspace, "--no-plots")
    pictures, across = report["directions"]["image_image"], report["directions"]["audio_image"]
    n_pictures = 2 * before["image_image"]["n_queries"]
    assert (pictures["n_queries"], pictures["n_candidates"]) == (n_pictures, n_pictures - 2)
    assert across["n_candidates"] == n_pictures  # music ranks both
    assert report["provenance"]["excluded"] == "own group"
