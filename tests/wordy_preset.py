"""Fixtures: encoders of pictures, music and texts without parameters that words are compared with, as the preset."""

import sys
from collections.abc import Iterator

import pytest
from toy_objectives import install

from emoclim.modality import BOX
from emoclim.pipeline.encoders import EncoderPreset

ENCODERS = {"image": "wordy_colour", "audio": "wordy_timbre", "text": "noise"}
OWN = ("--setting", "encoder=noise", "--setting", "words=calm,glad,afraid")
REASON = "no file of clip is here"


@pytest.fixture(scope="module")
def wordy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site")
    modules = {"wordy_colour": "wordy_colour", "wordy_timbre": "wordy_timbre", "noise": "wordy_noise"}
    install(folder, "wordy", modules, "emoclim.encoders")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture
def preset(wordy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = EncoderPreset(BOX, ENCODERS, REASON)
    monkeypatch.setattr("emoclim.pipeline.searching.by_words.choose_preset", lambda: chosen)
