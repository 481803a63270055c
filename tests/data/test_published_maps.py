"""Published label maps: by name, against the paper's table, and what they make relevant."""

import json
import tomllib
from pathlib import Path

import pytest

from emoclim.data.datasets.loading import find_dataset
from emoclim.data.labels.published_maps import FOLDER, find_label_map, label_map_names, nearest_labels
from emoclim.data.labels.relevance import read_relevance, relate_nearest
from emoclim.data.labels.taxonomy import MUSIC_EMOTIONS, read_label_map
from emoclim.data.labels.valence_arousal import read_valence_arousal
from emoclim.errors import ManifestError
from emoclim.modality import Modality

COLUMNS = {"va": "VA", "w2v": "W2V", "manual": "manual"}
PLACES = {"calm": (0.75, 0.25), "wild": (0.75, 0.875), "dull": (0.25, 0.25), "mild": (0.5, 0.25), "storm": (0.5, 1.0)}


def parts_of(name: str) -> tuple[str, str]:
    """Data set and column of the table."""
    _, dataset, column = name.split("-")
    return dataset, COLUMNS[column]


def labels_of(name: str) -> dict[Modality, tuple[str, ...]]:
    return {"text": find_dataset(parts_of(name)[0]).DESCRIPTION.labels, "audio": MUSIC_EMOTIONS}


def tables_of(name: str) -> dict[str, dict[str, str | list[str]]]:
    return tomllib.loads(find_label_map(Path(name)).read_text(encoding="utf-8"))


def test_there_are_three_maps_for_each_of_two_data_sets() -> None:
    assert label_map_names() == [
        f"won2021-{dataset}-{column}" for dataset in ("alm", "isear") for column in sorted(COLUMNS)
    ]


@pytest.mark.parametrize("name", label_map_names())
def test_published_maps_are_those_of_the_paper(name: str, shared: Path) -> None:
    table = json.loads((shared / "labels" / "won2021_table2.json").read_text(encoding="utf-8"))
    dataset, column = parts_of(name)
    found = {label: [given] if isinstance(given, str) else given for label, given in tables_of(name)["text"].items()}
    assert found == {label: table["map"][label][column] for label in table[f"{dataset}_labels"]}


@pytest.mark.parametrize("name", label_map_names())
def test_published_maps_know_all_labels_of_their_data_sets(name: str) -> None:
    tables, labels = tables_of(name), labels_of(name)
    assert {modality: set(table) for modality, table in tables.items()} == {m: set(of) for m, of in labels.items()}
    classes = {one for given in tables["text"].values() for one in ([given] if isinstance(given, str) else given)}
    assert tables["audio"] == {label: label if label in classes else [] for label in MUSIC_EMOTIONS}


@pytest.mark.parametrize("name", [name for name in label_map_names() if not name.endswith("manual")])
def test_published_maps_of_one_class_can_be_trained_on(name: str) -> None:
    found = read_label_map(find_label_map(Path(name)), labels_of(name))
    for modality, table in tables_of(name).items():
        for label, given in table.items():
            index = found.class_of(modality, label)
            assert (found.classes[index] if index is not None else []) == given


def test_valence_and_arousal_give_the_papers_column(shared: Path) -> None:
    """All 11 of its rows; the data sets share one label."""
    table = json.loads((shared / "labels" / "won2021_table2.json").read_text(encoding="utf-8"))
    places = read_valence_arousal(shared / "labels" / "nrc_vad_taxonomy_words.csv")
    found = nearest_labels(sorted(table["map"]), table["music_labels"], places)
    assert len(found) == 11
    assert {label: [nearest] for label, nearest in found.items()} == {
        label: row["VA"] for label, row in table["map"].items()
    }


def test_a_computed_map_relates_a_query_to_the_nearest_label_of_the_candidates(shared: Path) -> None:
    table = json.loads((shared / "labels" / "won2021_table2.json").read_text(encoding="utf-8"))
    places = read_valence_arousal(shared / "labels" / "nrc_vad_taxonomy_words.csv")
    label_map, relevance = relate_nearest({"text": table["map"], "audio": table["music_labels"]}, places)
    related = {
        asked: [label_map.classes[place] for place in relevance["text", "audio"][row].nonzero()[:, 0].tolist()]
        for row, asked in enumerate(label_map.classes)
        if asked in table["map"]
    }
    assert related == {label: row["VA"] for label, row in table["map"].items()}
    assert (relevance["audio", "text"].sum(dim=1) == 1).sum() == len(table["music_labels"])
    assert relevance["text", "text"].nonzero().tolist() == [
        [label_map.classes.index(label)] * 2 for label in sorted(table["map"])
    ]


def test_nearest_labels_by_hand() -> None:
    assert nearest_labels(["Mild", "storm", "dull"], ["wild", "Calm", "dull"], PLACES) == {
        "Mild": "Calm",  # as near as dull, and before it
        "storm": "wild",
        "dull": "dull",
    }


def test_words_without_a_place_are_told() -> None:
    with pytest.raises(ManifestError, match="'awe' has no valence and arousal"):
        nearest_labels(["mild", "awe"], ["calm"], PLACES)
    with pytest.raises(ManifestError, match="'tender' has no valence"):
        nearest_labels(["mild"], ["calm", "tender"], PLACES)
    with pytest.raises(ManifestError, match="no label to map to"):
        nearest_labels(["mild"], [], PLACES)


def test_a_file_comes_before_a_name_and_neither_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_label_map(Path("won2021-alm-va")) == FOLDER / "won2021-alm-va.toml"
    Path("won2021-alm-va").write_text("mine")
    assert find_label_map(Path("won2021-alm-va")) == Path("won2021-alm-va")
    with pytest.raises(ManifestError, match=r"no label map won2021-alm: .*\(won2021-alm-manual, won2021-alm-va, "):
        find_label_map(Path("won2021-alm"))


def test_relevance_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text(
        '[text]\njoy = ["up", "bright"]\nsad = "low"\nnone = ""\n'
        '[audio]\nsad = "low"\nloud = "up"\nodd = ""\nmild = []\n'
    )
    found, relevance = read_relevance(path, {"text": ("joy", "sad", "none"), "audio": ("sad", "loud", "odd", "mild")})
    assert set(found.classes) == {"joy", "sad", "loud", "mild"}
    assert found.maps["audio"] == {"sad": "sad", "loud": "loud", "odd": None, "mild": "mild"}
    assert found.names()["audio"]["joy"] == "–"
    relevant = {
        pair: {(found.classes[q], found.classes[c]) for q, c in table.nonzero().tolist()}
        for pair, table in relevance.items()
    }
    assert relevant == {
        ("text", "audio"): {("joy", "loud"), ("sad", "sad")},
        ("audio", "text"): {("loud", "joy"), ("sad", "sad")},
        ("text", "text"): {("joy", "joy"), ("sad", "sad")},
        ("audio", "audio"): {("loud", "loud"), ("sad", "sad"), ("mild", "mild")},
    }


def test_the_manual_map_makes_several_moods_relevant() -> None:
    found, relevance = read_relevance(Path("won2021-isear-manual"), labels_of("won2021-isear-manual"))
    joy = relevance["text", "audio"][found.classes.index("joy")]
    moods = {label for label, relevant in zip(found.classes, joy.tolist(), strict=True) if relevant}
    assert moods == {"exciting", "funny", "happy"}
    tender = found.class_of("audio", "tender")
    assert not relevance["text", "audio"][:, tender].any(), "it is ranked, as in the paper, and never right"
    assert relevance["audio", "audio"][tender, tender]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[text]\na = "x"\n', r"has no table \[audio\]"),
        ('[text]\na = "x"\n[audio]\nb = 3\n', r"audio\.b: .*valid string"),
        ('[text]\na = ["x", 1]\n[audio]\nb = "x"\n', r"text\.a: .*valid string"),
        ('[text]\na = "x"\n[audio]\nc = "x"\n', "no class for audio label 'b'"),
        ('[text]\na = "x"\n[audio]\nb = "y"\n', "no audio label is relevant to any text label"),
        ("a = = 1", "cannot be read"),
    ],
)
def test_maps_that_say_nothing_of_relevance_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_relevance(tmp_path / "map.toml", {"text": ("a",), "audio": ("b",)})
