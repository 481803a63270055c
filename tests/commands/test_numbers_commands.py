"""Valence and arousal as labels: trained on, evaluated and searched with, of one modality or two."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cache_workspace import write_music
from commands import answer, mistake, run
from sklearn.metrics import r2_score

SPLITS = ("train", "train", "val", "test")
SUFFIXES = {"text": "txt", "audio": "wav"}
WORDS = {"calm": (0.8, 0.2), "happy": (0.9, 0.7), "sad": (0.1, 0.3)}
FAST = ("--epochs", 30, "--learning-rate", 0.005, "--batches-per-epoch", 10, "--val-batches", 2, "--dropout", 0)


def bring(root: Path, modality: str, columns: Sequence[str], scale: tuple[float, float] = (0.0, 1.0)) -> None:
    """Import features of 120 items that say where their label lies, in a scale; `columns` are in the manifest."""
    draw = np.random.default_rng(len(modality))
    labels = [list(WORDS)[n % 3] for n in range(120)]
    places = np.array([WORDS[label] for label in labels]) + 0.05 * draw.standard_normal((120, 2))
    values = places @ draw.standard_normal((2, 12)) + 0.02 * draw.standard_normal((120, 12))
    rows = [
        {
            "id": str(n),
            "path": f"{modality}/{n}.{SUFFIXES[modality]}",
            "label": labels[n],
            "split": SPLITS[n // 6 % 4],
            "group": f"work {n // 6}",
            "valence": repr(float(scale[0] + scale[1] * places[n, 0])),
            "arousal": repr(float(scale[0] + scale[1] * places[n, 1])),
        }
        for n in range(120)
    ]
    with (root / f"{modality}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "path", *columns], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    np.savez(root / f"{modality}.npz", ids=np.arange(120).astype(str), values=values.astype(np.float32))
    words = ("--name", f"made-{modality}", "--modality", modality, "--manifest", root / f"{modality}.csv")
    run("cache", "import", root / f"{modality}.npz", *words, "--workspace", root)


def train(root: Path, *words: object) -> dict:
    return answer("train-heads", "--objective", "va_regression", *FAST, *words, "--workspace", root)


def metrics(found: dict) -> dict[tuple[str, str], dict[str, float]]:
    return {
        (one["modality"], one["name"]): {name: value["value"] for name, value in one["metrics"].items()}
        for one in found["numbers"]
    }


def test_any_columns_of_numbers_are_learnt_and_measured(tmp_path: Path) -> None:
    bring(tmp_path, "audio", ("valence", "arousal", "split"), (1, 8))
    table = tmp_path / "audio.csv"
    table.write_text(table.read_text().replace("valence,arousal", "Calm beats,loudness"))
    words = ("train-heads", "--audio", "made-audio", "--objective", "regression", *FAST, "--workspace", tmp_path)
    told = mistake(*words, "--setting", "columns=loudness,tempo")
    assert "no item of" in told
    assert "has numbers in loudness, tempo" in told
    answer(*words, "--setting", "columns=loudness,calm beats")
    found = answer("evaluate", "--no-plots", "--workspace", tmp_path)
    assert metrics(found).keys() == {("audio", "loudness"), ("audio", "calm beats")}
    assert all(one["R2"] > 0.6 for one in metrics(found).values())


def test_one_modality_of_items_without_labels_is_trained_and_measured(tmp_path: Path) -> None:
    bring(tmp_path, "audio", ("valence", "arousal", "split", "group"), (1, 8))
    trained = train(tmp_path, "--audio", "made-audio", "--seeds", 2)
    assert trained["select"] == "loss"
    assert trained["terms"] == ["audio"]
    found = answer("evaluate", "--workspace", tmp_path)
    assert all(one["R2"] > 0.6 and one["CCC"] > 0.8 for one in metrics(found).values())
    valence = found["numbers"][0]["metrics"]["R2"]
    assert valence["low"] < valence["value"] < valence["high"]
    assert found["directions"] == {}
    told = run("evaluate", "--no-plots", "--workspace", tmp_path).stdout
    assert "arousal of recordings" in told
    folder = Path(trained["run"]) / "evaluation" / "test"
    assert "Predicted numbers" in (folder / "report.html").read_text(encoding="utf-8")
    items = pq.read_table(folder / "numbers.parquet").to_pydict()
    assert r2_score(items["valence"], items["predicted_valence"]) == pytest.approx(valence["value"])
    again = train(tmp_path, "--seeds", 2, "--name", "again")  # the only modality that there is
    assert again["heads"] == trained["heads"]


def test_two_modalities_of_other_scales_meet_and_both_are_measured(tmp_path: Path) -> None:
    bring(tmp_path, "text", ("label", "valence", "arousal", "split"), (1, 8))
    bring(tmp_path, "audio", ("label", "valence", "arousal", "split"))
    assert train(tmp_path)["select"] == "mean"
    found = answer("evaluate", "--workspace", tmp_path)
    assert len(metrics(found)) == 4
    assert all(one["R2"] > 0.6 for one in metrics(found).values())
    assert found["directions"]["text_audio"]["metrics"]["P@5"] > 0.9
    assert {"queries.parquet", "joint_space.png"} < {path.name for path in (tmp_path / "runs").rglob("*")}


def test_labels_teach_by_their_words_where_items_have_no_numbers(tmp_path: Path) -> None:
    bring(tmp_path, "text", ("label", "split"))
    bring(tmp_path, "audio", ("valence", "arousal", "split"))
    lacking = mistake("train-heads", "--objective", "va_regression", "--workspace", tmp_path)
    assert "give them by --vad" in lacking
    assert "text items columns valence and arousal" in lacking
    table = tmp_path / "words.csv"
    table.write_text("word,valence,arousal\n" + "".join(f"{word},{v},{a}\n" for word, (v, a) in WORDS.items()))
    assert train(tmp_path, "--vad", table)["select"] == "loss"
    found = answer("evaluate", "--no-plots", "--workspace", tmp_path)
    assert metrics(found).keys() == {("audio", "valence"), ("audio", "arousal")}
    assert found["directions"].keys() == {"text_text"}
    assert found["directions"]["text_text"]["metrics"]["P@5"] > 0.9


@pytest.mark.parametrize("objective", ["classification", "w2v_regression"])
def test_labels_of_one_modality_are_enough(tmp_path: Path, objective: str) -> None:
    bring(tmp_path, "audio", ("label", "split"))
    table = tmp_path / "words.csv"
    table.write_text("word,first,second\n" + "".join(f"{word},{-v},{a}\n" for word, (v, a) in WORDS.items()))
    given = ("--word-vectors", table) if objective == "w2v_regression" else ()
    words = ("--objective", objective, "--audio", "made-audio", *given, *FAST, "--workspace", tmp_path)
    assert answer("train-heads", *words)["select"] == "loss"
    found = answer("evaluate", "--no-plots", "--workspace", tmp_path)
    assert found["directions"].keys() == {"audio_audio"}
    assert found["directions"]["audio_audio"]["metrics"]["P@5"] > 0.9


def test_what_cannot_be_is_told_in_one_sentence(tmp_path: Path) -> None:
    bring(tmp_path, "audio", ("valence", "arousal", "split"))
    alone = ("train-heads", "--audio", "made-audio", "--workspace", tmp_path)
    assert "there is no image cache" in mistake(*alone)
    assert "cannot be chosen by p5" in mistake(*alone, "--objective", "va_regression", "--select", "p5")
    (tmp_path / "words.csv").write_text("word,valence,arousal\ncalm,0.5,0.5\n")
    useless = ("--objective", "va_regression", "--vad", tmp_path / "words.csv")
    assert "--vad would have no effect" in mistake(*alone, *useless)
    train(tmp_path, "--audio", "made-audio")
    assert "nothing is ranked" in mistake("evaluate", "--within", "group", "--workspace", tmp_path)


def test_what_is_not_defined_is_told(tmp_path: Path) -> None:
    bring(tmp_path, "audio", ("valence", "arousal", "split"))
    rows = list(csv.DictReader((tmp_path / "audio.csv").read_text().splitlines()))
    with (tmp_path / "audio.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"arousal": "0.5"} for row in rows)
    train(tmp_path)
    result = run("evaluate", "--no-plots", "--workspace", tmp_path)
    assert "R2 of arousal of recordings is not defined: all of its values are alike" in result.stdout.replace("\n", " ")
    assert answer("evaluate", "--no-plots", "--workspace", tmp_path)["numbers"][1]["metrics"]["R2"] is None


@pytest.mark.parametrize("kept", [False, True], ids=["without labels", "with labels"])
def test_a_modality_is_searched_by_itself(tmp_path: Path, kept: bool) -> None:
    write_music(tmp_path)
    manifest = tmp_path / "data" / "audio.csv"
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    names = [name for name in rows[0] if kept or name != "label"]
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*names, "valence", "arousal"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"valence": n % 4, "arousal": n % 3} for n, row in enumerate(rows))
    run("extract", "audio", "--encoder", "timbre", "--workers", 0, "--max-failures", 1, "--workspace", tmp_path)
    train(tmp_path, "--audio", "timbre", "--epochs", 1)
    (found,) = answer("search", tmp_path / "data" / rows[0]["path"], "--in", "audio", "--workspace", tmp_path)
    assert len(found["found"]) == 5


def test_real_music_is_predicted(shared: Path, tmp_path: Path) -> None:
    """One part of emoMusic, from features that other people made; all ten folds are in benchmarks/emomusic.py."""
    file = shared / "features" / "audio_emomusic_convnet.npz"
    with np.load(file) as arrays:
        ids, numbers = arrays["ids"], arrays["valence_arousal"]
    rows = zip(ids, numbers.tolist(), (SPLITS * len(ids))[: len(ids)], strict=True)
    lines = [f"{id_},{id_}.mp3,{v!r},{a!r},{split}" for id_, (v, a), split in rows]
    (tmp_path / "music.csv").write_text("\n".join(["id,path,valence,arousal,split", *lines]))
    words = ("--name", "convnet", "--modality", "audio", "--manifest", tmp_path / "music.csv")
    run("cache", "import", file, *words, "--workspace", tmp_path)
    train(tmp_path, "--audio", "convnet", "--dropout", 0.5)
    found = metrics(answer("evaluate", "--no-plots", "--workspace", tmp_path))
    assert found["audio", "valence"]["R2"] > 0.35
    assert found["audio", "arousal"]["R2"] > 0.55
