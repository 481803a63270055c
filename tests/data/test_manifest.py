"""Manifests from CSV files and folders: what is read, what is refused, and what is told."""

import os
import re
import unicodedata
from pathlib import Path

import pytest

from emoclim.data.manifest import Item, read_manifest
from emoclim.errors import ManifestError


def write_csv(folder: Path, text: str, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    path = folder / "images.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_every_column_and_resolves_paths_from_the_csv(tmp_path: Path) -> None:
    source = write_csv(
        tmp_path,
        "path,label,split,id,tags,group,pair,start,duration\n"
        '"a, b.jpg",awe,train,first,calm|slow,g1,p1,1.5,2\n'
        "sub/c.jpg,fear,test,,,,,,\n",
        "a, b.jpg",
        "sub/c.jpg",
    )
    first, second = read_manifest(source, "audio").items
    assert (first.id, first.path, first.label, first.split) == ("first", tmp_path / "a, b.jpg", "awe", "train")
    assert (first.tags, first.group, first.pair) == (("calm", "slow"), "g1", "p1")
    assert (first.start, first.duration) == (1.5, 2.0)
    assert (second.id, second.label, second.tags, second.group, second.pair) == ("sub/c.jpg", "fear", (), None, None)


def test_unknown_columns_are_left_out_with_a_note(tmp_path: Path) -> None:
    manifest = read_manifest(write_csv(tmp_path, "path,agree,code\na.jpg,yes,c2\n", "a.jpg"), "image")
    assert manifest.notes == ("left out columns agree, code",)


def test_a_column_that_may_be_misspelt_is_told_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    manifest = read_manifest(write_csv(tmp_path, "path,spilt,lable\na.jpg,test,awe\n", "a.jpg"), "image")
    assert manifest.notes == ("left out columns spilt (did you mean 'split'?), lable (did you mean 'label'?)",)


def test_further_columns_of_numbers_are_measures_of_items(tmp_path: Path) -> None:
    table = "path,Tempo,key,empty,mode\na.jpg,60.5,c,,1\nb.jpg,,2,,-1e3\n"
    manifest = read_manifest(write_csv(tmp_path, table, "a.jpg", "b.jpg"), "image")
    assert [item.measures for item in manifest.items] == [{"tempo": 60.5, "mode": 1}, {"mode": -1000}]
    assert manifest.notes == ("left out columns key, empty",)
    assert not any(item.annotated for item in manifest.items)
    other = read_manifest(write_csv(tmp_path, table.replace("60.5", "61.5")), "image")
    assert other.digest() != manifest.digest()
    assert not read_manifest(manifest.source, "image", unlabelled=True).items[0].measures


def test_valence_and_arousal_are_numbers_of_items_in_any_scale(tmp_path: Path) -> None:
    plain = read_manifest(write_csv(tmp_path, "path\na.jpg\nb.jpg\n", "a.jpg", "b.jpg"), "image")
    source = write_csv(tmp_path, "path,Valence,arousal\na.jpg,-1,8.25\nb.jpg,,\n", "a.jpg", "b.jpg")
    manifest = read_manifest(source, "image")
    assert [item.numbers for item in manifest.items] == [(-1.0, 8.25), ()]
    assert [item.annotated for item in manifest.items] == [True, False]
    assert manifest.digest() != plain.digest()
    assert read_manifest(source, "image", unlabelled=True).digest() == plain.digest()


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ("high,1", "row 3 has valence 'high'"),
        ("1e308,1", "row 3 has valence .1e308. .*below 1e18"),
        ("1,nan", "row 3 has arousal 'nan'"),
        ("1_0,1", "row 3 has valence '1_0'"),
        ("1,1e999", "row 3 has arousal '1e999'"),
        ("1,", "row 3 has valence alone"),
    ],
)
def test_places_that_are_half_or_no_numbers_are_refused_by_row(tmp_path: Path, cells: str, fault: str) -> None:
    source = write_csv(tmp_path, f"path,valence,arousal\na.jpg,1,2\nb.jpg,{cells}\n", "a.jpg", "b.jpg")
    with pytest.raises(ManifestError, match=fault):
        read_manifest(source, "image")


def test_valence_without_a_column_of_arousal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="row 2 has valence alone"):
        read_manifest(write_csv(tmp_path, "path,valence\na.jpg,1\n", "a.jpg"), "image")
    with pytest.raises(ManifestError, match="numbers"):
        Item("a", Path("a.jpg"), numbers=(1.0,))


def test_duplicate_ids_and_missing_files_are_told_together(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "path\na.jpg\na.jpg\ngone.jpg\nlost.jpg\n", "a.jpg")
    with pytest.raises(ManifestError, match=r"1 ids .*\(a\.jpg\); 2 of 4 files are missing"):
        read_manifest(source, "image")


def test_missing_files_are_kept_and_noted(tmp_path: Path) -> None:
    manifest = read_manifest(write_csv(tmp_path, "path\na.jpg\ngone.jpg\n", "a.jpg"), "image")
    assert [item.id for item in manifest.items] == ["a.jpg", "gone.jpg"]
    assert manifest.notes == ("1 of 2 files are missing: gone.jpg",)


def test_a_manifest_whose_files_are_all_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"2 of 2 files are missing"):
        read_manifest(write_csv(tmp_path, "path\na.jpg\nb.jpg\n"), "image")


def test_all_problems_of_the_rows_are_told_at_once(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "path,split,start\n,train,\na.jpg,dev,\nb.jpg,,soon\nc,d.jpg,,\n", "a.jpg", "b.jpg")
    with pytest.raises(ManifestError) as told:
        read_manifest(source, "image")
    for part in (
        "row 2 has no path",
        "row 3 has split 'dev'",
        "row 4 has start 'soon'",
        "row 5 has 4 cells below a header of 3",
    ):
        assert part in str(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("file,label\na,b\n", "no column 'path'"), ("path,label\n", "lists no image"), ("", "no column 'path'")],
)
def test_unusable_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(write_csv(tmp_path, text), "image")


@pytest.mark.parametrize(
    "text", ["path;label\r\na.jpg;awe\r\n", "Path\tLabel\na.jpg\tawe\n", "path, label\na.jpg,awe\n"]
)
def test_tables_as_spreadsheets_write_them_are_read(tmp_path: Path, text: str) -> None:
    manifest = read_manifest(write_csv(tmp_path, text, "a.jpg"), "image")
    assert [(item.id, item.label) for item in manifest.items] == [("a.jpg", "awe")]
    assert manifest.notes == ()


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_bytes("path\nété.jpg\n".encode("latin-1"))
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(tmp_path / "images.csv", "image")


NAMES = {
    "label": "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    "tags": "\N{LATIN SMALL LETTER U WITH DIAERESIS}ber",
    "group": "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}",
}


def test_all_spellings_of_a_name_are_one(tmp_path: Path) -> None:
    rows = [",".join(unicodedata.normalize(form, name) for name in NAMES.values()) for form in ("NFC", "NFD")]
    assert rows[0] != rows[1]
    source = write_csv(tmp_path, f"path,label,tags,group\na.jpg,{rows[0]}\nb.jpg,{rows[1]}\n", "a.jpg", "b.jpg")
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "caf\N{LATIN SMALL LETTER E WITH ACUTE}")
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name / f"{form}.jpg").touch()
    one, other = read_manifest(source, "image").items
    assert (one.label, one.tags, one.group) == (other.label, other.tags, other.group)
    assert (one.label, one.tags, one.group) == (NAMES["label"], (NAMES["tags"],), NAMES["group"])
    both = write_csv(tmp_path, "path,tags\na.jpg," + "|".join(row.split(",")[1] for row in rows) + "\n")
    assert read_manifest(both, "image").items[0].tags == (NAMES["tags"],)
    found = read_manifest(tmp_path / "photos", "image").items
    assert {item.label for item in found} == {NAMES["label"]}
    assert all(item.path is not None and item.path.exists() for item in found)  # the folders keep their names


def test_pictures_have_neither_start_nor_duration(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "path,start,duration\na.jpg,1.5,\nb.jpg,,2\nc.jpg,,\n", "a.jpg", "b.jpg", "c.jpg")
    manifest = read_manifest(source, "image")
    assert {(item.start, item.duration) for item in manifest.items} == {(None, None)}
    assert manifest.notes == ("left out start and duration of 2 pictures, which have none (a.jpg, b.jpg)",)
    assert read_manifest(source, "audio").items[0].start == 1.5


@pytest.mark.parametrize("name", ["n" * 256 + ".jpg", "d" * 300 + "/a.jpg", "/".join(["d" * 200] * 30) + "/a.jpg"])
def test_a_path_that_no_file_can_have_is_missing(tmp_path: Path, name: str) -> None:
    manifest = read_manifest(write_csv(tmp_path, f"path\na.jpg\n{name}\n", "a.jpg"), "image")
    assert len(manifest.items) == 2
    assert manifest.notes[0].startswith("1 of 2 files are missing")


def test_folders_of_labels_without_a_file_are_told(tmp_path: Path) -> None:
    for name in ("fear/b.jpg", "joy/notes.txt", "calm/deep/er/.hidden", ".git/x"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    assert "no image in 2 folders of labels: calm, joy" in read_manifest(tmp_path / "photos", "image").notes
    assert len(read_manifest(tmp_path / "photos", "image", unlabelled=True).notes) == 1


def test_letters_of_no_width_beside_a_name_are_no_part_of_it(tmp_path: Path) -> None:
    rows = 'a.jpg,"happy\u200b",\ufeffx|y\u2060|\u200b,\u200e g\xad\nb.jpg,happy,x|y,g\n'
    (tmp_path / "photos.csv").write_text(f"\u200bpath,label\u200b,tags,group\n{rows}", encoding="utf-8")
    one, other = read_manifest(tmp_path / "photos.csv", "image", need_files=False).items
    for item in (one, other):
        assert (item.label, item.tags, item.group) == ("happy", ("x", "y"), "g")
    assert Item("x", Path("a.jpg"), label="\u200b").label is None


def test_what_is_no_regular_file_is_not_said_to_be_absent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ManifestError, match=r"pipe.csv is no regular file; give a CSV"):
        read_manifest(tmp_path / "pipe.csv", "image")


def test_a_missing_manifest_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="there is no manifest at .*nowhere"):
        read_manifest(tmp_path / "nowhere.csv", "image")


def test_a_group_in_two_splits_is_refused(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "path,split,group\na.jpg,train,song\nb.jpg,test,song\n", "a.jpg", "b.jpg")
    with pytest.raises(ManifestError, match=r"1 groups lie in more than one split \(song\)"):
        read_manifest(source, "image")


def test_folders_give_labels_sorted_ids_and_notes(tmp_path: Path) -> None:
    for name in ("fear/b.JPG", "awe/deep/a.png", "awe/notes.txt", "loose.jpg", ".hidden/x.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    manifest = read_manifest(tmp_path / "photos", "image")
    assert [(item.id, item.label) for item in manifest.items] == [("awe/deep/a.png", "awe"), ("fear/b.JPG", "fear")]
    suffix, loose = manifest.notes
    assert suffix.startswith("left out 1: no image by its suffix (awe/notes.txt); taken are .avif, .bmp, ")
    assert loose == "left out 1: in no label's folder (loose.jpg)"
    assert manifest.left_out == {"awe/notes.txt": "no image by its suffix", "loose.jpg": "in no label's folder"}


def test_links_to_folders_are_followed_once_and_never_before_the_folder_itself(tmp_path: Path) -> None:
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    for path in (photos / "zeal" / "a.jpg", elsewhere / "b.jpg"):
        path.parent.mkdir(parents=True)
        path.touch()
    (photos / "awe").mkdir()
    for link, target in (("awe/again", photos / "zeal"), ("awe/loop", photos), ("fear", elsewhere), ("gone", "none")):
        (photos / link).symlink_to(target)
    manifest = read_manifest(photos, "image")
    assert [(item.id, item.label) for item in manifest.items] == [("fear/b.jpg", "fear"), ("zeal/a.jpg", "zeal")]
    assert "left out 2: a link to a folder that is listed anyway (awe/again, awe/loop)" in manifest.notes
    assert manifest.left_out.keys() == {"awe/again", "awe/loop", "gone"}


@pytest.mark.parametrize("name", ["phone.m4a", "holiday.JPG", "clip.mov"])
def test_a_single_file_is_no_manifest(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xd8")
    with pytest.raises(ManifestError, match=f"{name} is a single file, no list of files; give the folder"):
        read_manifest(tmp_path / name, "audio")


def test_an_item_is_a_file_or_a_text() -> None:
    with pytest.raises(ManifestError, match="item 'a' has neither a path nor a text"):
        Item("a", label="awe")
    assert Item("a", "photos/a.jpg").path == Path("photos/a.jpg")
    assert Item("a", text="").text == ""


def test_paths_may_be_strings_and_modalities_are_checked(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "path,label\na.jpg,awe\n", "a.jpg")
    assert read_manifest(str(source), "image") == read_manifest(source, "image")
    with pytest.raises(ManifestError, match="no modality 'images'; there are image, audio"):
        read_manifest(source, "images")


def test_names_that_are_no_utf8_are_told(tmp_path: Path) -> None:
    for name in (b"awe/fine.png", b"awe/na\xefve.png", b"f\xe9ar/a.png"):
        path = tmp_path / "photos" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    manifest = read_manifest(tmp_path / "photos", "image")
    assert [item.id for item in manifest.items] == ["awe/fine.png"]
    told = r"left out 2: its name is no UTF-8 (awe/na\udcefve.png, f\udce9ar/a.png)"
    assert told in manifest.notes
    (tmp_path / "photos").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(ManifestError, match=r"caf\\udce9' is no UTF-8"):
        read_manifest(tmp_path / os.fsdecode(b"caf\xe9"), "image")


def test_unlabelled_libraries_keep_every_file_and_no_label(tmp_path: Path) -> None:
    for name in ("album/a.wav", "b.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path, "audio", unlabelled=True)
    assert [(item.id, item.label) for item in manifest.items] == [("album/a.wav", None), ("b.flac", None)]
    source = write_csv(tmp_path, "path,label\na.jpg,awe\n", "a.jpg")
    assert read_manifest(source, "image", unlabelled=True).items[0].label is None


def test_the_real_corpus_is_read_whole(shared: Path) -> None:
    images = read_manifest(shared / "corpus" / "images.csv", "image")
    audio = read_manifest(shared / "corpus" / "audio.csv", "audio")
    assert (len(images.items), len(audio.items)) == (122, 246)
    assert (images.notes, all(item.numbers for item in images.items)) == ((), True)
    assert len({item.group for item in audio.items}) == 104


def test_the_tables_made_after_reports(shared: Path) -> None:
    refused = {
        "comment_first.csv": "no column 'path'",
        "decimal_comma.csv": "row 2 has start '1,5'",
        "dup_header.csv": "two columns 'label'",
        "huge_cell.csv": "in row 3 a cell is too long",
        "latin1.csv": "UTF-8",
        "no_header.csv": "no column 'path'",
        "nul_byte.csv": "row 5 .* null characters",
        "quote_opens_path.tsv.csv": "in row 4 .* quotation mark",
        "split_words.csv": "row 3 has split 'Train'",
        "unquoted_tab_1000.csv": "in row 402 .* quotation mark",
        "utf16.csv": "in UTF-16; save it in UTF-8",
        "windows_paths.csv": "8 of 8 files are missing",
    }
    told = {"ragged_short.csv": "fewer cells than the header, .*: 5", "cut_last_line.csv": "fewer cells .*: 9"}
    labels = {"int_label_with_gap.parquet": {"0", "1", None}, "label_unicode_nfd.csv": {"café"}}
    files = [file for name in ("csv", "csv_quotes") for file in (shared / "cases" / name).iterdir() if file.is_file()]
    assert refused.keys() <= {file.name for file in files}
    for file in sorted(files):
        if file.name in refused:
            with pytest.raises(ManifestError, match=refused[file.name]):
                read_manifest(file, "image")
            continue
        manifest = read_manifest(file, "image")
        assert len(manifest.items) == (9 if file.name == "same_file_two_labels.csv" else 8)
        assert re.search(told.get(file.name, ""), " ".join(manifest.notes)), file.name
        if file.name in labels:
            assert {item.label for item in manifest.items} == labels[file.name]
