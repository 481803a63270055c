"""Label maps: the published one, labels spelt alike, maps of one's own, and what is left out."""

import unicodedata
from pathlib import Path

import pytest

from emoclim.data.labels.taxonomy import IMAGE_EMOTIONS, MUSIC_EMOTIONS, PARTNERS, match_labels, read_label_map
from emoclim.errors import ManifestError
from emoclim.modality import Modality


def test_the_papers_map_has_six_classes_and_leaves_three_labels_out() -> None:
    found = match_labels({"image": IMAGE_EMOTIONS, "audio": MUSIC_EMOTIONS})
    assert found.classes == ("exciting", "happy", "funny", "angry", "scary", "sad")
    assert found.left_out("image", ["awe", "awe", "disgust", "fear", None]) == {"awe": 2, "disgust": 1}
    assert found.left_out("audio", ["tender", "sad"]) == {"tender": 1}
    for label, partner in PARTNERS.items():
        assert found.class_of("image", label) == found.class_of("audio", partner)


def test_labels_spelt_alike_map_to_each_other() -> None:
    found = match_labels({"image": ["dusk", "fear"], "audio": ["dusk", "fear"]})
    assert found.classes == ("dusk", "fear")
    assert found.class_of("image", "fear") == found.class_of("audio", "fear") == 1


def test_a_label_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ManifestError, match="'hapy': .* happy, sad"):
        match_labels({"image": ["hapy", "sadness"], "audio": ["happy", "sad"]})


def test_labels_without_a_common_class_are_an_error() -> None:
    with pytest.raises(ManifestError, match="no class in common"):
        match_labels({"image": ["awe"], "audio": ["tender"]})


def test_own_maps_come_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('[image]\nsunset = "calm"\nstorm = "wild"\nmisc = ""\n[audio]\nambient = "calm"\nmetal = "wild"\n')
    found = read_label_map(path, {"image": ["sunset", "misc"], "audio": ["ambient", "metal"]})
    assert found.classes == ("calm", "wild")
    assert (found.class_of("image", "storm"), found.class_of("audio", "metal")) == (1, 1)
    assert found.left_out("image", ["misc"]) == {"misc": 1}


def test_a_map_names_a_label_in_any_spelling(tmp_path: Path) -> None:
    label = {form: unicodedata.normalize(form, "fröhlich") for form in ("NFC", "NFD")}
    (tmp_path / "map.toml").write_text(f'[image]\n"{label["NFD"]}" = "x"\n[audio]\nglad = "x"\n', encoding="utf-8-sig")
    found = read_label_map(tmp_path / "map.toml", {"image": [label["NFC"]], "audio": ["glad"]})
    assert found.class_of("image", label["NFC"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[image]\na = "x"\n[audio]\nb = "x"\n', "gives no class for image label 'z'"),
        ('[image]\nz = "x"\n[audio]\nb = "y"\n', "gives class 'x' to one modality only"),
        ('[picture]\nz = "x"\n', "picture.*should be 'image', 'audio'"),
        ("z = = 1", "cannot be read"),
        ('[image]\nz = 3\n[audio]\nb = "y"\n', r"image\.z.*valid string"),
        ('[image]\nz = ["x", "y"]\n[audio]\nb = "y"\n', "gives image label z a list of classes"),
    ],
)
def test_maps_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    labels: dict[Modality, list[str]] = {"image": ["z"], "audio": ["b"]}
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_label_map(tmp_path / "map.toml", labels)


def test_published_maps_are_found_by_name() -> None:
    labels: dict[Modality, tuple[str, ...]] = {"text": ("anger", "surprised"), "audio": MUSIC_EMOTIONS}
    found = read_label_map(Path("won2021-alm-w2v"), labels)
    assert found.classes == ("angry", "scary", "happy", "sad")
    assert found.class_of("text", "surprised") == found.class_of("audio", "happy")
    with pytest.raises(ManifestError, match="nowhere.toml"):
        read_label_map(Path("nowhere.toml"), labels)


def test_the_published_mapping_table_agrees(shared: Path) -> None:
    rows = [line.split(",") for line in (shared / "labels" / "emotion_mapping.csv").read_text().split()[1:]]
    assert {image: music for image, music in rows if image and music} == PARTNERS
