"""`emoclim reproduce won2021`, on generated texts by word vectors and on imported features of music."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import answer, run
from PIL import Image
from reproduced import QUICK, rewrite

from emoclim.data.datasets.loading import find_dataset
from emoclim.data.labels.taxonomy import MUSIC_EMOTIONS
from emoclim.recipes.won2021 import FIGURE_3, TABLE_2, TABLE_3, TEXTS
from emoclim.reports import JointSpace, joint_space

PLACES = {"angry": (0.1, 0.8), "exciting": (0.9, 0.8), "funny": (0.9, 0.6), "happy": (1.0, 0.7), "sad": (0.2, 0.3)}
PLACES |= {"scary": (0.1, 0.9), "tender": (0.6, 0.5)}
NEAR = {"anger": "angry", "fearful": "scary", "surprised": "exciting", "disgust": "angry", "fear": "scary"}
NEAR |= {"guilt": "sad", "joy": "happy", "sadness": "sad", "shame": "sad"}
SPLITS = ("train", "train", "val", "test", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, _plain_umap: None) -> Path:
    """A workspace in which table 3 was made; its answer is in answer.json."""
    root = tmp_path_factory.mktemp("won2021")
    (root / "data").mkdir()
    (root / "quick.toml").write_text(QUICK)
    draw = np.random.default_rng(3)
    words = {label: draw.standard_normal(8) for label in (*MUSIC_EMOTIONS, *NEAR)}
    lines = [" ".join([word, *(f"{entry:.4f}" for entry in entries)]) for word, entries in words.items()]
    near = [f"{word} {' '.join(map(str, draw.standard_normal(8)))}" for word in ("chill", "calm", "storm")]
    (root / "words.txt").write_text("\n".join([*lines, *near]) + "\n")
    rewrite(root / "vad.csv", "word valence arousal", [(word, *_place(word)) for word in words])
    for texts, name in TEXTS.items():
        labels = find_dataset("alm" if texts == "alm" else "isear").DESCRIPTION.labels
        rows = [
            (f"{texts}-{label}-{number}", f"{label} {number}, {texts}", label, split)
            for label in labels
            for number, split in enumerate(SPLITS)
        ]
        rewrite(root / "data" / f"{name}.csv", "id text label split", rows)
    rows = [(f"{label}/{number}.wav", label, split) for label in MUSIC_EMOTIONS for number, split in enumerate(SPLITS)]
    rewrite(root / "data" / "audio.csv", "path label split", rows)
    values = np.array([[*words[label], *draw.standard_normal(4)] for _, label, _ in rows], np.float32)
    np.savez(root / "music.npz", ids=np.array([path for path, *_ in rows]), values=values)
    own = ("--name", "music", "--modality", "audio", "--manifest", root / "data" / "audio.csv", "--workspace", root)
    run("cache", "import", root / "music.npz", *own)
    found = reproduce(root, "table3")
    (root / "answer.json").write_text(json.dumps(found))
    return root


def _place(word: str) -> tuple[float, float]:
    valence, arousal = PLACES[NEAR.get(word, word)]
    return valence, arousal + (0.01 if word in NEAR else 0.0)


def reproduce(root: Path, table: str, *more: object, code: int = 0, vectors: bool = True) -> Any:
    words: list[object] = ["reproduce", "won2021", table, "--encoder", "distilbert=word_vectors"]
    words += ["--checkpoint", f"distilbert={root / 'words.txt'}", "--encoder", "music_resnet=music"]
    words += ["--vad", root / "vad.csv", "--word-vectors", root / "words.txt"] if vectors else []
    words += ["--config", root / "quick.toml", "--workspace", root, "--workers", 0, "--device", "cpu"]
    return answer(*words, *more, code=code)


def test_every_row_of_table_3_is_made_once_and_measured_by_three_maps(made: Path) -> None:
    found = json.loads((made / "answer.json").read_text())
    assert [row["row"] for row in found["rows"]] == list(TABLE_3.rows)
    assert {row["state"] for row in found["rows"]} == {"done"}
    assert [len(row["runs"]) for row in found["rows"]] == [1] * 12
    assert len({run for row in found["rows"] for run in row["runs"]}) == 12
    assert {len(row["reports"]) for row in found["rows"]} == {3}
    *systems, chance = found["table"]["lines"]
    assert [len(line["own"]) for line in systems] == [12] * 6
    assert list(systems[0]["paper"].values()) == list(TABLE_3.lines[0].numbers)
    rows = {row["row"]: row for row in found["rows"]}
    for texts, name in (("alm", "Alm's"), ("isear", "ISEAR")):
        for place, title in enumerate(("VA", "W2V", "manual")):
            report = json.loads((made / rows[f"2-branch-{texts}"]["reports"][place]).read_text())
            assert report["label_map"]["name"] == f"won2021-{texts}-{('va', 'w2v', 'manual')[place]}"
            across = report["directions"]["text_audio"]
            assert systems[4]["own"][f"{name} {title} MRR"]["value"] == across["metrics"]["MRR"]
            assert chance["own"][f"{name} {title} P@5"]["value"] == across["random"]["P@5"]
    assert all(number["value"] == 0 for name, number in systems[0]["own"].items() if name.startswith("ISEAR"))
    assert {one["row"]: one["against"] for one in found["tests"]}["3-branch-alm"] == "2-branch-alm"
    assert len(found["tests"]) == 10 * 6


def test_rows_read_the_texts_that_are_theirs(made: Path) -> None:
    found = json.loads((made / "answer.json").read_text())
    for row in found["rows"]:
        settings = json.loads((made / "runs" / row["runs"][0] / "settings.json").read_text())
        texts = row["row"].rpartition("-")[2]
        assert Path(settings["libraries"]["text"]["path"]).name == f"{TEXTS[texts]}.csv"
        assert settings["label_map"]["name"] == f"won2021-{texts}-w2v"
        assert bool(settings["label_vectors"]) == row["row"].startswith(("va", "w2v", "3-branch"))


def test_departures_are_told_row_by_row(made: Path) -> None:
    rows = {row["row"]: row for row in json.loads((made / "answer.json").read_text())["rows"]}
    told = {name: str(row["departures"]) for name, row in rows.items()}
    assert "music stands in for music_resnet" in told["va-alm"]
    assert "labels are those of vad.csv" in told["va-alm"]
    assert "labels are those of words.txt" in told["w2v-alm"]
    assert "alm.csv has 25 items" in told["w2v-alm"]
    assert "text.csv" not in told["w2v-alm"]
    assert "where the paper had 16,995" in told["w2v-isear"]
    assert "epochs=1 (200)" in told["classification-isear"]
    assert "epochs=1 (100)" in told["3-branch-isear"]
    assert all("the optimiser is AdamW" in one for one in told.values())


def test_rows_that_lack_something_say_so_and_the_others_are_made(made: Path, tmp_path: Path) -> None:
    found = reproduce(
        made, "table3", "--explain", "--manifest", f"alm={tmp_path / 'alm.csv'}", "--seeds", 2, vectors=False
    )
    rows = {row["row"]: (row["missing"], row["state"]) for row in found["rows"]}
    assert rows["multi-head-alm"] == ([f"manifest {tmp_path / 'alm.csv'}"], "not possible")
    assert rows["multi-head-isear"] == ([], "to do")  # with two seeds
    assert rows["va-isear"] == (["--vad"], "not possible")
    assert rows["3-branch-isear"] == (["--word-vectors"], "not possible")
    assert any("emoclim prepare alm FOLDER, or name yours with --manifest alm=FILE" in note for note in found["notes"])
    with (made / "data" / "alm.csv").open(newline="") as file:
        listed = [row for row in csv.reader(file) if row[-1] != "val"]
    rewrite(tmp_path / "alm.csv", " ".join(listed[0]), listed[1:])
    words = ("--explain", "--rows", "va-alm", "--manifest", f"alm={tmp_path / 'alm.csv'}")
    assert reproduce(made, "table3", *words)["rows"][0]["missing"] == ["a split val in alm.csv"]


def test_settings_of_the_published_code_are_other_runs(made: Path) -> None:
    rows = {row["row"]: row for row in json.loads((made / "answer.json").read_text())["rows"]}
    words = ("--explain", "--rows", "isear")
    code = {row["row"]: row for row in reproduce(made, "table3", *words, "--preset", "paper-code")["rows"]}
    changed = {name for name, row in code.items() if row["runs"] != rows[name]["runs"]}
    assert changed == {"w2v-isear", "2-branch-isear", "3-branch-isear"}


def test_labels_are_mapped_by_what_is_given(made: Path) -> None:
    found = reproduce(made, "table2")
    assert [line["title"] for line in found["table"]["lines"]] == [line.title for line in TABLE_2.lines]
    own = {line["title"]: line["own"] for line in found["table"]["lines"]}
    assert {label: cells["VA"] for label, cells in own.items()} == {
        line.title: NEAR.get(line.title, line.title) for line in TABLE_2.lines
    }
    assert set(own["joy"]) == {"VA", "W2V"}
    assert "vad.csv" in found["table"]["lines"][0]["mark"]
    lacking = reproduce(made, "table2", "--explain", vectors=False)
    assert sum(note.startswith("Missing: --") for note in lacking["notes"]) == 2


def test_the_papers_column_of_valence_and_arousal_is_computed(shared: Path, tmp_path: Path) -> None:
    vad = shared / "labels" / "nrc_vad_taxonomy_words.csv"
    found = answer("reproduce", "won2021", "table2", "--vad", vad, "--workspace", tmp_path)
    lines = found["table"]["lines"]
    assert [line["own"]["VA"] for line in lines] == [line["paper"]["VA"] for line in lines]
    assert len(lines) == 11


def test_words_near_to_a_tag_are_listed(made: Path) -> None:
    (line,) = reproduce(made, "table1")["table"]["lines"]
    listed = line["own"]["nearest words"].split(", ")
    table = dict(row.split(" ", 1) for row in (made / "words.txt").read_text().splitlines())
    vectors = {word: np.array(entries.split(), float) for word, entries in table.items()}
    cosine = {
        word: vector @ vectors["chill"] / np.linalg.norm(vector) / np.linalg.norm(vectors["chill"])
        for word, vector in vectors.items()
    }
    assert listed == sorted(cosine.keys() - {"chill"}, key=lambda word: -cosine[word])[:10]


def test_the_figure_shows_music_texts_and_tags(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[JointSpace] = []
    monkeypatch.setattr("emoclim.pipeline.reproduction.plan.find_spec", lambda name: name)
    monkeypatch.setattr("emoclim.reports.joint_space._brought", lambda points, fitted, seed: points[:, :2])
    draw = joint_space.plot_joint_spaces
    monkeypatch.setattr(
        "emoclim.pipeline.reproduction.result.plot_joint_spaces",
        lambda spaces, *how, **more: (drawn.extend(spaces), draw(spaces, *how, **more)),
    )
    found = reproduce(made, "figure3", "--rows", "va-isear,2-branch-isear,3-branch-alm")
    lines = {line["title"]: line["own"] for line in found["table"]["lines"] if line["own"]}
    assert [own["texts"]["value"] for own in lines.values()] == [10, 14, 14]
    alms, va, two = {space.title.partition(" ")[2]: space for space in drawn}.values()
    assert alms.tags is not None
    assert (alms.tags.shape, two.tags) == ((len(alms.classes), 16), None)  # which has no branch of tags
    places = [_place(word) for word in va.classes]
    torch.testing.assert_close(va.tags, torch.tensor(places))
    assert lines.keys() <= {line.title for line in FIGURE_3.lines}
    with Image.open(Path(found["folder"]) / "figure.png") as picture:
        assert picture.width > picture.height


def test_an_evaluation_by_a_published_map_stands_in_the_papers_table(made: Path) -> None:
    found = json.loads((made / "answer.json").read_text())
    name = next(row["runs"][0] for row in found["rows"] if row["row"] == "2-branch-isear")
    words = ("--label-map", "won2021-isear-manual", "--no-plots", "--markdown", "--workspace", made)
    shown = run("evaluate", name, *words).stdout
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in shown.splitlines() if "own: " in line]
    (own,) = (row for row in rows if len(row) == 12 and row[:10] == ["–"] * 10)  # of Alm's, and by the other maps
    assert "–" not in own[10:]
