"""The commands, from files to tables, on a small generated corpus: what they print, write, reuse and refuse."""

import csv
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import answer, brief, mistake, run
from commands import finished as finished
from commands import workspace as workspace
from PIL import Image

from emoclim import pipeline
from emoclim.encoders.loading import encoder_names
from emoclim.learning import objective_names
from emoclim.pipeline import extract as features
from emoclim.pipeline.evaluation import evaluate as evaluation
from emoclim.pipeline.workspace import Workspace


def test_a_second_extraction_encodes_nothing(finished: Path) -> None:
    for kind, encoder, n_labels in (("images", "colour", 8), ("audio", "timbre", 7)):
        result = answer("extract", kind, "--encoder", encoder, "--workspace", finished)
        assert (result["encoded"], result["reused"], result["failures"]) == (0, result["items"], [])
        assert result["items"] >= 4 * n_labels


def test_a_run_of_another_version_is_refused(workspace: Path) -> None:
    file = workspace / "runs" / "001-colour-timbre" / "settings.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": 1}))
    assert "another version" in run("evaluate", "--workspace", workspace, code=2).stderr


def test_training_tells_what_it_leaves_out_and_evaluation_beats_chance(finished: Path) -> None:
    settings = json.loads((finished / "runs" / "001-colour-timbre" / "settings.json").read_text())
    assert settings["left_out"].keys() == {"image", "audio"}
    assert settings["left_out"]["image"].keys() == {"awe", "disgust"}
    assert settings["left_out"]["audio"].keys() == {"tender"}
    report = answer("evaluate", "--workspace", finished)
    folder = finished / "runs" / "001-colour-timbre" / "evaluation" / "test"
    assert json.loads((folder / "report.json").read_text()) == report
    assert {path.name for path in folder.iterdir()} == {
        "report.json", "queries.parquet", "report.html", "per_class.png", "confusion.png", "joint_space.png",
    }  # fmt: skip
    music = answer("evaluate", "--workspace", finished, "--no-plots", "--split", "train")["directions"]["audio_audio"]
    assert music["metrics"]["MRR"] > music["random"]["MRR"] + 0.1
    assert music["n_candidates"] < music["n_queries"] - 1  # other excerpts of the same piece are no candidates


def test_evaluation_prints_every_direction_beside_a_random_order(finished: Path) -> None:
    shown = run("evaluate", "--workspace", finished, "--no-plots", "--split", "val").stdout
    for text in ("image → music", "music → image", "image → image", "music → music", "random order", "P@5 by emotion"):
        assert text in shown


def test_items_without_labels_are_no_reason_to_be_at_a_loss(tmp_path: Path) -> None:
    for name in ("images/a.png", "audio/b.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "images" / "a.png")
    told = run("extract", "images", "--encoder", "colour", "--workspace", tmp_path, "--workers", 0).stdout
    assert "no item has a label: this library is searched, and trained on only for" in told
    refused = run("train-heads", "--workspace", tmp_path, code=2).stderr
    assert "heads learn from labels" in refused
    assert "extract a folder with one subfolder per emotion, or a table with a column 'label'" in refused


def test_unlabelled_libraries_are_searched_and_never_trained_on(workspace: Path, tmp_path: Path) -> None:
    library = tmp_path / "album"
    (library / "deep").mkdir(parents=True)
    pieces = sorted((workspace / "data" / "audio" / "happy").iterdir())[:3]
    for n, piece in enumerate(pieces):
        shutil.copy(piece, library / "deep" / f"track{n}.flac")
    words = ("--encoder", "timbre", "--workspace", workspace, "--unlabelled")
    assert answer("extract", "audio", library, *words)["reused"] == 3  # known by content, wherever it lies
    picture = next((workspace / "data" / "images" / "fear").iterdir())
    (found,) = answer("search", picture, "--in", "album", "--workspace", workspace)
    assert (found["library"], found["candidates"]) == ("album", 3)
    assert all(one["label"] is None for one in found["found"])
    again = answer(*brief(workspace))
    assert again["libraries"]["audio"]["name"] == "audio"


def test_folders_get_splits_that_are_kept(workspace: Path) -> None:
    (workspace / "data" / "images.csv").unlink()
    result = answer("extract", "images", "--encoder", "colour", "--workspace", workspace)
    splits = workspace / "data" / "images.splits.csv"
    before = splits.read_bytes()
    assert result["reused"] == result["items"]
    answer("extract", "images", "--encoder", "colour", "--workspace", workspace, "--seed", 7)
    assert splits.read_bytes() == before
    with splits.open(newline="") as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", "val", "test"}


def test_views_are_cached_and_trained_on(workspace: Path) -> None:
    words = ("extract", "images", "--encoder", "colour", "--workspace", workspace, "--views", 2, "--seed", 5)
    assert answer(*words)["encoded"] > 0
    assert answer(*words)["encoded"] == 0
    result = answer(*brief(workspace))
    assert result["libraries"]["image"]["cache"] != answer("extract", *words[1:6])["cache"]
    run("evaluate", "--workspace", workspace, "--no-plots")
    picture = next((workspace / "data" / "images" / "fear").iterdir())
    assert answer("search", picture, "--workspace", workspace)[0]["found"]


def test_what_may_mislead_is_told_by_extract_and_evaluate(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (features, evaluation):
        monkeypatch.setattr(module, "contamination", lambda spec, _manifest: f"{spec.name} has heard this before")
    told = answer("extract", "audio", "--encoder", "timbre", "--workspace", workspace)["warnings"]
    assert told == ["timbre has heard this before"]
    told = answer("evaluate", "--workspace", workspace, "--no-plots")["warnings"]
    assert told == ["colour has heard this before", "timbre has heard this before"]
    assert caplog.messages.count("timbre has heard this before") == 2


def test_the_seed_of_views_may_be_given_in_any_way(workspace: Path) -> None:
    words = ("extract", "images", "--encoder", "colour", "--workspace", workspace)
    ways = [
        ("--views", 2, "--seed", 7),
        ("--views", 2, "--setting", "view_seed=7"),
        ("--setting", "views=2", "--seed", 7),
    ]
    assert len({answer(*words, *way)["cache"] for way in ways}) == 1


def test_encoders_are_listed_with_what_is_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "630k-best.pt").touch()
    listed = {one["name"]: one for one in answer("encoders")["encoders"]}
    assert listed.keys() == set(encoder_names())
    assert (listed["clap"]["dim"], listed["clap"]["segment_seconds"]) == (512, 10)
    assert {model["name"]: model["here"] for model in listed["clap"]["models"]}.items() >= {
        ("630k", True),
        ("music_speech", False),
    }
    assert listed["colour"]["models"] == []
    origins = {name: one["models"][0]["origin"] for name, one in listed.items() if one["models"]}
    assert {name for name, origin in origins.items() if origin == "box"} >= {"efficientnet_lite0", "musicnn_msd"}
    assert (origins["clap"], origins["minilm"]) == ("huggingface.co", "box")
    assert listed["musicnn_mtt"]["models"][0]["licence"] == "ISC (code and parameters)"
    shown = run("encoders").stdout
    assert all(name in shown for name in (*listed, "5 s, 75% overlap", "none needed", "AudioCaps", "CC0-1.0", "no hub"))


def test_one_encoder_is_described_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path))
    shown = run("encoders", "harmonic_cnn").stdout
    expected = ("256 values", "overlap", "0.75", "Million Song Dataset", "git-blob:", "https://", str(tmp_path))
    assert all(text in shown for text in expected)
    assert answer("encoders", "timbre")["settings"] == {"length": 80_000, "overlap": 0.5}
    assert "no encoder is called 'vgg'" in run("encoders", "vgg", code=2).stderr


def test_objectives_are_listed_with_their_settings() -> None:
    listed = {one["name"]: one for one in answer("train-heads", "--list")["objectives"]}
    assert listed.keys() == set(objective_names())
    assert listed["emo_clim"]["terms"] == ["image>audio", "audio>image", "image>image", "audio>audio"]
    assert listed["emo_clim"]["settings"]["temperature"]["default"] == 0.07
    assert "width=0.05" in run("train-heads", "--list").stdout


def test_ctrl_c_is_answered_by_what_is_kept(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_given: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(features, "extract", interrupted)
    told = mistake("extract", "images", "--encoder", "colour", "--workspace", workspace, code=130)
    assert told == "emoclim: stopped; what was committed is kept, and the same command goes on from it"
    monkeypatch.setattr(pipeline, "list_caches", interrupted)
    told = mistake("cache", "list", "--workspace", workspace, code=130)
    assert told == "emoclim: stopped; nothing is left half written; run the same command again for its result"


def test_bad_files_are_listed_and_the_run_goes_on(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("not a picture")
    (tmp_path / "images.csv").write_text("path\ngood.png\nbad.png\ngone.png\n")
    words = ("extract", "images", tmp_path / "images.csv", "--encoder", "colour", "--workspace", tmp_path)
    for attempt in ("first", "second"):
        result = answer(*words, code=3)
        assert [failure["id"] for failure in result["failures"]] == ["bad.png", "gone.png"]
        assert result["encoded"] == (attempt == "first")
    table = next((tmp_path / "cache").glob("*.failures.csv"))
    assert len(table.read_text().splitlines()) == 3
    answer(*words, "--max-failures", 0.9)
    shutil.copy(tmp_path / "good.png", tmp_path / "gone.png")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "bad.png")
    assert answer(*words)["failures"] == []
    assert not table.exists()


def test_without_a_network_the_place_for_a_checkpoint_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")  # where nobody listens
    soundfile.write(tmp_path / "one.wav", np.zeros(800), 8000)
    told = mistake("extract", "audio", tmp_path, "--unlabelled", "--workspace", tmp_path / "ws")
    assert "cannot download https://huggingface.co/lukewys/laion_clap/resolve/main/630k-best.pt" in told
    assert f"put the file at {tmp_path / 'home' / 'checkpoints' / '630k-best.pt'}" in told
    assert "name another with --checkpoint, or take an encoder without one: timbre" in told
    assert "or musicnn_msd, which needs no hub: emoclim extract audio --encoder box" in told
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("extract", "images", "nowhere.csv", "--encoder", "colour"), "there is no manifest at nowhere.csv"),
        (("extract", "images", "--encoder", "colour"), "there is no manifest at .*images.csv, and no folder"),
        (
            ("extract", "images", "--encoder", "cilp"),
            r"no encoder is called 'cilp' \(did you mean 'clip'\?\); there are: clap, clap_text, clip",
        ),
        (("extract", "images", "--encoder", "timbre"), "encoder 'timbre' takes audio, not image"),
        (("extract", "speech", "words.csv"), "no encoder of a preset takes speech"),
        (("extract", "speech", "--encoder", "timbre"), "encoder 'timbre' takes audio, not speech"),
        (("extract", "audio", "--encoder", "timbre", "--setting", "hop"), "is not NAME=VALUE"),
        (("train-heads",), "there is no image cache in .*; make one with: emoclim extract images"),
        (("train-heads", "--loss-weights", "1,one,1,1"), "is not a list of numbers"),
        (("train-heads", "--temperature", 0), "temperature = 0.0 is not possible"),
        (("train-heads", "--preset", "papre"), "there is no preset 'papre'"),
        (("evaluate",), "there is no run in .*; train one with: emoclim train-heads"),
        (("evaluate", "my-run"), "my-run is no run .*; name one that is in .*: there is none yet"),
        (("search", "photo.jpg"), "there is nothing to search in.*name a folder with --in"),
        (("search", "photo.jpg", "--run", "mine"), "mine is no run"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, words: tuple[object, ...], message: str) -> None:
    assert re.search(message, mistake(*words, "--workspace", tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("extract", "audio", "--encoder", "timbre", "--setting", "hop=3"), "has no setting hop; it takes length"),
        (("extract", "audio", "--encoder", "timbre", "--setting", "overlap=abc"), "takes a value of type float"),
        (
            ("extract", "audio", "--encoder", "timbre", "--setting", "overlap=0.99"),
            "timbre takes an overlap from 0 up to 0.95, not 0.99",
        ),
        (("extract", "audio", "--encoder", "timbre", "--source-rate", "16000"), "'timbre' has no setting source_rate"),
        (("extract", "audio", "--encoder", "timbre", "--precision", "bf16"), "timbre has no network to be run at bf16"),
        (("extract", "audio", "--encoder", "timbre", "--model", "tiny"), "'timbre' has no setting model"),
        (("extract", "images", "--encoder", "colour", "--views", "2", "--no-segments"), "views are kept as segments"),
        (("extract", "audio", "--encoder", "timbre", "--preset", "papre"), "no preset 'papre' .did you mean 'paper'"),
        (("train-heads", "--name", "../escape"), "is no name for a run"),
        (("extract", "images", "--encoder", "colour", "--checkpoint", "x.pt"), "has no parameters"),
        (("train-heads", "--images", "clip"), "there is no image cache called 'clip' .*image-colour"),
        (("train-heads", "--name", "001-colour-timbre"), "exists already"),
        (("train-heads", "--loss-weights", "0,0,0,0"), "loss weights"),
        (("evaluate", "--split", "dev"), "there is no split 'dev'"),
        (("evaluate", "--k", "0"), "precision at 0"),
        (("evaluate", "--k", "1,2.5"), "--k '1,2.5' is not a list of whole numbers"),
        (("search", "notes.txt"), "notes.txt is of no kind that can be searched with"),
        (("search", "gone.png"), "gone.png cannot be used as a query: .*missing"),
        (("search", "data/images/fear/000.png", "--in", "nowhere"), "no library called 'nowhere'.*there are: "),
    ],
)
def test_mistakes_in_a_finished_workspace(finished: Path, words: tuple[object, ...], message: str) -> None:
    shown = [finished / word if str(word).startswith("data/") else word for word in words]
    assert re.search(message, mistake(*shown, "--workspace", finished))


def test_a_class_without_items_in_a_split_is_told(workspace: Path) -> None:
    table = workspace / "data" / "images.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if ",fear,val" not in line) + "\n")
    result = run(*brief(workspace), code=2)
    assert "has no usable image of class scary" in result.stderr


def test_items_that_were_never_encoded_are_told(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = workspace / "data" / "images" / "fear" / "000.png"
    Image.new("RGB", (8, 8), "red").save(source)
    result = run("evaluate", "--workspace", workspace, "--split", "train", code=2)
    assert "(images/fear/000.png first); run: emoclim extract images" in result.stderr
    piece = workspace / "data" / "audio" / "sad" / "000-0.flac"
    (found,) = answer("search", piece, "--workspace", workspace, "--top", 99)
    assert "images/fear/000.png" not in {one["id"] for one in found["found"]}
    assert "1 of" in caplog.text
    assert "were not extracted yet" in caplog.text


def test_heads_of_another_encoder_are_not_used(workspace: Path) -> None:
    for path in (workspace / "cache").glob("image-*"):
        path.unlink()
    run("extract", "images", "--encoder", "colour", "--setting", "size=64", "--workspace", workspace)
    result = run("evaluate", "--workspace", workspace, code=2)
    assert "takes image features colour" in result.stderr
    assert "extract them again" in result.stderr


def test_a_run_is_the_newest_by_the_time_it_was_trained_whatever_its_name(workspace: Path) -> None:
    run(*brief(workspace), "--name", "000-mine")
    assert answer("evaluate", "--workspace", workspace, "--no-plots")["run"] == "000-mine"


def test_both_formats_can_lie_side_by_side(workspace: Path) -> None:
    words = ("--encoder", "colour", "--workspace", workspace, "--backend", "zarr")
    assert answer("extract", "images", *words)["encoded"] > 0
    result = answer(*brief(workspace))
    assert result["libraries"]["image"]["cache"].endswith(".zarr")


def test_labels_that_a_run_does_not_know_are_told(workspace: Path) -> None:
    table = workspace / "data" / "images.csv"
    table.write_text(table.read_text().replace("images/fear/000.png,fear", "images/fear/000.png,faer"))
    result = run("evaluate", "--workspace", workspace, code=2)
    assert "does not know: 'faer' (1 items)" in result.stderr


def test_evaluating_on_another_split_than_trained_on_is_told(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = workspace / "data" / "images.csv"
    swapped = table.read_text().replace(",train", ",tmp").replace(",test", ",train").replace(",tmp", ",test")
    table.write_text(swapped)
    run("extract", "images", "--encoder", "colour", "--workspace", workspace)
    run("evaluate", "--workspace", workspace, "--no-plots")
    assert "items of this split may have been trained on" in caplog.text


def test_labels_follow_a_map_of_ones_own(workspace: Path, tmp_path: Path) -> None:
    images = {"amusement": "up", "excitement": "up", "contentment": "up", "fear": "down", "sadness": "down"}
    images |= dict.fromkeys(("anger", "awe", "disgust"), "")
    music = {"happy": "up", "funny": "up", "exciting": "up", "sad": "down", "scary": "down", "angry": "", "tender": ""}
    rows = {
        name: [f'{label} = "{kind}"' for label, kind in labels.items()]
        for name, labels in (("image", images), ("audio", music))
    }
    (tmp_path / "map.toml").write_text("\n".join(["[image]", *rows["image"], "[audio]", *rows["audio"]]))
    result = answer(*brief(workspace), "--label-map", tmp_path / "map.toml")
    assert (result["label_map"]["classes"], result["heads"][0]["config"]["epochs"]) == (["up", "down"], 1)
    assert answer("evaluate", "--workspace", workspace, "--no-plots")["classes"] == ["up", "down"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "images" / "a.png")
    (tmp_path / "cache").write_text("a file where a folder is needed")
    words = ("extract", "images", tmp_path / "images", "--encoder", "colour", "--workspace", tmp_path)
    assert "cache" in mistake(*words)


def test_the_version_is_told() -> None:
    assert run("--version").stdout.startswith("emoclim 0")


def test_runs_are_numbered_past_999_whatever_else_lies_there(tmp_path: Path) -> None:
    for name in ("007-a", "2026-01-31-mine", "012abc-b", "99-c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    there = Workspace(tmp_path)
    assert there.claim_run(None, "d").name == "008-d"
    for number in (998, 999, 1000, 1001):
        (tmp_path / "runs" / f"{number}-e").mkdir()
    assert there.claim_run(None, "d").name == "1002-d"


def test_runs_that_begin_at_once_have_numbers_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda n: Workspace(tmp_path).claim_run(None, f"e{n % 3}"), range(40)))
    assert sorted(folder.name[:3] for folder in folders) == [f"{number:03d}" for number in range(1, 41)]
    assert sorted((tmp_path / "runs").iterdir()) == sorted(folders)
