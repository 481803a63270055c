"""Data sets against what is known of the real ones: their lists of files, labels and published counts."""

import csv
import hashlib
import os
from collections import Counter, defaultdict
from pathlib import Path

import miniature_audioset_mood as audioset
import miniature_deepemotion as photos
import miniature_magnatagatune as magna
import pytest
from dataset_contract import write_tree

from emoclim.data.datasets import audioset_mood, deepemotion, magnatagatune
from emoclim.data.datasets.loading import read_dataset
from emoclim.data.labels.taxonomy import MUSIC_EMOTIONS
from emoclim.errors import ManifestError
from emoclim.pipeline.preparation.prepare import prepare_dataset
from emoclim.pipeline.workspace import Workspace


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_moods_of_audioset_are_those_of_its_real_lists(shared: Path, tmp_path: Path) -> None:
    rows = rows_of(shared / "labels" / "audioset_mood_rows.csv")
    files = {
        f"{subset}_segments.csv": audioset.listed(
            *(
                audioset.line(row["ytid"], int(float(row["start"])), *row["moods"].split("|"))
                for row in rows
                if row["split"] == subset
            )
        )
        for subset in ("balanced_train", "eval")
    }
    clips = {f"{row['split']}/{row['ytid']}_{int(float(row['start']))}.wav": row["ytid"].encode() for row in rows}
    prepared = read_dataset("audioset_mood", write_tree(tmp_path / "clips", files | clips))
    single = {f"{row['ytid']}_{float(row['start']):g}": row["moods"] for row in rows if "|" not in row["moods"]}
    assert {item.id: item.label for item in prepared.items} == single
    assert Counter(one.reason for one in prepared.left_out) == {"several moods": 18}
    sizes = Counter(prepared.splits["audioset"].values())
    assert sizes == audioset_mood.DESCRIPTION.split_sizes["audioset"] == {"val": 401, "test": 403}
    assert prepared.notes == ("no clip of unbalanced_train: there is no unbalanced_train_segments.csv",)


def test_emo_clim_counted_as_its_papers_say() -> None:
    assert sum(audioset_mood.DESCRIPTION.published["Emo-CLIM's code"].values()) == 13_713
    assert sum(deepemotion.DESCRIPTION.published["Emo-CLIM's code"].values()) == 21_829
    published = deepemotion.DESCRIPTION.published
    assert sum(published["You et al."].values()) == 23_308
    assert all(published["Emo-CLIM's code"][label] < count for label, count in published["You et al."].items())


def test_labels_are_those_of_the_papers(shared: Path) -> None:
    known = rows_of(shared / "labels" / "emotion_mapping.csv")
    assert {row["image_label"] for row in known} - {""} == set(deepemotion.DESCRIPTION.labels)
    assert {row["music_label"] for row in known} - {""} <= set(audioset_mood.DESCRIPTION.labels)
    tags = (shared / "labels" / "mtat_top50_tags.txt").read_text(encoding="utf-8").split("\n")
    assert tuple(tag for tag in tags if tag) == magnatagatune.TAGS


@pytest.fixture(scope="module")
def listed(shared: Path) -> list[dict[str, str]]:
    """The validation and test clips of one of MagnaTagATune's splits, with their tags."""
    return rows_of(shared / "labels" / "mtat_split_pons2017.csv")


def test_both_splits_of_magnatagatune_are_the_published_ones(
    shared: Path, listed: list[dict[str, str]], tmp_path: Path
) -> None:
    clips = {row["clip_id"]: (row["path"], tuple(filter(None, row["tags"].split("|")))) for row in listed}
    files = {"annotations_final.csv": magna.annotations(clips)} | {path: b"" for path, _ in clips.values()}
    prepared = read_dataset("magnatagatune", write_tree(tmp_path / "magna", files))
    paths = {item.id: f"{item.path.parent.name}/{item.path.name}" for item in prepared.items if item.path}
    names = {"valid": "val", "test": "test"}
    published = {
        "pons2017": {(row["path"], names[row["split"]]) for row in listed},
        "lee2017": {(row["path"], names[row["split"]]) for row in rows_of(shared / "labels" / "mtat_split_sota.csv")},
    }
    for name, rows in published.items():
        split = prepared.splits[name]
        assert {(paths[id_], part) for id_, part in split.items()} == rows
        sizes = magnatagatune.DESCRIPTION.split_sizes[name]
        assert Counter(split.values()) == {part: sizes[part] for part in ("val", "test")}
    assert {item.id: item.tags for item in prepared.items} == {
        id_: tuple(tag for tag in magnatagatune.TAGS if tag in tags) for id_, (_, tags) in clips.items()
    }


def test_no_track_of_magnatagatune_is_torn(listed: list[dict[str, str]], tmp_path: Path) -> None:
    folders: dict[str, set[str]] = defaultdict(set)
    for row in listed:
        match = magnatagatune.PATH.fullmatch(row["path"])
        assert match
        folders[match[2]].add(match[1])
    assert len(folders) == 1482
    assert all(len(found) == 1 for found in folders.values())


def test_the_trained_part_of_magnatagatune_is_of_the_published_size(shared: Path) -> None:
    ids = (shared / "labels" / "mtat_split_sota_train_ids.txt").read_text().split()
    empty = 3
    assert len(ids) - empty == magnatagatune.DESCRIPTION.split_sizes["lee2017"]["train"]
    assert sum(magnatagatune.DESCRIPTION.split_sizes["pons2017"].values()) == magnatagatune.CLIPS - empty


def test_a_clip_that_starts_elsewhere_is_another(tmp_path: Path) -> None:
    video = next(iter(audioset.VIDEOS))
    files = audioset.LISTS | {f"{video}_70.wav": b"later", "Ygone_video_0.wav": b"there"}
    prepared = read_dataset("audioset_mood", write_tree(tmp_path / "clips", files))
    assert [item.id for item in prepared.items] == ["Ygone_video_0"]
    assert prepared.notes == (f"left out 1 clips that start elsewhere than AudioSet's ({video}_70.wav, for one)",)


@pytest.mark.parametrize("header", ["", "emotion,url,disagree,agree\n", "Label,Address,#Disagrees,#Agrees\n"])
def test_votes_are_kept_with_and_without_a_header(tmp_path: Path, header: str) -> None:
    files = photos.lists(photos.LISTED, header) | photos.PICTURES
    prepared = read_dataset("deepemotion", write_tree(tmp_path / "photos", files))
    assert prepared.columns["agree"] == {f"{name}.jpg": str(agree) for name, (_, agree) in photos.PHOTOS.items()}
    assert prepared.columns["disagree"] == {f"{name}.jpg": str(5 - agree) for name, (_, agree) in photos.PHOTOS.items()}


def test_a_minority_for_some_photos_does_not_hide_the_votes(tmp_path: Path) -> None:
    unsure = photos.PHOTOS | {"awe/0_awe_z": ("awe", 1)}
    folder = write_tree(tmp_path / "photos", photos.lists(unsure) | photos.PICTURES)
    prepared = read_dataset("deepemotion", folder)
    assert [(one.id, one.reason) for one in prepared.left_out] == [
        ("awe/0_awe_z.jpg", "fewer than 3 agree with its emotion")
    ]
    assert sum(id_.startswith("awe/") for id_ in prepared.columns["agree"]) == 3
    assert prepared.notes == ()


def test_votes_that_cannot_be_told_apart_are_not_kept(tmp_path: Path) -> None:
    unsure = photos.PHOTOS | {f"awe/{n}_awe_z": ("awe", 2 + n % 2) for n in range(4)}
    folder = write_tree(tmp_path / "photos", photos.lists(unsure) | photos.PICTURES)
    prepared = read_dataset("deepemotion", folder)
    assert not any(id_.startswith("awe/") for id_ in prepared.columns["agree"])
    assert len(prepared.items) == len(photos.PHOTOS)
    assert prepared.notes == ("the lists do not tell for 4 photos how many agree; all of them are kept",)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_nothing_is_a_photo_that_is_missing(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "photos", photos.PICTURES)
    (folder / "awe" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    result = prepare_dataset("deepemotion", folder, workspace=Workspace(tmp_path))
    assert [(one.id, one.kind) for one in result.left_out] == [("awe/lost.jpg", "missing")]
    assert len(result.items) == len(photos.PHOTOS)


def test_clips_that_are_not_used_are_counted_and_two_files_of_one_are_refused(tmp_path: Path) -> None:
    path = next(iter(magna.CLIPS.values()))[0]
    other = {"mp3/0/of-no-list-0-29.mp3": b"x", f"wav/{path.removesuffix('.mp3')}.wav": b"converted"}
    whole, folder = (write_tree(tmp_path / name, magna.FILES | more) for name, more in (("a", {}), ("b", other)))
    prepared = read_dataset("magnatagatune", folder)
    told = "left out 2 audio files of no listed clip, or of one that is there in another format"
    assert prepared.notes[1:] == (told,)
    assert not any("audio files" in note for note in read_dataset("magnatagatune", whole).notes)
    write_tree(folder, {f"copy/{path}": b"other bytes"})
    with pytest.raises(ManifestError, match=rf"two files of one clip \(copy/{path} and mp3/{path}\); keep one of each"):
        read_dataset("magnatagatune", folder)


def test_photos_in_a_folder_for_each_emotion_need_no_lists(tmp_path: Path) -> None:
    files = {f"emotion_dataset/{path.replace('awe/', 'Awe/')}": content for path, content in photos.PICTURES.items()}
    result = prepare_dataset(
        "deepemotion", write_tree(tmp_path / "photos", files | {"loose.jpg": b"x"}), workspace=Workspace(tmp_path)
    )
    assert Counter(item.label for item in result.items) == dict.fromkeys(deepemotion.IMAGE_EMOTIONS, 4)
    assert [(one.id, one.reason) for one in result.left_out] == [("loose.jpg", "in no emotion's folder")]
    with pytest.raises(ManifestError, match=r"no folder with photos of fear; found emotion_dataset/ \(28 files\)"):
        read_dataset(
            "deepemotion",
            write_tree(tmp_path / "half", {path: content for path, content in files.items() if "fear" not in path}),
        )


def test_a_photo_listed_with_two_emotions_and_one_file_is_left_out(tmp_path: Path) -> None:
    twice = photos.PHOTOS | {"fear/0_awe_z": ("fear", 5)}
    flat = {f"images/{Path(path).name}": content for path, content in photos.PICTURES.items()}
    prepared = read_dataset("deepemotion", write_tree(tmp_path / "photos", photos.lists(twice) | flat))
    assert [one for one in prepared.left_out if one.kind == "unused"] == [
        ("images/0_awe_z.jpg", "unused", "listed with several emotions")
    ]
    assert len(prepared.items) == len(photos.PHOTOS) - 1


def test_the_picture_in_place_of_a_photo_is_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = b"\x89PNG" + bytes(deepemotion.FLICKR_SIZE - 4)
    folder = write_tree(tmp_path / "photos", photos.PICTURES | {"awe/gone.jpg": served})
    assert "awe/gone.jpg" in {item.id for item in read_dataset("deepemotion", folder).items}
    monkeypatch.setattr(deepemotion, "FLICKR_PLACEHOLDER", hashlib.md5(served).hexdigest())
    prepared = read_dataset("deepemotion", folder)
    assert [one.id for one in prepared.left_out] == ["awe/gone.jpg"]


def test_as_many_copies_as_emotions_may_be_a_photo_and_one_more_is_none(tmp_path: Path) -> None:
    copies = {f"{emotion}/same.jpg": b"the same photo" for emotion in deepemotion.IMAGE_EMOTIONS}
    folder = write_tree(tmp_path / "photos", photos.PICTURES | copies)
    assert not read_dataset("deepemotion", folder).left_out
    write_tree(folder, {"awe/again.jpg": b"the same photo"})
    assert {one.id for one in read_dataset("deepemotion", folder).left_out} == {*copies, "awe/again.jpg"}


def test_labels_of_audioset_are_the_music_emotions() -> None:
    assert tuple(audioset_mood.MOODS.values()) == MUSIC_EMOTIONS


def test_the_split_of_won_that_is_not_offered_is_told() -> None:
    assert "16,104 to learn and 540 to test; which ones, is not" in audioset_mood.DESCRIPTION.what
