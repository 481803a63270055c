"""What the tests of `emoclim cache` share: a small workspace with a library of music, and a way to give commands."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import answer as answer
from commands import run as run

from emoclim.config import ExtractConfig, ImportConfig
from emoclim.data.content import ContentKeys
from emoclim.data.features import Features
from emoclim.pipeline.caches.importing import import_features
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.find_caches import find_cache
from emoclim.pipeline.library import Library, labelled_library, read_features
from emoclim.pipeline.workspace import Workspace

SECONDS = (7.0, 5.0, 9.0, 6.0, 2.5, 8.0, 5.5, 12.0)
LABELS = ("happy", "sad")
MANY = 200
SPLITS = ("train", "train", "val", "val", "test", "test", "train", "train")


def write_music(root: Path) -> None:
    """Eight pieces of noise, and a file that holds none; listed in ``data/audio.csv``."""
    folder = root / "data" / "music"
    folder.mkdir(parents=True)
    rows = ["path,label,split"]
    for n, seconds in enumerate(SECONDS):
        noise = np.random.default_rng(n).standard_normal(int(8000 * seconds)) * 0.1
        soundfile.write(folder / f"piece{n}.wav", noise, 8000)
        rows.append(f"music/piece{n}.wav,{LABELS[n % 2]},{SPLITS[n]}")
    (folder / "broken.wav").write_bytes(b"no sound")
    rows.append("music/broken.wav,sad,test")
    (root / "data" / "audio.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with music and its features."""
    root = tmp_path_factory.mktemp("workspace")
    write_music(root)
    extract_features("audio", config=ExtractConfig(encoder="timbre", workers=0), workspace=Workspace(root))
    return root


@pytest.fixture
def root(extracted: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(extracted, tmp_path / "workspace"))


def features_of(root: Path, name: str, modality: str = "audio") -> Features:
    """Features of all items that a command would train on, by id."""
    library: Library = labelled_library(Workspace(root), modality, name)
    return read_features(library, library.manifest.items, ContentKeys())


def cache_called(root: Path, name: str) -> Path:
    return find_cache(Workspace(root), name).path


def imported(root: Path, backend: str = "h5", name: str = "given", n_items: int = MANY, shift: float = 0.0) -> Path:
    """A cache of random features; each ninth item has two segments."""
    ids = [f"item {n}" for n in range(n_items)]
    (root / "data").mkdir(exist_ok=True)
    manifest = root / "data" / "many.csv"
    manifest.write_text("path\n" + "".join(f"{id_}\n" for id_ in ids))
    numbers = np.random.default_rng(0).standard_normal((n_items + n_items // 9 * 2, 16)).astype(np.float32) + shift
    offsets = np.concatenate([[0], np.cumsum([2 if n % 9 == 8 else 0 for n in range(n_items)])])
    file = root / f"{name}.npz"
    np.savez(file, ids=np.array(ids), values=numbers[:n_items], segments=numbers[n_items:], offsets=offsets)
    result = import_features(
        file, "audio", name, ImportConfig(backend=backend), source=manifest, workspace=Workspace(root)
    )
    return result.cache


def flip(cache: Path, numbers: bytes) -> None:
    """Change one bit of the only place where these bytes stand."""
    for file in [cache] if cache.is_file() else sorted(path for path in cache.rglob("*") if path.is_file()):
        content = bytearray(file.read_bytes())
        if numbers in content:
            content[content.index(numbers) + 2] ^= 16
            file.write_bytes(content)
            return
    raise AssertionError("the numbers are not there")
