"""Runs that are opened: what their settings must say."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from emoclim.data import FeatureSpec
from emoclim.errors import RunError
from emoclim.learning import Banks, HeadBank, Heads, save_heads
from emoclim.pipeline.run import SCHEMA
from emoclim.pipeline.training.trained_runs import open_run
from emoclim.pipeline.workspace import HEADS_FILE, Workspace

SETTINGS = {
    "schema": SCHEMA,
    "libraries": {"image": {"path": "data/images.csv", "digest": "0123456789ab"}},
    "label_map": {"classes": ["calm"], "maps": {"image": {"sunset": "calm", "dog": None}}},
    "heads": [{"candidate": 0, "loss_weights": [1, 1.0]}],
    "kept": [0],
    "chosen": 0,
    "encoder_settings": {"image": {"overlap": 0.5, "model": "x", "quick": True, "size": 3}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with its heads and its settings."""
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    bank = HeadBank(1, 4, 16, 16, dropout=0.0, generator=torch.Generator())
    save_heads(
        Heads(Banks({"image": bank}), {"image": FeatureSpec("clip", "image", 4, "none", {})}), folder / HEADS_FILE
    )
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    return folder


def test_a_run_is_opened_as_it_was_written(folder: Path, tmp_path: Path) -> None:
    run = open_run(Workspace(tmp_path), "one")
    sources = {name: library["path"] for name, library in run.libraries.items()}
    assert (run.kept, run.chosen, sources) == ([0], 0, {"image": "data/images.csv"})
    assert run.label_map.class_of("image", "sunset") == 0
    assert run.encoder_settings == SETTINGS["encoder_settings"]
    assert run.encoder_settings["image"]["quick"] is True


@pytest.mark.parametrize("value", [None, 70, "x", [], {}, [[]], {"image": 3}, [None], {"smell": {}}])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_other_types_are_told(name: str, value: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "settings.json").write_text(json.dumps(SETTINGS | {name: value}))
    allowed = {"libraries": [{}], "encoder_settings": [{}]}
    if value in allowed.get(name, []):
        open_run(Workspace(tmp_path), "one")
        return
    with pytest.raises(RunError, match="train again") as told:
        open_run(Workspace(tmp_path), "one")
    assert "one" in str(told.value)


CONTRADICTIONS: dict[str, Any] = {
    "label_map": {"classes": ["calm"], "maps": {"image": {"sunset": "wild"}}},
    "libraries": {"audio": {"path": "data/audio.csv", "digest": "0123456789ab"}},
    "kept": [0, 0],
    "chosen": 1,
    "heads": [],
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_settings_that_contradict_themselves_or_the_heads_are_told(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / "settings.json").write_text(json.dumps(SETTINGS | {name: CONTRADICTIONS[name]}))
    with pytest.raises(RunError, match="contradicts itself"):
        open_run(Workspace(tmp_path), "one")


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"[]"])
def test_settings_that_are_damaged_are_told(content: bytes, folder: Path, tmp_path: Path) -> None:
    (folder / "settings.json").write_bytes(content)
    with pytest.raises(RunError, match=r"settings\.json"):
        open_run(Workspace(tmp_path), "one")


def test_settings_that_are_a_pipe_are_told(folder: Path, tmp_path: Path) -> None:
    (folder / "settings.json").unlink()
    os.mkfifo(folder / "settings.json")
    with pytest.raises(RunError, match="no regular file"):
        open_run(Workspace(tmp_path), "one")
