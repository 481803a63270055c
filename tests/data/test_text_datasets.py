"""What is special about data sets of sentences, and about those with several splits or kinds of items."""

from collections import Counter
from pathlib import Path

import miniature_alm as alm
import miniature_con_espressione as performances
import miniature_isear as isear
import miniature_mtg_jamendo as jamendo
import miniature_musiccaps as musiccaps
import pytest
from dataset_contract import write_tree

from emoclim.data.datasets.con_espressione import PIECES
from emoclim.data.datasets.loading import find_dataset, read_dataset
from emoclim.data.datasets.mtg_jamendo import KNOWN, TRACKS
from emoclim.errors import ConfigError, ManifestError
from emoclim.pipeline.preparation.prepare import prepare_dataset
from emoclim.pipeline.workspace import Workspace


def test_what_was_published_adds_up() -> None:
    known = {name: find_dataset(name).DESCRIPTION for name in ("alm", "isear", "mtg_jamendo", "con_espressione")}
    assert sum(known["alm"].published["Alm 2008"].values()) == 1_207
    assert sum(known["alm"].split_sizes["won2021"].values()) == 1_207
    assert sum(known["isear"].published["ISEAR"].values()) == 7_666
    assert (len(TRACKS), len(KNOWN)) == (56, 59)
    assert sum(known["mtg_jamendo"].split_sizes["split-0"].values()) == 17_982
    assert sum(find_dataset("musiccaps").DESCRIPTION.split_sizes["audioset"].values()) == 5_521
    assert all(sum(sizes.values()) == 45 for sizes in known["con_espressione"].split_sizes.values())


def test_the_tales_of_an_author_stay_with_the_author(tmp_path: Path) -> None:
    prepared = read_dataset("alm", write_tree(tmp_path / "tales", alm.FILES))
    texts = {item.id: item.text for item in prepared.items}
    assert texts == {name: sentence for name, (sentence, _) in alm.SENTENCES.items()}
    assert {item.group for item in prepared.items} == {name.rpartition("/")[0] for name in texts}
    parts = {(id_.partition("/")[0], part) for id_, part in prepared.splits["won2021"].items()}
    assert parts == {("Grimms", "train"), ("HCAndersen", "train"), ("Potter", "test")}
    assert prepared.notes == ("found 30 sentences, of 1,207 published",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_tales_may_be_older_than_utf_8(tmp_path: Path, encoding: str) -> None:
    files = alm.FILES | {"Potter/agree-sent/new.agree": '7@6@"Adieu, Élise."'.encode(encoding)}
    prepared = read_dataset("alm", write_tree(tmp_path / "tales", files))
    assert {item.id: item.text for item in prepared.items}["Potter/new/7"] == '"Adieu, Élise."'


def test_an_ellipsis_of_windows_ends_no_line(tmp_path: Path) -> None:
    lines = '7@6@"Adieu\x85 Élise."\r\n8@4@They laughed.\r9@4@All of them.'
    files = alm.FILES | {"Potter/agree-sent/new.agree": lines.encode("latin-1")}
    prepared = read_dataset("alm", write_tree(tmp_path / "tales", files))
    texts = {item.id: item.text for item in prepared.items if item.group == "Potter/new"}
    assert list(texts) == ["Potter/new/7", "Potter/new/8", "Potter/new/9"]
    assert str(texts["Potter/new/7"]).endswith('Élise."')


def test_people_who_say_nothing_are_not_joined(tmp_path: Path) -> None:
    same = isear.TABLE.replace(isear.SILENT["110014"].encode(), isear.SILENT["210107"].encode())
    folder = write_tree(tmp_path / "isear", {"isear.csv": same})
    result = prepare_dataset("isear", folder, workspace=Workspace(tmp_path))
    assert {item.group for item in result.items} == {str(person) for person in isear.PEOPLE}
    assert not any("contents" in note for note in result.notes)


def test_reports_are_cleaned_and_kept_by_person(tmp_path: Path) -> None:
    prepared = read_dataset("isear", write_tree(tmp_path / "isear", isear.MINIATURE.files))
    items = {item.id: item for item in prepared.items}
    assert items["110011"].text == 'When I felt "joy" for the 11001th time, and so on; twice |'
    assert Counter(item.group for item in prepared.items) == {str(person): 7 for person in isear.PEOPLE}
    assert prepared.notes == (
        "2 reports say that there was no response",
        "isear.csv has 28 reports, of 7,666 published",
    )


@pytest.mark.parametrize(("delimiter", "zero", "named"), [(",", "0", False), (";", "", True), ("\t", "", False)])
def test_other_exports_of_the_reports_give_the_same(tmp_path: Path, delimiter: str, zero: str, named: bool) -> None:
    lines = [delimiter.join(('"MYKEY"', "id", "Emot", '"SIT"'))]
    for key, (situation, emotion) in isear.SITUATIONS.items():
        said = isear.SILENT.get(key, situation).replace('"', '""')
        cells = (f'"{zero}{key}"', key[:-1], emotion.title() if named else key[-1], f'"{said}"')
        lines.append(delimiter.join(cells))
    folder = write_tree(tmp_path / "other", {"export.csv": "\r\n".join(lines).encode("latin-1")})
    official = read_dataset("isear", write_tree(tmp_path / "isear", isear.MINIATURE.files))
    assert read_dataset("isear", folder).items == official.items


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": isear.TABLE, "b.txt": isear.TABLE}, r"has 2 tables with the columns of ISEAR \(a\.csv and b\.txt\)"),
        ({"a.csv": isear.TABLE.replace(b"|2|7|", b"|2|8|")}, r"row 8 of .*a\.csv has EMOT '8'; ISEAR has 1 to 7 \(joy"),
        ({"a.csv": "".join([isear.HEADER, *isear.ROWS[:6]]).encode()}, "has no report of guilt among its 6"),
    ],
)
def test_reports_that_cannot_be_used_are_told(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_dataset("isear", write_tree(tmp_path / "isear", files))


def test_what_listeners_said_has_the_ids_of_the_recordings(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "game", performances.ANSWERS | performances.RECORDINGS)
    recordings, said = (read_dataset("con_espressione", folder, {"items": of}) for of in ("recordings", "descriptions"))
    assert (recordings.modality, said.modality) == ("audio", "text")
    assert [item.id for item in recordings.items] == [item.id for item in said.items] == list(performances.PERFORMANCES)
    assert [item.group for item in recordings.items] == [item.group for item in said.items]
    assert [item.text for item in said.items][:2] == ["slow, sad, clear phrasing", "slow, sad, clear phrasing, tempo 2"]
    assert recordings.splits == said.splits


def test_a_performance_of_which_nothing_was_said_has_no_description(tmp_path: Path) -> None:
    silent = {
        path: table.replace(b"slow, sad, clear_phrasing", b" ", 1) for path, table in performances.ANSWERS.items()
    }
    prepared = read_dataset("con_espressione", write_tree(tmp_path / "game", silent), {"items": "descriptions"})
    assert [item.id for item in prepared.items] == performances.KEPT
    assert [one.id for one in prepared.left_out] == [performances.LOST]
    assert set(prepared.columns["performer"].values()) == {f"Pianist{number}" for number in range(2, 19)}


def test_every_fold_leaves_one_piece_out(tmp_path: Path) -> None:
    prepared = read_dataset("con_espressione", write_tree(tmp_path / "game", performances.FILES))
    pieces = {item.id: item.group for item in prepared.items}
    for piece in PIECES:
        tested = {id_ for id_, part in prepared.splits[f"fold-{piece}"].items() if part == "test"}
        assert tested == {id_ for id_, own in pieces.items() if own == piece}
    assert set(prepared.splits["all"].values()) == {"test"}
    assert prepared.notes[0].startswith("not all performances are in con_espressione_game_answers.csv: bach 2 of 7, ")
    assert len(prepared.notes) == 1


def test_recordings_of_no_piece_are_counted(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "game", performances.MINIATURE.files)
    prepared = read_dataset("con_espressione", folder)
    assert prepared.notes[1:] == ("left out 1 audio files of no listed performance",)


def test_answers_without_recordings_are_told(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "game", performances.ANSWERS)
    with pytest.raises(ManifestError, match=r"none of the 18 recordings.*found con_espressione_game_answers\.csv;"):
        read_dataset("con_espressione", folder)
    with pytest.raises(ConfigError, match="option items of data set 'con_espressione' cannot be 'songs'"):
        read_dataset("con_espressione", folder, {"items": "songs"})
    changed = {path: table.replace(b"liszt", b"lizst") for path, table in performances.ANSWERS.items()}
    with pytest.raises(ManifestError, match=r"piece_name 'lizst' .*one of bach"):
        read_dataset("con_espressione", write_tree(tmp_path / "other", changed))


def test_descriptions_of_clips_have_the_ids_of_these(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "caps", musiccaps.LISTED | musiccaps.CLIPS)
    clips, said = (read_dataset("musiccaps", folder, {"items": of}) for of in ("recordings", "descriptions"))
    assert (clips.modality, said.modality) == ("audio", "text")
    assert [item.id for item in clips.items] == [item.id for item in said.items] == musiccaps.IDS
    assert [item.text for item in said.items][:2] == ['Slow, said "0". More of it.', 'Slow, said "1". More of it.']
    assert clips.splits == said.splits
    assert list(said.splits["audioset"].values()) == ["train", "test"] * 6
    assert next(iter(said.columns["aspects"].values())) == "slow tempo, it's 0"
    assert Counter(said.columns["balanced"].values()) == {"true": 3, "false": 9}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b",30,40,", b",-1,40,", "start_s '-1'"),
        (b",False,True", b",no,True", "flags no, True"),
        (b"-Y1________,30,", b"-Y0________,0,", "clip -Y0________0_0 again"),
    ],
)
def test_rows_that_are_no_clips_are_told(tmp_path: Path, old: bytes, new: bytes, told: str) -> None:
    table = musiccaps.LISTED["musiccaps-public.csv"]
    assert old in table
    folder = write_tree(tmp_path / "caps", {"musiccaps-public.csv": table.replace(old, new)})
    with pytest.raises(ManifestError, match=told.replace("-Y0________0", "-Y0_+")):
        read_dataset("musiccaps", folder, {"items": "descriptions"})


def test_the_track_of_full_quality_is_taken(tmp_path: Path) -> None:
    track, number = next(iter(jamendo.NUMBERS.items()))
    stem = jamendo.path_of(number).removesuffix(".mp3")
    both = {f"low/{stem}.low.mp3": b"low", f"z/{stem}.mp3": b"full", f"a/{stem}.flac": b"converted"}
    prepared = read_dataset("mtg_jamendo", write_tree(tmp_path / "jamendo", jamendo.ALL | jamendo.SPLITS | both))
    assert {item.id: str(item.path)[-len(stem) - 6 :] for item in prepared.items} == {track: f"z/{stem}.mp3"}
    assert {item.group for item in prepared.items} == {jamendo.ARTISTS[track]}
    told = "left out 2 audio files of no listed track, or of one that is there in another format"
    assert prepared.notes == (told,)
    write_tree(tmp_path / "jamendo", {f"copy/{stem}.mp3": b"other bytes"})
    with pytest.raises(ManifestError, match=rf"two files of one track \(copy/{stem}\.mp3 and z/{stem}\.mp3\)"):
        read_dataset("mtg_jamendo", tmp_path / "jamendo")


def test_the_five_splits_are_read_as_published(tmp_path: Path) -> None:
    prepared = read_dataset("mtg_jamendo", write_tree(tmp_path / "jamendo", jamendo.FILES))
    assert list(prepared.splits) == [f"split-{number}" for number in range(5)]
    for number, placed in enumerate(prepared.splits.values()):
        for part, name in (("train", "train"), ("val", "validation"), ("test", "test")):
            table = jamendo.SPLITS[f"data/splits/split-{number}/autotagging_moodtheme-{name}.tsv"]
            listed = {line.split("\t")[0] for line in table.decode().splitlines()[1:]}
            assert {track for track, own in placed.items() if own == part} == listed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data/splits/split-3/autotagging_moodtheme-test.tsv": None}, "has no split-3/autotagging_moodtheme-test"),
        (
            {"old/split-1/autotagging_moodtheme-test.tsv": b"TRACK_ID\n"},
            "holds split-1/autotagging_moodtheme-test.tsv 2 times",
        ),
        (
            {"data/splits/split-2/autotagging_moodtheme-test.tsv": jamendo.table({"track_0000001": ("sad",)})},
            r"split-2 has 1 tracks that .*autotagging_moodtheme\.tsv does not list \(track_0000001, for one\)",
        ),
        (
            {"data/splits/split-0/autotagging_moodtheme-test.tsv": jamendo.table(jamendo.TRACK_TAGS)},
            "row 3 of .*split-0/autotagging_moodtheme-test.tsv is in another part of split-0",
        ),
        (
            {"data/autotagging_moodtheme.tsv": b"TRACK_ID\tTAGS\ntrack_1\tx\n"},
            r"begins 'track_1, x' \(columns: TRACK_ID, TAGS\)",
        ),
    ],
)
def test_tables_of_tracks_that_do_not_fit_are_told(
    tmp_path: Path, changed: dict[str, bytes | None], message: str
) -> None:
    files = {path: content for path, content in (jamendo.FILES | changed).items() if content is not None}
    with pytest.raises(ManifestError, match=message):
        read_dataset("mtg_jamendo", write_tree(tmp_path / "jamendo", files))
