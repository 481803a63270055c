"""A run joins any two modalities that have labelled caches: here generated features of texts and of recordings."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import answer, run
from fakes import TextEncoder
from toy_objectives import TOYS, install

from emoclim.errors import ManifestError
from emoclim.pipeline.training import label_vectors

LABELS = ("calm", "happy", "sad")
SPLITS = ("train", "train", "val", "test")
SUFFIXES = {"text": "txt", "audio": "wav", "speech": "flac", "video": "mp4"}
MODALITIES = ("text", "audio", "speech")


def bring(root: Path, modality: str, seed: int, dim: int) -> None:
    """Import features that lie round a point for each label."""
    ids = [f"{modality}/{number}.{SUFFIXES[modality]}" for number in range(60)]
    places = np.arange(60) % len(LABELS)
    with (root / f"{modality}.csv").open("w", newline="") as file:
        rows = [(id_, LABELS[n % 3], SPLITS[n // 3 % 4]) for n, id_ in enumerate(ids)]
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    draw = np.random.default_rng(seed)
    values = 4 * draw.standard_normal((len(LABELS), dim))[places] + draw.standard_normal((60, dim))
    np.savez(root / f"{modality}.npz", ids=np.array(ids), values=values.astype(np.float32))
    words = ("--name", f"made-{modality}", "--modality", modality, "--manifest", root / f"{modality}.csv")
    run("cache", "import", root / f"{modality}.npz", *words, "--workspace", root)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("modalities")
    for seed, modality in enumerate(MODALITIES):
        bring(root, modality, seed, 16 + seed)
    (root / "quick.toml").write_text("hidden_dim = 32\nembedding_dim = 16\nbatches_per_epoch = 30\nval_batches = 2\n")
    return root


def test_texts_are_trained_against_recordings_and_found_by_them(root: Path) -> None:
    words = ("--config", root / "quick.toml", "--epochs", 4, "--learning-rate", 0.003, "--name", "named")
    named = ("--text", "made-text", "--audio", "made-audio")
    trained = answer("train-heads", *named, *words, "--workspace", root)
    assert trained["terms"] == ["audio>text", "text>audio", "audio>audio", "text>text"]
    assert trained["features"].keys() == {"audio", "text"}
    found = answer("evaluate", "named", "--workspace", root, "--no-plots")["directions"]
    assert found.keys() == {"audio_text", "text_audio", "audio_audio", "text_text"}
    for name in ("audio_text", "text_audio"):
        direction = found[name]
        assert direction["metrics"]["P@1"] > 0.8 > 0.4 > direction["random"]["P@1"]
    settings = json.loads((root / "runs" / "named" / "settings.json").read_text())
    assert settings["left_out"] == {"audio": {}, "text": {}}


def test_the_page_of_two_modalities_is_drawn(root: Path) -> None:
    words = ("--text", "made-text", "--speech", "made-speech", "--config", root / "quick.toml", "--epochs", 1)
    run("train-heads", *words, "--sweep", 6, "--name", "drawn", "--workspace", root)
    run("evaluate", "drawn", "--workspace", root)
    assert (root / "runs" / "drawn" / "evaluation" / "test" / "report.html").is_file()
    assert (root / "runs" / "drawn" / "sweep.png").is_file()


def test_what_is_not_named_is_filled_up_in_the_order_of_the_table(root: Path) -> None:
    words = ("train-heads", "--config", root / "quick.toml", "--epochs", 1, "--workspace", root)
    assert answer(*words, "--name", "first")["features"].keys() == {"audio", "text"}
    assert answer(*words, "--speech", "made-speech", "--name", "second")["features"].keys() == {"audio", "speech"}


def test_more_than_two_or_one_that_is_missing_are_told(root: Path) -> None:
    three = ("--text", "made-text", "--audio", "made-audio", "--speech", "made-speech")
    assert "joins two modalities" in run("train-heads", *three, "--workspace", root, code=2).stderr
    told = run("train-heads", "--images", "clip", "--text", "made-text", "--workspace", root, code=2).stderr
    assert "there is no image cache called 'clip'" in told


def test_classes_have_vectors_of_words_or_of_a_substitute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "words.csv").write_text("word,v0,v1,v2\ncalm,1,0,0\nhappy,0.9,0.1,0\nsad,0,0,1\n")
    named = ("train-heads", "--text", "made-text", "--audio", "made-audio", "--config", root / "quick.toml")
    words = (*named, "--epochs", 1, "--objective", "class_similarity", "--setting", "width=0.5", "--workspace", root)
    given = answer(*words, "--word-vectors", root / "words.csv", "--name", "given")["label_vectors"]
    assert given["table"] == [[0.9, 0.1, 0], [0, 0, 1], [1, 0, 0]]  # happy, sad, calm
    assert given["file"] == "words.csv"
    (root / "glove.txt").write_text("happy 9 9 9\nHappy 0.9 0.1 0\nSad 0 0 1\nSAD 7 7 7\ncalm 1 0 0\n")
    spelt = label_vectors._read_vectors(root / "glove.txt", ["Happy", "sad"])
    assert [[round(value, 6) for value in vector] for vector in spelt] == [[0.9, 0.1, 0], [0, 0, 1]]
    with pytest.raises(ManifestError, match="no vector of 'wild'"):
        label_vectors._read_vectors(root / "glove.txt", ["wild"])
    monkeypatch.setattr(label_vectors, "find_encoder", lambda name: SimpleNamespace(MODALITY="text"))
    monkeypatch.setattr(label_vectors, "load_encoder", lambda name: TextEncoder())
    shown = run(*words, "--word-vectors", "colour", "--name", "substituted").output
    assert "colour's embeddings of their words, a substitute for word vectors" in " ".join(shown.split())
    settings = json.loads((root / "runs" / "substituted" / "settings.json").read_text())["label_vectors"]
    assert (settings["substitute"], len(settings["table"])) == ("colour", 3)
    shown = " ".join(run("evaluate", "substituted", "--no-plots", "--workspace", root).output.split())
    assert "Run substituted (substitute vectors)" in shown
    assert answer("evaluate", "given", "--no-plots", "--workspace", root)["label_vectors"] is None


def test_triplets_join_labels_that_a_map_relates_in_one_sweep(root: Path, tmp_path: Path) -> None:
    """Three branches; music keeps a label that matches no text."""
    (root / "words.csv").write_text("word,v0,v1,v2\ncalm,1,0,0\nhappy,0.9,0.1,0\nsad,0,0,1\n")
    (tmp_path / "map.toml").write_text(
        '[text]\ncalm = "calm"\nhappy = ["calm", "happy"]\nsad = ""\n'
        '[audio]\ncalm = "calm"\nhappy = "happy"\nsad = "sad"\n'
    )
    (tmp_path / "sweep.toml").write_text(
        "margin = [0.1, 0.4]\nseeds = 2\nloss_weights = [[0.3, 0.3, 0.4], [0, 0, 1]]\n"
    )
    named = ("train-heads", "--text", "made-text", "--audio", "made-audio", "--config", root / "quick.toml")
    words = (*named, "--epochs", 2, "--objective", "triplet", "--setting", "branches=3", "--setting", "anchor=text")
    more = ("--word-vectors", root / "words.csv", "--label-map", tmp_path / "map.toml", "--workspace", root)
    alone = answer(*words, *more, "--learning-rate", 0.003, "--name", "alone")
    assert alone["heads"][0]["loss_weights"] == [0.3, 0.3, 0.4]
    found = answer("evaluate", "alone", "--workspace", root, "--no-plots")["directions"]["text_audio"]
    assert found["metrics"]["MRR"] > found["random"]["MRR"]
    swept = answer(*words, *more, "--sweep-file", tmp_path / "sweep.toml", "--name", "swept")
    assert swept["terms"] == ["labels>text", "labels>audio", "text>audio"]
    assert len(swept["heads"]) == 8


def test_items_with_tags_in_place_of_a_label_are_brought_to_the_mean_of_their_vectors(root: Path) -> None:
    (root / "words.csv").write_text("word,v0,v1,v2\ncalm,1,0,0\nhappy,0,1,0\nsad,0,0,1\nslow,1,0,0.5\n")
    tags = {"calm": "calm|slow", "happy": "happy", "sad": "sad|slow"}
    rows = list(csv.DictReader((root / "speech.csv").read_text().splitlines()))
    with (root / "tagged.csv").open("w", newline="") as file:
        told = [(row["path"], tags[row["label"]], row["split"]) for row in rows]
        csv.writer(file).writerows([("path", "tags", "split"), *told])
    words = ("--name", "made-tagged", "--modality", "speech", "--manifest", root / "tagged.csv", "--workspace", root)
    run("cache", "import", root / "speech.npz", *words)
    named = ("--text", "made-text", "--speech", "made-tagged", "--config", root / "quick.toml", "--epochs", 6)
    more = ("--learning-rate", 0.003, "--word-vectors", root / "words.csv", "--workspace", root, "--name", "tagged")
    trained = answer("train-heads", *named, "--objective", "w2v_regression", *more)
    assert trained["label_vectors"]["tags"] == {
        "calm": [1, 0, 0],
        "happy": [0, 1, 0],
        "sad": [0, 0, 1],
        "slow": [1, 0, 0.5],
    }
    asked = root / rows[0]["path"].replace("speech", "text").replace("flac", "txt")
    (found,) = answer("search", asked, "--run", "tagged", "--workspace", root)
    shown = answer("evaluate", "tagged", "--no-plots", "--workspace", root)
    assert list(shown["directions"]) == ["text_text"]  # tags name no emotion to be found
    labels = {row["path"]: row["label"] for row in rows}
    assert [labels[hit["id"]] for hit in found["found"]] == ["calm"] * 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--word-vectors", "words.txt"), "no text encoder of that name"),
        (("--word-vectors", "minilm", "--vad", "vad.csv"), "--vad and --word-vectors both give"),
        (("--word-vectors", "minilm", "--objective", "emo_clim"), "--word-vectors would have no effect"),
    ],
)
def test_vectors_that_cannot_be_are_told(root: Path, words: tuple[str, ...], told: str) -> None:
    named = ("train-heads", "--text", "made-text", "--audio", "made-audio", "--workspace", root)
    assert told in run(*named, "--objective", "class_similarity", *words, code=2).stderr


def test_objectives_of_another_package_are_trained_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of two terms, and features of one width that are compared as they are."""
    (tmp_path / "triplets.py").write_text((Path(__file__).parents[2] / "examples" / "hardest_triplet.py").read_text())
    (tmp_path / "as_they_are.py").write_text((TOYS / "nothing_to_train.py").read_text())
    install(tmp_path, "others", {"hardest_triplet": "triplets", "as_they_are": "as_they_are"})
    monkeypatch.syspath_prepend(tmp_path)
    bring(root, "video", 0, 16)
    words = ("--text", "made-text", "--config", root / "quick.toml", "--epochs", 1, "--workspace", root)
    other = ("--objective", "hardest_triplet", "--setting", "margin=0.4")
    wide = answer("train-heads", "--speech", "made-speech", *words, *other)
    assert (wide["objective"], len(wide["terms"])) == ("hardest_triplet", 2)
    assert wide["heads"][0]["config"]["margin"] == 0.4
    assert wide["heads"][0]["config"]["dropout"] == 0.1  # of its preset
    bare = answer("train-heads", "--video", "made-video", *words, "--objective", "as_they_are", "--name", "bare")
    assert (bare["terms"], bare["heads"][0]["loss_weights"]) == ([], [])
    by_loss = ("--objective", "as_they_are", "--select", "loss", "--seeds", 2)
    told = run("train-heads", "--video", "made-video", *words, *by_loss, code=2)
    assert "has no loss to select by" in told.stderr
    found = answer("evaluate", "bare", "--workspace", root, "--no-plots")["directions"]
    assert {"text_video", "video_text"} <= found.keys()
