"""Your own files, in folders or in a table: which part, label and group they get, and what the account says of them."""

from pathlib import Path

import pytest
from commands import answer, run
from dataset_contract import write_tree

from emoclim.data.manifest import read_manifest
from emoclim.errors import ManifestError
from emoclim.pipeline.preparation.prepare import prepare_dataset
from emoclim.pipeline.workspace import Workspace

PHOTOS = {f"{label}/{n}.jpg": f"{label} {n}".encode() for label in ("awe", "fear") for n in range(10)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "photos", PHOTOS)


@pytest.mark.parametrize(("part", "sizes"), [("train", {"train": 20}), ("Test", {"test": 20})])
def test_a_lone_part_of_a_split_is_no_label(tmp_path: Path, part: str, sizes: dict[str, int]) -> None:
    folder = write_tree(tmp_path / "photos", {f"{part}/{path}": content for path, content in PHOTOS.items()})
    result = prepare_dataset("folder", folder, workspace=Workspace(tmp_path))
    assert (result.split, dict(result.sizes())) == ("given", sizes)
    assert {item.label for item in result.items} == {"awe", "fear"}


def test_a_folder_beside_the_parts_of_a_split_is_refused(tmp_path: Path) -> None:
    files = {
        f"{part}/{path}": part.encode() + content for part in ("train", "test") for path, content in PHOTOS.items()
    }
    folder = write_tree(tmp_path / "photos", files | {"docs/logo.jpg": b"logo"})
    with pytest.raises(ManifestError, match=r"test, train, but has docs/ beside"):
        prepare_dataset("folder", folder, workspace=Workspace(tmp_path))
    flat = write_tree(tmp_path / "flat", {"awe/1.jpg": b"1", "test/2.jpg": b"2"})
    result = prepare_dataset("folder", flat, workspace=Workspace(tmp_path))
    assert {item.label for item in result.items} == {"awe", "test"}


def test_an_item_called_like_a_group_can_be_read_again(tmp_path: Path) -> None:
    rows = "1.jpg,A,sad,,train\n2.jpg,B,sad,A,test\n"
    write_tree(tmp_path, {"1.jpg": b"1", "2.jpg": b"2", "list.csv": f"path,id,label,group,split\n{rows}".encode()})
    result = prepare_dataset("csv", tmp_path / "list.csv", workspace=Workspace(tmp_path))
    items = read_manifest(result.path, "image").items
    assert [(item.id, item.group, item.split) for item in items] == [("A", None, "train"), ("B", "A", "test")]


def test_a_seed_is_told_of_splits_that_are_made_only(photos: Path, tmp_path: Path) -> None:
    words = ("prepare", "folder", photos, "--workspace", tmp_path, "--force")
    assert answer(*words)["seed"] == 42
    assert answer(*words, "--split", "none")["seed"] is None
    refused = run(*words, "--split", "none", "--seed", 7, code=2).stderr
    assert "--seed would have no effect: the split 'none' is not made; leave it out" in refused


@pytest.mark.parametrize("home", [False, True])
def test_an_account_says_where_a_root_is_from_the_manifest(
    photos: Path, tmp_path: Path, home: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    root = f"~/{photos.name}" if home else photos
    (tmp_path / "list.csv").write_text("path,label\nawe/1.jpg,awe\nfear/1.jpg,fear\n")
    words = ("prepare", "csv", tmp_path / "list.csv", "--workspace", tmp_path, "--option", f"root={root}")
    told = answer(*words, "--option", "tags_separator=/")
    assert told["options"] == {"root": "../photos", "tags_separator": "/"}
    assert str(tmp_path) not in (tmp_path / "data" / "images.csv.prepared.json").read_text()
