"""`emoclim search`: files and folders of them, what is told of each hit, what is no hit, and queries that are bad."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
from commands import answer, brief, mistake, run
from commands import finished as finished
from commands import workspace as workspace
from PIL import Image
from wordy_preset import OWN
from wordy_preset import preset as preset
from wordy_preset import wordy as wordy

from emoclim.errors import ManifestError
from emoclim.pipeline import Workspace, open_searcher

CLASSES = {"exciting", "happy", "funny", "angry", "scary", "sad"}


def test_pictures_and_music_that_nobody_has_seen(finished: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((50, 80, 3), (250, 200, 20), np.uint8)).save(tmp_path / "new.png")
    soundfile.write(tmp_path / "new.wav", np.sin(np.arange(22_050) / 9), 22_050)
    picture, sound = answer("search", tmp_path / "new.png", tmp_path / "new.wav", "--workspace", finished, "--top", 3)
    found = picture["found"]
    assert [one["rank"] for one in found] == [1, 2, 3]
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    assert all(one["path"].endswith(".flac") and one["label"] and one["start"] in (0.0, 2.5, 5.0) for one in found)
    assert found[0]["percentile"] == pytest.approx(100 * (1 - 1 / picture["candidates"]))
    assert all(one["path"].endswith(".png") and one["start"] is None for one in sound["found"])
    for one in (picture, sound, *found):
        assert one["emotions"].keys() == CLASSES
        assert sum(one["emotions"].values()) == pytest.approx(1)
    shown = run("search", tmp_path / "new.png", "--workspace", finished).stdout
    assert all(text in shown for text in ("best passage", "percentile", "reads as", "new.png: reads as"))


def test_a_folder_is_searched_with_file_by_file(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pieces = sorted((finished / "data" / "audio" / "sad").iterdir())[:2]
    (tmp_path / "queries" / "deep").mkdir(parents=True)
    for piece in pieces:
        shutil.copy(piece, tmp_path / "queries" / "deep")
    (tmp_path / "queries" / "notes.txt").write_text("not searched with")
    words = ("search", pieces[0], tmp_path / "queries", pieces[0], "--workspace", finished)
    found = answer(*words)
    copies = [str(tmp_path / "queries" / "deep" / piece.name) for piece in pieces]
    assert [one["query"] for one in found] == [str(pieces[0]), *copies]
    assert "left out notes.txt" in caplog.text
    assert run(*words).stdout.count("percentile") == 3
    alone = answer("search", pieces[1], "--workspace", finished)[0]
    assert {**found[2], "query": ""} == {**alone, "query": ""}


def test_names_of_queries_are_text_and_stay_in_their_line(finished: Path, tmp_path: Path) -> None:
    picture = next((finished / "data" / "images" / "fear").iterdir())
    shutil.copy(picture, tmp_path / "[bold]a\nb\x1b[31m.png")
    (tmp_path / "[red]bad\n.png").write_bytes(b"no picture")
    shown = run("search", tmp_path, "--workspace", finished, code=3).stdout
    assert r"[bold]a\nb\x1b[31m.png: reads as" in shown
    assert r"[red]bad\n.png cannot be used as a query" in shown
    assert "\x1b" not in shown


def test_bad_queries_are_told_and_the_others_answered(finished: Path, tmp_path: Path) -> None:
    good = next((finished / "data" / "images" / "fear").iterdir())
    (tmp_path / "bad.png").write_bytes(b"no picture")
    words = ("search", tmp_path / "bad.png", good, tmp_path / "a.pdf", "gone.wav", "--workspace", finished)
    found = answer(*words, code=3)
    assert [list(one) for one in found[::2]] == [["query", "error"]] * 2
    assert [one["error"]["type"] for one in found[2:]] == ["ManifestError"] * 2
    assert len(found[1]["found"]) == 5
    told = run(*words, code=3).stdout
    for text in (
        "bad.png cannot be used as a query: ",
        "a.pdf is of no kind that can be searched with",
        "gone.wav cannot be",
    ):
        assert text in told
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no query")
    (told,) = [
        one["error"]["message"]
        for one in answer("search", good, tmp_path / "empty", "--workspace", finished, code=3)[1:]
    ]
    assert "empty holds no image or audio" in told
    none_answered = answer("search", tmp_path / "empty", tmp_path / "a.pdf", "--workspace", finished, code=2)
    assert none_answered["error"]["type"] == "ManifestError"
    for text in ("holds no image or audio", "a.pdf is of no kind"):
        assert text in none_answered["error"]["message"]


def test_neither_the_query_nor_its_copies_are_hits(workspace: Path, tmp_path: Path) -> None:
    own = workspace / "data" / "images" / "fear" / "000.png"
    shutil.copy(own, twin := workspace / "data" / "images" / "fear" / "twin.png")
    with (table := workspace / "data" / "images.csv").open("a") as file:
        row = next(line for line in table.read_text().splitlines() if "fear/000.png" in line)
        file.write(f"{row.replace('000', 'twin')}\n")
    run("extract", "images", "--encoder", "colour", "--workspace", workspace)
    shutil.copy(own, elsewhere := tmp_path / "holiday.png")
    for query in (own, twin, elsewhere):
        (found,) = answer("search", query, "--in", "images", "--top", 99, "--workspace", workspace)
        assert found["left_out"] == ["images/fear/000.png", "images/fear/twin.png"]
        assert found["candidates"] == len(found["found"])
        assert not {Path(one["path"]).name for one in found["found"] if "fear" in one["path"]} & {"000.png", "twin.png"}
    shown = run("search", own, "--in", "images", "--workspace", workspace).stdout
    assert "(run 001-colour-timbre; 2 equal to it left out)" in " ".join(shown.split())


def test_parts_of_the_file_that_is_asked_for_are_no_hits(workspace: Path, tmp_path: Path) -> None:
    piece = workspace / "data" / "audio" / "happy" / "000-0.flac"
    table = tmp_path / "parts.csv"
    table.write_text(f"id,path,start,duration\na,{piece},0,3\nb,{piece},3,3\nc,{piece.parent / '001-0.flac'},,\n")
    run("extract", "audio", table, "--encoder", "timbre", "--unlabelled", "--workspace", workspace)
    (found,) = answer("search", piece, "--in", "parts", "--workspace", workspace)
    assert (found["left_out"], [one["id"] for one in found["found"]]) == (["a", "b"], ["c"])
    table.write_text(f"id,path\na,{piece}\n")
    run("extract", "audio", table, "--encoder", "timbre", "--unlabelled", "--workspace", workspace)
    told = run("search", piece, "--in", "parts", "--workspace", workspace).stdout
    assert "nothing else in parts to rank" in told


def test_emotions_are_read_without_labels_of_the_library(workspace: Path, tmp_path: Path) -> None:
    library = tmp_path / "album"
    shutil.copytree(workspace / "data" / "audio" / "happy", library)
    run("extract", "audio", library, "--encoder", "timbre", "--workspace", workspace, "--unlabelled")
    picture = next((workspace / "data" / "images" / "fear").iterdir())
    (found,) = answer("search", picture, "--in", "album", "--workspace", workspace)
    assert {one["label"] for one in found["found"]} == {None}
    assert all(one["emotions"].keys() == CLASSES for one in found["found"])
    shown = run("search", picture, "--in", "album", "--workspace", workspace).stdout
    assert "label" not in shown


def test_without_the_training_items_no_emotions_are_read(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture = next((workspace / "data" / "images" / "fear").iterdir())
    table = workspace / "data" / "images.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "fear" not in line))
    shutil.rmtree(workspace / "cache" / "index", ignore_errors=True)  # which else keeps what was learnt of them
    (found,) = answer("search", picture, "--workspace", workspace)
    assert len(found["found"]) == 5
    assert {one["emotions"] is None for one in (found, *found["found"])} == {True}
    assert "no emotions are read" in caplog.text


def test_a_training_item_that_is_gone_or_changed_keeps_no_emotion_from_being_read(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = sorted((workspace / "data" / "images" / "fear").iterdir())
    Image.new("RGB", (8, 8), "red").save(pictures[0])
    pictures[1].unlink()
    (found,) = answer("search", pictures[2], "--workspace", workspace)
    assert found["emotions"].keys() == CLASSES
    assert "left out" not in caplog.text  # the library that is searched is whole


def test_a_head_whose_losses_never_compared_the_modalities_says_so(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = run(*brief(workspace), "--loss-weights", "0,0,0,1", "--loss-weights", "1,1,0,0").stdout
    assert "1 of 2 heads: their objective and loss weights never compare the modalities" in told
    assert "how much of the differences is noise is not known" in told  # as the picture does
    settings = json.loads((workspace / "runs" / "002-colour-timbre" / "settings.json").read_text())
    assert settings["chosen"] == 1
    picture = next((workspace / "data" / "images" / "fear").iterdir())
    for words in (("search", picture), ("evaluate", "--no-plots")):
        caplog.clear()
        run(*words, "--workspace", workspace, "--head", 1)
        assert "luck" not in caplog.text
        run(*words, "--workspace", workspace, "--head", 0)
        assert caplog.text.count("head 0 of run 002-colour-timbre was trained with loss weights 0, 0, 0, 1") == 1
    warnings = answer("evaluate", "--no-plots", "--workspace", workspace, "--head", 0)["warnings"]
    assert any("how it ranks one by the other is luck" in warning for warning in warnings)


def test_heads_that_are_no_numbers_are_refused(workspace: Path) -> None:
    path = workspace / "runs" / "001-colour-timbre" / "heads.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        about = file.metadata()
    tensors = safetensors.torch.load_file(path)
    name = next(name for name in tensors if tensors[name].is_floating_point())
    tensors[name].fill_(float("nan"))
    safetensors.torch.save_file(tensors, path, metadata=about)
    picture = next((workspace / "data" / "images" / "fear").iterdir())
    told = run("search", picture, "--workspace", workspace, code=2).stderr.strip()
    assert len(told.splitlines()) == 1
    assert "heads" in told


def test_one_searcher_answers_many_times(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = sorted((finished / "data" / "images" / "fear").iterdir())
    searcher = open_searcher(Workspace(finished), device="cpu")
    first = searcher.search(pictures[:1], top=2)
    monkeypatch.setattr("emoclim.pipeline.searching.opening.indexes.open_cache", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr("emoclim.pipeline.searching.queries.encoder_of", lambda *_: pytest.fail("loaded again"))
    assert searcher.search(pictures[:1], top=2) == first
    assert len(searcher.search(pictures).results) == len(pictures)
    with pytest.raises(ManifestError, match="nothing to search with"):
        searcher.search([])


def test_a_library_that_changed_is_told_once_by_the_path_where_it_is(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(workspace)
    table = Path("data") / "images.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "fear/000.png" not in line))
    pieces = sorted((workspace / "data" / "audio" / "happy").iterdir())[:2]
    answer("search", *pieces)
    assert [text for text in caplog.messages if "changed since" in text] == [
        f"{table} changed since it was extracted into {next(Path('cache').glob('image-*.h5')).name}"
    ]


def test_what_reproduce_trained_is_searched_with_where_nothing_else_is_there(workspace: Path) -> None:
    run(*brief(workspace), "--name", "reproduce-colour-timbre-frozen-00000000")  # newer than the other one
    picture = next((workspace / "data" / "images" / "fear").iterdir())
    assert answer("search", picture, "--workspace", workspace)[0]["run"] == "001-colour-timbre"
    assert answer("evaluate", "--no-plots", "--workspace", workspace)["run"] == "001-colour-timbre"
    shutil.rmtree(workspace / "runs" / "001-colour-timbre")
    shown = run("search", picture, "--workspace", workspace).stdout
    assert "(run reproduce-colour-timbre-frozen-00000000)" in " ".join(shown.split())


@pytest.mark.usefixtures("preset")
def test_words_are_compared_beside_a_run_if_asked_for(workspace: Path) -> None:
    query, library = next((workspace / "data" / "images" / "fear").iterdir()), workspace / "data" / "audio" / "sad"
    words = ("search", query, "--in", library, "--workspace", workspace)
    assert answer(*words)[0]["encoders"] == {"image": "colour", "audio": "timbre"}
    assert answer(*words)[0]["why"] is None
    asked = answer(*words, "--words", *OWN)[0]
    assert (asked["run"], asked["encoders"]) == ("words", {"image": "wordy_colour", "audio": "wordy_timbre"})
    assert asked["why"].startswith("By words of emotions, with wordy_colour and wordy_timbre")
    assert "--setting would have no effect" in mistake(*words, *OWN)
    run(*brief(workspace))  # what was only searched is newer, and no reason not to train on what has labels
    for option in ("--run", "--head"):
        assert f"{option} would have no effect" in mistake(*words, "--words", option, "0")


def test_hits_are_chosen_by_folder_format_length_and_emotion(finished: Path) -> None:
    query = next((finished / "data" / "images" / "fear").iterdir())
    words = ("search", query, "--top", 99, "--workspace", finished)
    every = answer(*words)[0]["found"]
    for only, kept in (
        ("folder=audio/sad", lambda one: "/sad/" in one["path"]),
        ("format=FLAC", lambda _: True),
        ("emotion=happy", lambda one: max(one["emotions"], key=one["emotions"].get) == "happy"),
    ):
        found = answer(*words, "--only", only)[0]
        assert [one["id"] for one in found["found"]] == [one["id"] for one in every if kept(one)]
        assert found["candidates"] == len(found["found"])
    assert not answer(*words, "--only", "seconds=:1")[0]["found"]
    assert "no range" in mistake(*words, "--only", "seconds=9:1")
    assert "write one of" in mistake(*words, "--only", "mood=happy")
