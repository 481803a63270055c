"""Classification: what ranks, queries that retrieve nothing, and the commands from end to end."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import answer, run
from own_labels import CLASSES, OWN, TAXONOMY, own_split, train_own

from emoclim.config import TrainConfig
from emoclim.data.datasets.isear import DESCRIPTION as ISEAR
from emoclim.data.labels.taxonomy import MUSIC_EMOTIONS
from emoclim.learning import make_objective
from emoclim.pipeline import HeadsConfig, Resources, TrainHeads, Workspace, start
from emoclim.stages import evaluate, search

BRIEF = TrainConfig(epochs=2, batches_per_epoch=3, val_batches=2, batch_size=9, dropout=0.3)


def test_candidates_are_ranked_by_their_probability_of_the_class_read() -> None:
    logits = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    objective = make_objective("classification", tuple(OWN), [{}] * 2)
    objective.taxonomy = TAXONOMY
    music, metric = objective.vectors("audio", {"audio": logits})
    assert metric == "ip"
    torch.testing.assert_close(music.norm(dim=2), torch.ones(2, 6))
    torch.testing.assert_close(music[..., list(OWN["audio"])], logits.softmax(dim=2))
    read = torch.tensor([[[5.0, 1.0, 0.0], [0.0, 1.0, 2.0]]]).expand(2, 2, 3)
    asked, _ = objective.query_vectors("text", {"text": read}, "audio")
    assert not asked[:, 1].any()  # grief is no label of music
    torch.testing.assert_close((asked[:, :1] @ music.mT)[:, 0], music[..., CLASSES.index("sad")])
    within, _ = objective.query_vectors("text", {"text": read}, "text")
    assert within.argmax(dim=2).tolist() == [[1, 4], [1, 4]]


def test_it_finds_what_has_the_same_name_and_nothing_else() -> None:
    config = BRIEF.updated(epochs=8, batches_per_epoch=10, learning_rate=1e-2, dropout=0, hidden_dim=32)
    heads = train_own("classification", [{}], config).heads
    test = own_split(2, 60)
    report = evaluate(test, heads, device="cpu").directions
    asked = report["text_audio"]
    assert asked.per_class["sad"].metrics["P@1"] > 0.9
    assert asked.per_class["joy"].metrics["P@1"] == pytest.approx(0.0, abs=0.1)  # unless read as sadness
    assert asked.n_finding_nothing >= 36
    assert asked.random["P@1"] == pytest.approx(1 / 3, abs=0.01)  # of the same candidates, whatever is retrieved
    assert report["text_text"].n_finding_nothing == 0
    assert report["text_text"].metrics["P@1"] > 0.9
    texts, music = test.features["text"], test.features["audio"]
    sad, joy = search(texts.select(torch.tensor([0, 1])), music, heads, top=3)
    assert [hit.id for hit in joy] == []
    assert all(test.labels["audio"][int(hit.id)] == CLASSES.index("sad") for hit in sad)


LABELS = {"text": ISEAR.labels, "audio": MUSIC_EMOTIONS}
SUFFIXES = {"text": "txt", "audio": "wav"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of texts with the labels of ISEAR, and of music with moods, brought from elsewhere."""
    root = tmp_path_factory.mktemp("taxonomies")
    for seed, (modality, labels) in enumerate(LABELS.items()):
        n, draw = 12 * len(labels), np.random.default_rng(seed)
        ids, places = [f"{modality}/{row}.{SUFFIXES[modality]}" for row in range(n)], np.arange(n) % len(labels)
        splits = [("train", "train", "val", "test")[row // len(labels) % 4] for row in range(n)]
        with (root / f"{modality}.csv").open("w", newline="") as file:
            rows = [(id_, labels[place], split) for id_, place, split in zip(ids, places, splits, strict=True)]
            csv.writer(file).writerows([("path", "label", "split"), *rows])
        values = 4 * draw.standard_normal((len(labels), 16 + seed))[places] + draw.standard_normal((n, 16 + seed))
        np.savez(root / f"{modality}.npz", ids=np.array(ids), values=values.astype(np.float32))
        words = ("--name", f"made-{modality}", "--modality", modality, "--manifest", root / f"{modality}.csv")
        run("cache", "import", root / f"{modality}.npz", *words, "--workspace", root)
    (root / "quick.toml").write_text("hidden_dim = 32\nbatches_per_epoch = 20\nval_batches = 2\nlearning_rate = 3e-3\n")
    return root


def test_a_run_keeps_the_labels_of_each_modality(root: Path) -> None:
    named = ("--text", "made-text", "--audio", "made-audio", "--config", root / "quick.toml", "--epochs", 4)
    words = (*named, "--objective", "classification", "--label-map", "won2021-isear-manual", "--workspace", root)
    trained = answer("train-heads", *words, "--name", "apart")
    assert set(trained["label_map"]["classes"]) == {*LABELS["text"], *LABELS["audio"]}
    assert trained["label_map"]["name"] == "won2021-isear-manual"
    assert trained["left_out"] == {"text": {}, "audio": {}}
    shown = " ".join(run("train-heads", *words, "--name", "again").stdout.split())
    assert shown.count("queries retrieve nothing that is relevant") == 2  # of texts among music, and the other way
    found = answer("evaluate", "apart", "--no-plots", "--workspace", root)
    assert found["label_map"]["name"] == "won2021-isear-manual"
    across = found["directions"]["text_audio"]
    assert across["n_finding_nothing"] == across["n_queries"] == 21
    assert set(across["metrics"].values()) == {0.0}  # as printed: the taxonomies share no name
    assert across["random"]["P@5"] > 0.2
    assert found["directions"]["audio_audio"]["metrics"]["P@1"] > 0.8
    shown = " ".join(run("evaluate", "apart", "--workspace", root).stdout.split())
    assert "21 of 21 queries retrieve nothing" in shown
    assert (root / "runs" / "apart" / "evaluation" / "test" / "report.html").is_file()
    shown = " ".join(run("search", root / "text" / "0.txt", "--run", "apart", "--workspace", root).stdout.split())
    assert "retrieves nothing of audio, as its emotion is none of the labels there" in shown
    other = answer("evaluate", "apart", "--label-map", "won2021-isear-va", "--no-plots", "--workspace", root)
    assert other["label_map"]["name"] == "won2021-isear-va"
    assert set(other["classes"]) == {*LABELS["text"], *LABELS["audio"]}
    settings = json.loads((root / "runs" / "apart" / "settings.json").read_text())
    assert {"text", "audio"} == {modality for *pair, _ in settings["label_map"]["relevance"] for modality in pair}


def test_a_run_that_was_stopped_goes_on_with_the_same_labels(root: Path) -> None:
    named = ("--text", "made-text", "--audio", "made-audio", "--config", root / "quick.toml", "--epochs", 2)
    words = (*named, "--objective", "classification", "--label-map", "won2021-isear-manual", "--workspace", root)
    answer("train-heads", *words, "--name", "whole")
    settings = {"batches_per_epoch": 20, "val_batches": 2, "hidden_dim": 32, "learning_rate": 3e-3, "epochs": 2}
    preset = make_objective("classification", tuple(OWN), [{}]).preset
    config = HeadsConfig(
        libraries={"text": "made-text", "audio": "made-audio"},
        objective="classification",
        label_map=Path("won2021-isear-manual"),
        base=TrainConfig(**{**preset, **settings}),
        settings={"seed": (42,)},
    )

    def stop(leaders: object) -> None:
        raise KeyboardInterrupt

    assert start(TrainHeads(), config, Resources(Workspace(root), watch=stop), name="stopped").interrupted
    run("train-heads", "--resume", "stopped", "--workspace", root)
    for file in ("heads.safetensors", "settings.json"):
        assert (root / "runs" / "stopped" / file).read_bytes() == (root / "runs" / "whole" / file).read_bytes(), file


def test_labels_that_match_by_themselves_need_no_map(root: Path) -> None:
    words = ("train-heads", "--text", "made-text", "--audio", "made-audio", "--objective", "classification")
    assert "no class is known for" in run(*words, "--workspace", root, code=2).stderr
