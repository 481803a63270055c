"""What a terminal, a log and another program get to see: progress, names of any kind, and mistakes as JSON."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run
from PIL import Image

from emoclim import pipeline
from emoclim.commands.interface.terminal import Table, View, emit, live_table, track, working


def test_work_that_fails_ends_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        with working("evaluate"):
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert list(track([1, 2], "count")) == [1, 2]
    time.sleep(1.1)
    assert capsys.readouterr().err == ""


def test_a_bar_shows_a_name_of_any_kind_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(track([1, 2], "encode [/odd]\n[red]")) == [1, 2]
    with live_table() as (track_here, show):
        for number in track_here([3], "train [/odd]"):
            show([("epoch",), (f"[/{number}]",)])
    emit(View({}, [Table([("hit",), ("[/a].jpg",)], "[/q]\n.jpg")]))
    shown = capsys.readouterr()
    assert r"encode [/odd]\n[red]" in shown.err
    assert "train [/odd]" in shown.err
    assert "[/3]" in shown.err
    assert r"[/q]\n.jpg" in shown.out
    assert "[/a].jpg" in shown.out


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("extract", "images", "nowhere"), "ManifestError", "no manifest at nowhere"),
        (("evaluate",), "RunError", "there is no run"),
        (("extract", "images", "--bogus", "1"), "NoSuchOption", "--bogus"),
        (("extract", "pictures"), "UsageError", "No such command"),
        (("compare",), "MissingParameter", "runs"),
    ],
)
def test_mistakes_are_json_where_json_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], kind: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*words, "--json", code=2)
    error = json.loads(result.stdout)["error"]
    assert error["type"] == kind
    assert message in error["message"]
    assert message not in result.stderr  # it is told once


def test_a_file_that_looks_like_an_option_is_named_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("-dash.jpg")
    assert (
        "if -dash.jpg in this folder is meant, write ./-dash.jpg, or name it last, behind --"
        in run("search", "-dash.jpg", code=2).stderr
    )
    assert "is meant" not in run("search", "-other.jpg", code=2).stderr
    assert "nothing to search in" in run("search", "--", "-dash.jpg", code=2).stderr


def test_files_named_one_by_one_are_told_apart_from_a_folder(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.png" for n in range(3)]
    for file in files:
        file.touch()
    assert "3 files are named one by one: give the folder" in run("extract", "images", *files, code=2).stderr


def test_a_name_never_breaks_a_line_or_steers_a_terminal(tmp_path: Path) -> None:
    name = "two\nlines\x1b[31m café 😀.png"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / name).write_bytes(b"none")
    words = ("extract", "images", tmp_path / "photos", "--encoder", "colour", "--workspace", tmp_path, "--workers", 0)
    told = run(*words, code=3).stdout
    assert r"two\nlines\x1b[31m café 😀.png: " in told
    assert "\x1b" not in told


@pytest.mark.parametrize("take", [lambda: torch.empty(2**50), lambda: np.empty(2**50), lambda: bytes(2**62)])
def test_memory_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, take: Callable[[], object]) -> None:
    monkeypatch.setattr(pipeline, "list_caches", lambda *_, **__: take())
    assert run("cache", "list", code=2).output == (
        "emoclim: there is not enough memory; ask for smaller batches or widths, or fewer heads\n"
    )


def test_a_mistake_of_our_own_is_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "list_caches", lambda *_, **__: torch.ones(2) @ torch.ones(3))
    with pytest.raises(AssertionError, match="inconsistent tensor size"):  # it ended with a traceback
        run("cache", "list")
