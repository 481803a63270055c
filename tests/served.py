"""Fixtures: a small workspace with a run, and the service on its music."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from tiny_workspace import BRIEF, CLASSES, PICTURES, SPLITS, write_pictures

from emoclim.app import Libraries, ServiceSettings, create_app
from emoclim.config import ExtractConfig
from emoclim.pipeline import HeadsConfig, Resources, TrainHeads, Workspace, extract_features, open_searcher, start

SETTINGS = ServiceSettings(files=3)
ADDRESS = "http://127.0.0.1:8765"
TRAINED = HeadsConfig(base=BRIEF.updated(epochs=1), settings={"seed": (1,)})


def write_sound(path: Path, seed: int, seconds: int = 6) -> None:
    """Write a sound of chance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 16_000 * seconds), 16_000)


def write_music(root: Path) -> None:
    """Write sounds of chance, one for each class and split, and the manifest ``data/audio.csv``."""
    rows = ["path,label,split"]
    for number in range(len(CLASSES) * len(SPLITS)):
        label, split = CLASSES[number % 3], SPLITS[number // 3]
        place = f"{label}/{number}.flac"
        write_sound(root / "data" / "music" / place, number, 11)
        rows.append(f"music/{place},{label},{split}")
    (root / "data" / "audio.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def served_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with pictures and music, and a run of both."""
    root = tmp_path_factory.mktemp("served")
    write_pictures(root, "images", 0)
    write_music(root)
    place = Workspace(root)
    extract_features("image", config=PICTURES, workspace=place)
    extract_features("audio", config=ExtractConfig(encoder="timbre", workers=0), workspace=place)
    start(TrainHeads(), TRAINED, Resources(place))
    return root


def open_music(root: Path, settings: ServiceSettings, name: str = "audio") -> Libraries:
    """Open a library of a workspace, to be served."""
    place, vad = Workspace(root), root / "vad.csv"
    vad.write_text("word,valence,arousal\ncalm,.7,.2\nglad,.9,.6\nwild,.6,.9\n")
    opened = partial(open_searcher, place, vad=vad)
    made = Libraries(lambda name, track, limit: opened(library=name, track=track, limit=limit), settings)
    made.open(name)
    return made


@pytest.fixture(scope="session")
def libraries(served_workspace: Path) -> Libraries:
    """Its music, open."""
    return open_music(served_workspace, SETTINGS)


@pytest.fixture(scope="session")
def client(libraries: Libraries) -> Iterator[TestClient]:
    """Asks the service."""
    with TestClient(create_app(libraries, SETTINGS), ADDRESS) as opened:
        yield opened
