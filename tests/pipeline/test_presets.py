"""Presets of encoders: which is taken where none is named, and why."""

from pathlib import Path

import pytest
from PIL import Image

from emoclim.config import ExtractConfig
from emoclim.encoders import efficientnet_lite0, find_encoder, location
from emoclim.encoders.checkpoints import packages
from emoclim.errors import CheckpointError
from emoclim.pipeline import Workspace, choose_preset, extract_features


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "home"


def put(name: str) -> None:
    place = location(find_encoder(name).published())
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()


def test_the_default_encoders_are_taken_where_all_their_files_are_here(home: Path) -> None:
    assert choose_preset().name == "box"
    put("clip")
    preset = choose_preset(("image", "audio"))
    assert preset.encoders == {"image": "efficientnet_lite0", "audio": "musicnn_msd"}
    assert preset.reason == "no file of clap is on this machine"
    assert choose_preset(("image", "text")).encoders == {"image": "clip", "text": "minilm"}
    put("clap")
    assert choose_preset(("image", "audio", "text")).encoders == {"image": "clip", "audio": "clap", "text": "minilm"}
    assert choose_preset().reason == "clip and clap on this machine"


def test_extraction_takes_the_encoder_of_the_box_by_that_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _: None)
    Image.new("RGB", (8, 8), "red").save(home.parent / "one.png")
    with pytest.raises(CheckpointError, match=Path(efficientnet_lite0.published().file).name):
        extract_features(
            "image", home.parent, ExtractConfig(encoder="box", unlabelled=True), workspace=Workspace(home.parent)
        )
