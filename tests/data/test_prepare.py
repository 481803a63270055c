"""`emoclim prepare`: from folders to manifests, and what is told on the way."""

import json
import os
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import answer, mistake, run
from dataset_contract import write_tree

from emoclim.data.manifest import COLUMNS, Item, read_manifest
from emoclim.data.manifest_files import manifest_bytes
from emoclim.errors import ManifestError
from emoclim.pipeline.preparation.datasets import explain_dataset
from emoclim.pipeline.preparation.prepare import prepare_dataset
from emoclim.pipeline.preparation.result import account_path
from emoclim.pipeline.workspace import Workspace

PHOTOS = {f"{label}/{n}.jpg": f"{label} {n}".encode() for label in ("awe", "fear") for n in range(10)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "photos", PHOTOS)


def test_a_folder_becomes_a_manifest_where_extract_looks_for_it(photos: Path, tmp_path: Path) -> None:
    result = run("prepare", "folder", photos, "--workspace", tmp_path)
    assert "20 items, split 80-10-10; written" in result.stdout.replace("\n", " ")
    path = Workspace(tmp_path).manifest("image")
    assert path == tmp_path / "data" / "images.csv"
    lines = path.read_bytes().decode().split("\n")
    assert lines[0] == "path,label,split,id"
    assert lines[1].startswith("../photos/awe/0.jpg,awe,")
    assert lines[-1] == ""
    manifest = read_manifest(path, "image")
    assert [item.id for item in manifest.items] == sorted(PHOTOS)
    assert manifest.notes == ()


def test_every_number_can_be_had_as_json_and_lies_beside(photos: Path, tmp_path: Path) -> None:
    (photos / "awe" / "notes.txt").write_text("no photo")
    told = answer("prepare", "folder", photos, "--workspace", tmp_path, "--seed", 3)
    account = json.loads((tmp_path / "data" / "images.csv.prepared.json").read_text())
    assert {key: told[key] for key in account} == account
    assert told["manifest"] == str(tmp_path / "data" / "images.csv")
    assert account["labels"]["awe"] == {"train": 8, "val": 1, "test": 1}
    assert account["splits"] == {"train": 16, "val": 2, "test": 2}
    assert (account["items"], account["seed"], account["folder"]) == (20, 3, "../photos")
    assert account["left_out"] == [{"id": "awe/notes.txt", "kind": "unused", "reason": "no image by its suffix"}]
    assert str(tmp_path) not in json.dumps(account)


def test_the_page_on_manifests_names_every_column_and_every_field(photos: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "manifest_format.md").read_text(encoding="utf-8")
    columns, fields = (
        [name for row in re.findall(r"^\| (`.*?) \|", part, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
        for part in (page.split("## ")[0], page.split("## ")[-1])
    )
    assert columns == list(COLUMNS)
    result = prepare_dataset("folder", photos, workspace=Workspace(tmp_path))
    assert fields == list(json.loads(account_path(result.path).read_text()))
    assert result.to_dict().keys() - set(fields) == {"manifest", "account", "changed"}


def test_a_manifest_that_holds_something_else_is_not_replaced_unless_forced(photos: Path, tmp_path: Path) -> None:
    words = ("prepare", "folder", photos, "--workspace", tmp_path)
    run(*words)
    path = tmp_path / "data" / "images.csv"
    before = path.read_bytes()
    assert "there already, and as it should be" in run(*words).stdout.replace("\n", " ")
    refused = run(*words, "--seed", 7, code=2)
    assert "images.csv exists and holds something else; name another --output, or --force this one" in refused.stderr
    assert path.read_bytes() == before
    run(*words, "--seed", 7, "--force")
    assert path.read_bytes() != before
    assert sorted(file.name for file in path.parent.iterdir()) == ["images.csv", "images.csv.prepared.json"]


def test_nothing_is_left_of_a_manifest_that_cannot_be_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", fail)
    assert "No space left" in run("prepare", "folder", photos, "--workspace", tmp_path, code=2).stderr
    assert list((tmp_path / "data").iterdir()) == []


def test_a_parquet_manifest_is_found_and_read(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "votes.csv"
    rows = "".join(f"photos/{name},{name.partition('/')[0]},{n},{n}.5,code {n}\n" for n, name in enumerate(PHOTOS))
    table.write_text("file,mood,agree,score,code\n" + rows)
    output = tmp_path / "data" / "images.parquet"
    words = ("--path-column", "file", "--label-column", "mood", "--output", output, "--workspace", tmp_path)
    run("prepare", "csv", table, *words)
    assert Workspace(tmp_path).manifest("image") == output
    manifest = read_manifest(output, "image")
    assert {item.id: item.label for item in manifest.items} == {
        f"photos/{name}": name.partition("/")[0] for name in PHOTOS
    }
    assert manifest.notes == ("left out column code",)
    assert manifest.items[0].measures == {"agree": 0, "score": 0.5}
    first = pq.read_table(output).to_pylist()[0]
    assert (first["agree"], first["score"], first["code"]) == (0, 0.5, "code 0")


def test_items_of_a_table_with_numbers_alone_are_split(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "ratings.csv"
    table.write_text("path,Warmth\n" + "".join(f"photos/{name},{n}\n" for n, name in enumerate(PHOTOS)))
    output = tmp_path / "data" / "images.csv"
    run("prepare", "csv", table, "--output", output, "--workspace", tmp_path)
    items = read_manifest(output, "image").items
    assert {item.id: item.measures for item in items} == {
        f"photos/{name}": {"warmth": n} for n, name in enumerate(PHOTOS)
    }
    assert all(item.split for item in items)


def test_a_split_a_group_and_parts_of_files_are_taken_from_a_table(tmp_path: Path) -> None:
    write_tree(tmp_path / "music", {f"{n}.flac": f"{n}".encode() for n in range(3)})
    rows = "0.flac,Training,a,0,5\n0.flac,Training,a,5,5\n1.flac,validation,b,,\n2.flac,,c,,\n"
    (tmp_path / "cuts.csv").write_text("path,Part,artist,start,duration\n" + rows)
    result = prepare_dataset(
        "csv",
        tmp_path / "cuts.csv",
        options={"split_column": "part", "group_column": "artist", "root": str(tmp_path / "music")},
        workspace=Workspace(tmp_path),
    )
    assert [(i.id, i.split, i.group, i.start, i.duration) for i in read_manifest(result.path, "audio").items] == [
        ("0.flac@0", "train", "a", 0.0, 5.0),
        ("0.flac@5", "train", "a", 5.0, 5.0),
        ("1.flac", "val", "b", None, None),
    ]
    assert [(one.id, one.reason) for one in result.left_out] == [("2.flac", "in no part of the split 'given'")]


def test_a_split_that_names_nothing_there_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path, {"0.flac": b"0", "list.csv": b"path,split\n0.flac,\n1.flac,train\n"})
    with pytest.raises(ManifestError, match="no file of .* is in the split 'given'; name another"):
        prepare_dataset("csv", tmp_path / "list.csv", max_missing=1.0, workspace=Workspace(tmp_path))


def test_tags_without_labels_go_to_a_manifest_of_their_own(tmp_path: Path) -> None:
    write_tree(tmp_path / "music", {f"{n}.flac": f"{n}".encode() for n in range(10)})
    rows = "".join(f"music/{n}.flac,rock; {'fast' if n % 2 else 'slow'}\n" for n in range(10))
    (tmp_path / "tags.csv").write_text("path,genres\n" + rows)
    words = ("--tags-column", "genres", "--option", "tags_separator=;", "--workspace", tmp_path)
    told = answer("prepare", "csv", tmp_path / "tags.csv", *words)
    assert told["manifest"].endswith("tagging.csv")
    assert {label: sum(counts.values()) for label, counts in told["labels"].items()} == {
        "fast": 5,
        "rock": 10,
        "slow": 5,
    }


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("a.jpg,awe,dev ,\nb.jpg,awe,later,\n", "list.csv cannot be used: row 3 has split 'later'"),
        ("a.jpg,awe,,soon\n", "list.csv cannot be used: row 2 has start 'soon'"),
        ("a.jpg,awe,,1,2\n", "list.csv cannot be used: row 2 has 5 cells below a header of 4"),
        ("a.jpg,awe,,\nb.flac,awe,,\n", "has 1 image files and 1 audio files .*or say which: --modality"),
        ("a.pdf,awe,,\n", "has neither pictures nor recordings nor texts"),
    ],
)
def test_rows_that_cannot_be_used_are_told(tmp_path: Path, rows: str, told: str) -> None:
    (tmp_path / "list.csv").write_text("path,label,split,start\n" + rows)
    with pytest.raises(ManifestError, match=told):
        prepare_dataset("csv", tmp_path / "list.csv", workspace=Workspace(tmp_path))


def test_folders_that_are_split_already_stay_so(tmp_path: Path) -> None:
    files = {
        f"{part}/{path}": part.encode() + content for part in ("train", "Valid") for path, content in PHOTOS.items()
    }
    folder = write_tree(tmp_path / "photos", files | {"train/loose.jpg": b"loose"})
    result = prepare_dataset("folder", folder, workspace=Workspace(tmp_path))
    assert (result.split, dict(result.sizes())) == ("given", {"train": 20, "val": 20})
    assert {item.label for item in result.items} == {"awe", "fear"}
    again = prepare_dataset("folder", folder, split="80-10-10", force=True, workspace=Workspace(tmp_path))
    assert again.sizes() == {"train": 32, "val": 4, "test": 4}


def test_folders_of_labels_without_a_file_are_told(tmp_path: Path) -> None:
    files = {"train/awe/0.jpg": b"0", "train/joy/x.txt": b"", "dev/awe/1.jpg": b"1", "dev/joy/2.jpg": b"2"}
    write_tree(tmp_path / "photos", files)
    (tmp_path / "photos" / "test" / "awe").mkdir(parents=True)
    result = prepare_dataset("folder", tmp_path / "photos", workspace=Workspace(tmp_path))
    assert result.notes == ("no image in 3 folders of labels: test, test/awe, train/joy",)


def test_groups_joined_by_equal_files_keep_what_they_were(tmp_path: Path) -> None:
    write_tree(tmp_path, {f"{n}.flac": b"same" if n in (1, 2) else f"{n}".encode() for n in range(5)})
    rows = "0.flac,a,A\n1.flac,b,A\n2.flac,a,B\n3.flac,b,B\n4.flac,b,\n"
    own = {"0.flac": "A", "1.flac": "A", "2.flac": "B", "3.flac": "B"}
    for column, kept in {"artist": "artist", "group": "own_group"}.items():
        (tmp_path / "list.csv").write_text(f"path,label,{column}\n" + rows)
        options, output = {"group_column": column}, tmp_path / f"{kept}.parquet"
        prepare_dataset("csv", tmp_path / "list.csv", options=options, output=output, workspace=Workspace(tmp_path))
        written = pq.read_table(output).to_pylist()
        assert {row["id"]: row[kept] for row in written if row[kept]} == own
        joined = {row["group"] for row in written if row["id"] in own}
        assert len(joined) == 1
        assert len({row["split"] for row in written if row["id"] in own}) == 1


def test_paths_that_no_file_can_have_are_missing(tmp_path: Path) -> None:
    names = ["n" * 256 + ".jpg", "0.jpg/x.jpg"]
    write_tree(tmp_path, {"0.jpg": b"0", "list.csv": "\n".join(["path", "0.jpg", *names]).encode()})
    result = prepare_dataset("csv", tmp_path / "list.csv", max_missing=1.0, workspace=Workspace(tmp_path))
    assert [item.id for item in result.items] == ["0.jpg"]
    assert {(one.id, one.kind) for one in result.left_out} == {(name, "missing") for name in names}


def test_pictures_have_no_start(tmp_path: Path) -> None:
    write_tree(tmp_path, {"0.jpg": b"0", "1.jpg": b"1", "list.csv": b"path,start\n0.jpg,1.5\n1.jpg\n"})
    result = prepare_dataset("csv", tmp_path / "list.csv", workspace=Workspace(tmp_path))
    assert [(item.id, item.start) for item in result.items] == [("0.jpg", None), ("1.jpg", None)]
    told = " / ".join(result.notes)
    assert "1 rows have fewer cells than the header, and what lacks counts as empty: 3" in told
    assert "left out start and duration of 1 pictures" in told


def test_equal_contents_are_read_only_where_that_is_wanted(photos: Path, tmp_path: Path) -> None:
    write_tree(photos, {"awe/twin.jpg": b"fear 3"})
    result = prepare_dataset("folder", photos, workspace=Workspace(tmp_path))
    assert result.notes[0].startswith("1 contents occur more than once, kept in one part each (awe/twin.jpg =")
    assert "1 of them are labelled differently: awe/twin.jpg = fear/3.jpg" in result.notes[1]
    unread = prepare_dataset("folder", photos, hash_files=False, force=True, workspace=Workspace(tmp_path))
    assert unread.notes == ("files were not read, so that equal contents may lie in two parts of the split",)


def test_linked_folders_are_followed_once_and_paths_lead_to_their_files(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (photos / "awe").rename(tmp_path / "far" / "away" / "awe")
    (photos / "awe").symlink_to(tmp_path / "far" / "away" / "awe")
    (photos / "fear" / "loop").symlink_to(photos)
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "store" / "deep")
    result = prepare_dataset("folder", photos, workspace=Workspace(tmp_path))
    assert [item.id for item in result.items] == sorted(PHOTOS)
    assert read_manifest(tmp_path / "data" / "images.csv", "image").notes == ()


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_names_that_are_no_text_are_told(photos: Path, tmp_path: Path) -> None:
    with open(os.fsencode(photos / "awe") + b"/\xff.jpg", "wb") as file:  # noqa: PTH123 - bytes
        file.write(b"a photo")
    (photos / "awe" / "a\rb.jpg").write_bytes(b"another")
    told = answer("prepare", "folder", photos, "--workspace", tmp_path)
    assert told["items"] == 20
    assert {one["reason"] for one in told["left_out"]} == {
        "its name cannot stand in a manifest",
        "its name is no UTF-8",
    }
    assert "awe/\\udcff.jpg" in {one["id"] for one in told["left_out"]}


def test_a_few_broken_files_are_told_and_many_are_half_a_download(photos: Path, tmp_path: Path) -> None:
    (photos / "awe" / "0.jpg").write_bytes(b"")
    shown = run("prepare", "folder", photos, "--workspace", tmp_path).stdout.replace("\n", " ")
    assert "left out: 1 broken, the file is empty; fetch it again (awe/0.jpg)" in shown
    for n in range(4):
        (photos / "fear" / f"{n}.jpg").write_bytes(b"")
    words = ("prepare", "folder", photos, "--workspace", tmp_path, "--force")
    told = run(*words, code=2).stderr
    assert "holds 15 of the 20 files that it should as folder (awe/0.jpg: the file is empty" in told
    assert "finish the download, or allow it: --max-missing 0.25" in told
    run(*words, "--max-missing", "0.25")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("folder",), "give one of: prepare --list, prepare NAME --explain, prepare NAME FOLDER"),
        (("folder", "photos", "--list"), "give one of: prepare --list"),
        (("nonsense", "--explain"), "no data set is called 'nonsense'; there are: .*audioset_mood, "),
        (("folder", "photos", "--output", "a.txt"), r"a\.txt is no name for a manifest; it ends in .csv, .parquet"),
        (("folder", "photos", "--output", "photos.csv"), r"photos\.csv is a folder; give the manifest another name"),
        (("folder", "photos", "--option", "modality"), "--option 'modality' is not NAME=VALUE"),
        (
            ("csv", "photos", "--path-column", "a", "--option", "path_column=b"),
            r"path_column is given twice \('a', 'b'\)",
        ),
        (
            ("folder", "photos", "--modality", "film"),
            "option modality .* cannot be 'film'; it should be 'image', 'audio'",
        ),
        (
            ("folder", "photos", "--label-column", "x"),
            "data set 'folder' has no option label_column; it takes modality",
        ),
        (
            ("con_espressione", "photos", "--option", "items=songs"),
            "items of data set 'con_espressione' cannot be 'songs'",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    photos: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(photos.parent)
    Path("photos.csv").mkdir()
    assert re.search(told, mistake("prepare", *words))


def test_data_sets_are_listed_and_explained() -> None:
    shown = run("prepare", "--list").stdout
    listed = answer("prepare", "--list")["datasets"]
    assert [one["name"] for one in listed] == sorted(one["name"] for one in listed)
    assert all(one["name"] in shown for one in listed)
    told = run("prepare", "magnatagatune", "--explain").stdout
    for part in ("annotations_final.csv", "ISMIR 2009", "split       lee2017:", "test 5,329", "by default  pons2017"):
        assert part in told
    assert answer("prepare", "deepemotion", "--explain")["published"]["You et al."]["fear"] == 1032
    assert explain_dataset("csv").options["root"] == (
        None,
        "folder that the paths are relative to; if not given, that of the table",
    )


def test_texts_are_items_of_a_manifest_too(tmp_path: Path) -> None:
    items = [
        Item("b", text="I was glad, very", label="joy"),
        Item("a", text='He said "no"', label="anger", split="test", numbers=(1 / 3, -7.0)),
    ]
    for path in (tmp_path / "text.parquet", tmp_path / "text.csv"):
        path.write_bytes(manifest_bytes(items, path, {}))
        assert read_manifest(path, "text").items == (items[1], items[0])
    assert path.read_text().splitlines()[0] == "label,split,id,text,valence,arousal"
    path.write_text("text,label\nhello,joy\n")
    with pytest.raises(ManifestError, match="row 2 has a text and no id"):
        read_manifest(path, "text")


@pytest.mark.parametrize(
    ("item", "columns", "told"),
    [
        (Item("a", Path("a"), tags=("x|y",)), {}, r"a tag of a holds '\|'"),
        (Item(" a", Path("a")), {}, "the id ' a' cannot stand in"),
        (Item("a", Path("a")), {"Label": {"a": "x"}}, "column 'Label' of .* is one that a manifest has anyway"),
    ],
)
def test_what_would_not_be_read_again_is_not_written(
    tmp_path: Path, item: Item, columns: dict[str, dict[str, str]], told: str
) -> None:
    with pytest.raises(ManifestError, match=told):
        manifest_bytes([item], tmp_path / "a.csv", columns)


def test_the_real_corpus_is_prepared_whole(shared: Path, tmp_path: Path) -> None:
    for kind, count in (("images", 122), ("audio", 246)):
        told = answer("prepare", "folder", shared / "corpus" / kind, "--workspace", tmp_path)
        assert (told["items"], told["left_out"], told["notes"]) == (count, [], [])
        assert all(counts.keys() == {"train", "val", "test"} for counts in told["labels"].values())


def test_a_part_of_the_real_corpus_goes_all_the_way(shared: Path, tmp_path: Path) -> None:
    for kind in ("images", "audio"):
        for label in (shared / "corpus" / kind).iterdir():
            (tmp_path / kind / label.name).mkdir(parents=True)
            for file in sorted(label.iterdir())[:4]:
                (tmp_path / kind / label.name / file.name).symlink_to(file)
        run("prepare", "folder", tmp_path / kind, "--workspace", tmp_path, "--split", "50-25-25")
    run("extract", "images", "--encoder", "colour", "--workspace", tmp_path, "--workers", 0)
    run("extract", "audio", "--encoder", "timbre", "--workspace", tmp_path, "--workers", 0)
    run("train-heads", "--epochs", 1, "--workspace", tmp_path)
    run("evaluate", "--workspace", tmp_path)
    (found,) = answer("search", next((tmp_path / "images" / "awe").iterdir()), "--workspace", tmp_path)
    assert len(found["found"]) == 5
