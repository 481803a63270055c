"""`emoclim reproduce expressivity`, on generated texts by word vectors and on imported features of music."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import answer, run

from emoclim.data.datasets.con_espressione import PIECES
from emoclim.encoders import feature_names, load_encoder
from emoclim.recipes.expressivity import TABLE_1, TABLE_2

NAMES = [(f"{piece}-{number}", piece) for piece, size in PIECES.items() for number in range(size)]
CLIPS = [(f"clip-{number}", "") for number in range(30)]
WORDS = [f"word{letter}" for letter in "abcdefghijklmnopqrst"]
PLAIN, EXTRA = "word_vectors-midlevel", "word_vectors-midlevel-musiccaps"
RANDOM = {"Top-1": 0.2, "Top-2": 0.4, "MRR": 0.4539153}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and features of music that follow from the vectors of their words; of a few clips more, too."""
    root, draw = tmp_path_factory.mktemp("expressivity"), np.random.default_rng(0)
    (root / "data").mkdir()
    vectors = {word: draw.standard_normal(6) for word in WORDS}
    (root / "words.txt").write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in vectors.items()))
    said = {name: draw.choice(WORDS, 5) for name, _ in NAMES + CLIPS}
    heard = np.array([sum(vectors[word] for word in words) for words in said.values()]) @ draw.standard_normal((6, 4))
    np.savez(root / "music.npz", ids=list(said), values=heard.astype(np.float32))
    for part, items in {"": NAMES, "musiccaps_": CLIPS}.items():
        for kind in ("text", "audio"):
            rows = [(n, " ".join(said[n]) if kind == "text" else f"{n}.wav", group, "test") for n, group in items]
            with (root / "data" / f"{part}{kind}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("id", "text" if kind == "text" else "path", "group", "split"), *rows])
        manifest = ("--manifest", root / "data" / f"{part}audio.csv", "--workspace", root)
        run("cache", "import", root / "music.npz", "--name", "music", "--modality", "audio", "--allow-extra", *manifest)
    return root


def reproduce(root: Path, *words: object, code: int = 0, timbre: str = "music") -> Any:
    encoders = ("--encoder", "midlevel=music", "--encoder", f"timbre={timbre}", "--encoder", "minilm=word_vectors")
    files = ("--checkpoint", f"word_vectors={root / 'words.txt'}", "--checkpoint", f"minilm={root / 'words.txt'}")
    own = ("--workspace", root, "--workers", 0, "--device", "cpu")
    return answer("reproduce", "expressivity", *words, *encoders, *files, *own, code=code)


def test_rows_are_cross_validated_with_further_data_and_without(workspace: Path) -> None:
    found = reproduce(workspace, "table2", "--rows", f"{PLAIN},{EXTRA}")
    assert {row["state"] for row in found["rows"]} == {"done"}
    assert {name: one["paper"] for name, one in lines(found).items()} == {
        line.title: dict(zip(("Top-1", "Top-2", "MRR", "hits"), line.numbers, strict=True)) for line in TABLE_2.lines
    }
    own = {name: one["own"] for name, one in lines(found).items() if one["own"]}
    assert list(own) == ["none", "MusicCaps"]
    for numbers in own.values():  # there is no noise, and 38 items teach a map of six numbers
        assert (numbers["hits"]["value"], numbers["Top-1"]["value"], numbers["Top-2"]["value"]) == (45, 1, 1)
    runs = [workspace / "runs" / run for row in found["rows"] for run in row["runs"]]
    assert all((folder / "folds.csv").read_text().count("\n") == 91 for folder in runs)  # no clip is in any fold
    assert found["notes"].count("Not as in the paper: musiccaps_text.csv has 30 items, where the paper had 5,521.") == 1
    assert "Not as in the paper: word_vectors has words.txt, which is not known to be ewe_uni.txt." in found["notes"]
    assert "Not as in the paper: music stands in for midlevel." in found["notes"]
    assert not any("split" in note for note in found["notes"])
    times = [(folder / "run.json").stat().st_mtime_ns for folder in runs]
    again = reproduce(workspace, "table2", "--rows", f"{PLAIN},{EXTRA}")
    assert again["table"] == found["table"]
    assert times == [(folder / "run.json").stat().st_mtime_ns for folder in runs]


def test_a_random_order_is_exact_and_what_lacks_is_told(workspace: Path) -> None:
    found = reproduce(workspace, "table1", code=3)
    table = lines(found)
    assert list(table) == [line.title for line in TABLE_1.lines]
    chance = table["random order"]
    assert {name: chance["own"][name]["value"] for name in RANDOM} == pytest.approx(RANDOM)
    assert list(chance["paper"].values())[:3] == ["0.18", "0.37", "0.44"]
    made = [row["row"] for row in found["rows"] if row["state"] == "done"]
    assert made == ["word_vectors-timbre", "minilm-midlevel", "minilm-timbre"]
    lacking = {row["row"]: row["missing"] for row in found["rows"] if row["missing"]}
    assert lacking["mtr_text-midlevel-pitchfork-musiccaps"] == [
        f"manifest {workspace}/data/pitchfork_text.csv",
        f"manifest {workspace}/data/pitchfork_audio.csv",
        "features mtr_text, of S. Doh et al., Toward Universal Text-To-Music Retrieval, ICASSP 2023",
    ]
    told = "Not as in the paper: minilm stands in for emotion-enriched word vectors."
    assert told in found["notes"]
    assert not any(note.startswith("Not as in the paper: text.csv") for note in found["notes"])
    assert table["MiniLM x timbre"]["mark"] == "miniature: not the paper's encoder and settings"


def test_further_data_whose_features_were_not_imported_are_told(workspace: Path) -> None:
    other = workspace / "data" / "other.csv"
    other.write_text((workspace / "data" / "musiccaps_audio.csv").read_text())
    words = ("--rows", EXTRA, "--manifest", f"musiccaps_audio={other}", "--explain")
    (row,) = reproduce(workspace, "table2", *words)["rows"]
    assert (row["missing"], row["state"]) == (["features music of other.csv"], "not possible")


def test_figure_3_shows_what_named_features_add(workspace: Path) -> None:
    draw = np.random.default_rng(1)
    for number, (name, _) in enumerate(NAMES):
        sound = np.sin(np.arange(12_000) * (0.02 + 0.01 * (number % 9))) / 2 + draw.normal(
            0, 0.01 + number / 500, 12_000
        )
        soundfile.write(workspace / "data" / f"{name}.wav", sound, 12_000)
    found = reproduce(workspace, "figure3", "--rows", "word_vectors-timbre,word_vectors-midlevel", timbre="timbre")
    table, folder = lines(found), Path(found["folder"])
    assert table["EWE x timbre"]["own"]["performances"]["value"] == PIECES["bach"]
    assert not table["EWE x mid-level"]["own"]
    assert any("EWE x mid-level: the features compared have no names" in one for one in found["warnings"])
    page = (folder / "figure.html").read_text()
    assert page.count('class="item query"') == PIECES["bach"]
    assert page.count('aria-label="What the score is made of"') == PIECES["bach"] ** 2
    assert page.count("✓ relevant") == PIECES["bach"]
    (run_,) = next(row["runs"] for row in found["rows"] if row["row"] == "word_vectors-timbre")
    told = json.loads(next((workspace / "runs" / run_).rglob("reasons.json")).read_text())["directions"]
    assert [len(one) for one in told.values()] == [45, 45]
    names = set(feature_names(load_encoder("timbre").spec))
    for one in (*told["text_audio"], *told["audio_text"]):
        assert len(one["hits"]) == PIECES[one["query"].rpartition("-")[0]]
        for hit in one["hits"]:
            assert {reason["name"] for reason in hit["reasons"]} == names
            assert sum(reason["contribution"] for reason in hit["reasons"]) == pytest.approx(hit["score"], abs=1e-6)
    found_first = sum(one["hits"][0]["id"] == one["query"] for one in told["text_audio"] if "bach-" in one["query"])
    assert table["EWE x timbre"]["own"]["found first"]["value"] == found_first


def lines(found: Any) -> dict[str, Any]:
    return {line["title"]: line for line in found["table"]["lines"]}
