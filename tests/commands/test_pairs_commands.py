"""Pairs as what heads learn from: named by a column, or by equal ids; told where one of a pair is missing."""

import csv
from math import log
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import answer, mistake, run

N = 60
FAST = ("--objective", "nt_xent", "--epochs", 8, "--batches-per-epoch", 8, "--val-batches", 2, "--batch-size", 16)
SUFFIXES = {"text": "txt", "audio": "wav"}


def bring(root: Path, modality: str, pairs: list[str] | None, **columns: list[str]) -> None:
    """Import features of items whose pairs say where they lie; without `pairs`, their ids do."""
    draw = np.random.default_rng(len(modality))
    places = np.random.default_rng(0).standard_normal((N, 8))
    order = draw.permutation(N) if pairs else np.arange(N)
    values = places[order] @ draw.standard_normal((8, 12)) + 0.1 * draw.standard_normal((N, 12))
    rows = [
        {
            "id": f"{modality} {n}" if pairs else f"{n}",
            "path": f"{modality}/{n}.{SUFFIXES[modality]}",
            **({"pair": pairs[order[n]]} if pairs else {}),
            **{name: cells[order[n]] for name, cells in columns.items()},
        }
        for n in range(N)
    ]
    with (root / f"{modality}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    np.savez(root / f"{modality}.npz", ids=[row["id"] for row in rows], values=values.astype(np.float32))
    words = ("--name", f"made-{modality}", "--modality", modality, "--manifest", root / f"{modality}.csv")
    run("cache", "import", root / f"{modality}.npz", *words, "--workspace", root)


def splits() -> list[str]:
    return [("train", "train", "val", "test")[n % 4] for n in range(N)]


def test_heads_learn_from_pairs_without_labels(tmp_path: Path) -> None:
    names = [f"clip {n}" for n in range(N)]
    for modality in ("text", "audio"):
        bring(tmp_path, modality, names, split=splits())
    trained = answer("train-heads", *FAST, "--workspace", tmp_path)
    assert trained["terms"] == ["pairs"]
    assert trained["select"] == "loss"
    (row,) = csv.DictReader((Path(trained["run"]) / "sweep.csv").read_text().splitlines())
    assert float(row["val_loss"]) < log(2 * 16 - 1) / 2  # chance is the logarithm of all others in a batch


def test_equal_ids_are_pairs_where_none_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also of items with labels, which play no part but are ranked by."""
    labels = [("calm", "glad", "wild")[n // 4 % 3] for n in range(N)]
    other = splits()
    other[0], other[2] = "test", "train"  # both of these pairs are torn
    bring(tmp_path, "text", None, split=splits(), label=labels)
    bring(tmp_path, "audio", None, split=other, label=labels)
    caplog.set_level("WARNING")
    trained = answer("train-heads", *FAST, "--workspace", tmp_path)
    assert trained["select"] == "mean"
    assert (
        "1 of 30 text items of the train split belong to nothing in the other modality and are left out: 0"
        in caplog.text
    )
    assert "1 of 30 audio items of the train split belong to nothing in the other modality" in caplog.text
    assert answer("evaluate", "--no-plots", "--workspace", tmp_path)["directions"]


def test_pairs_of_several_are_told_and_none_at_all_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bring(tmp_path, "text", [f"clip {n // 4}" for n in range(N)], split=splits())
    bring(tmp_path, "audio", [f"clip {n}" for n in range(N)], split=splits())
    caplog.set_level("WARNING")
    answer("train-heads", *FAST, "--workspace", tmp_path)
    assert "16 of 30 text items of the train split share their pair" in caplog.text
    bring(tmp_path, "audio", [f"film {n}" for n in range(N)], split=splits())
    told = mistake("train-heads", *FAST, "--workspace", tmp_path)
    assert "no audio and text items of the train split belong together" in told


def test_a_folder_without_labels_is_split_once_and_learnt_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of one modality, by two segments of each recording; going on afterwards finds the same splits."""
    noise = np.random.default_rng(0)
    for n in range(20):
        (tmp_path / "music").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "music" / f"{n}.flac", 0.1 * noise.standard_normal(3 * 16_000), 16_000)
    root, settings = ("--workspace", tmp_path), ("--setting", "length=32000")
    run("extract", "audio", tmp_path / "music", "--encoder", "timbre", *settings, *root)
    assert not (tmp_path / "music.splits.csv").exists()
    caplog.set_level("WARNING")
    told = run("train-heads", "--audio", "timbre", *FAST, *root).stdout
    assert "none, labels were not needed" in told
    assert not [record for record in caplog.records if "changed" in record.getMessage()]
    kept = (tmp_path / "music.splits.csv").read_bytes()
    assert kept.count(b",train") == 16
    answer("train-heads", "--audio", "timbre", *FAST, *root)
    assert (tmp_path / "music.splits.csv").read_bytes() == kept


def test_partners_are_found_within_their_group(tmp_path: Path) -> None:
    """Of a run that was trained on pairs, as there are no labels; of another run by an option."""
    groups = [f"piece {n // 10}" for n in range(N)]
    parts = [("train", "train", "train", "train", "val", "test")[n // 10] for n in range(N)]
    labels = [("calm", "glad", "wild")[n // 4 % 3] for n in range(N)]
    for modality in ("text", "audio"):
        bring(tmp_path, modality, [f"clip {n}" for n in range(N)], split=parts, group=groups)
    answer("train-heads", *FAST, "--name", "paired", "--workspace", tmp_path)
    words = ("evaluate", "--split", "all", "--within", "group", "--workspace", tmp_path)
    found = answer(*words)
    assert found["relevant"] == "partner"
    assert set(found["directions"]) == {"audio_text", "text_audio"}
    direction = found["directions"]["text_audio"]
    assert (direction["n_queries"], direction["n_candidates"]) == (N, 10)
    assert direction["per_class"] == direction["confusion"] == {}
    assert direction["random"]["hit@1"] == pytest.approx(1 / 10)
    assert direction["random"]["hit@2"] == pytest.approx(2 / 10)
    assert direction["random"]["MRR"] == pytest.approx(sum(1 / k for k in range(1, 11)) / 10)
    assert direction["metrics"]["hit@1"] > 0.3
    assert list(direction["metrics"]) == ["hit@1", "hit@2", "hit@5", "hit@10", "MRR"]
    ends = direction["intervals"]["micro"]["hit@1"]
    assert ends["low"] < direction["metrics"]["hit@1"] < ends["high"]
    assert f"hit@1 {round(N * direction['metrics']['hit@1'])} of {N}" in " ".join(run(*words, "--k", 1).stdout.split())
    page = tmp_path / "runs" / "paired" / "evaluation" / "all-within-group" / "report.html"
    assert f"hit@1 {round(N * direction['metrics']['hit@1'])} of {N}" in page.read_text()
    for modality in ("text", "audio"):
        bring(tmp_path, modality, [f"clip {n}" for n in range(N)], split=parts, group=groups, label=labels)
    answer("train-heads", "--epochs", 1, "--batches-per-epoch", 2, "--val-batches", 2, "--workspace", tmp_path)
    by_labels = answer(*words, "--no-plots")
    assert by_labels["classes"] == ["calm", "glad", "wild"]
    by_partners = answer(*words, "--relevant", "partner", "--no-plots")
    assert by_partners["directions"]["text_audio"]["random"] == direction["random"]
    told = mistake(*words, "--relevant", "partner", "--label-map", "won2021-va", "--no-plots")
    assert "leave out --label-map" in told
