"""A small corpus with stand-ins for the encoders of Emo-CLIM, and its table 1 made of that once for a file of tests."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from commands import answer
from example_encoders import dropped_in
from PIL import Image

from emoclim.encoders.loading import find_encoder
from emoclim.modality import Modality

CLAP = ("--rows", "clap")
QUICK = "batch_size = 8\nepochs = 1\nbatches_per_epoch = 1\nval_batches = 1\nhidden_dim = 16\nembedding_dim = 16\n"
COUNTS: dict[Modality, dict[str, int]] = {
    "image": {**dict.fromkeys(("excitement", "amusement", "contentment", "anger", "sadness", "fear"), 5), "awe": 1},
    "audio": {**dict.fromkeys(("exciting", "funny", "happy", "angry", "sad", "scary"), 5), "tender": 1},
}
SPLITS = ("train", "train", "train", "val", "test")


def write_corpus(data: Path) -> None:
    """Two seconds of sound or a picture of few pixels for each item, five of each emotion that has a partner."""
    generator = np.random.default_rng(1)
    for modality, counts in COUNTS.items():
        (data / modality).mkdir(parents=True)
        rows = [(f"{modality}/{label}-{n}", label, SPLITS[n]) for label, count in counts.items() for n in range(count)]
        for name, _, _ in rows:
            if modality == "image":
                Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)).save(data / f"{name}.png")
            else:
                soundfile.write(data / f"{name}.wav", generator.normal(0, 0.1, 32_000), 16_000)
        file, suffix = ("images.csv", ".png") if modality == "image" else ("audio.csv", ".wav")
        rewrite(data / file, "path label split", ((f"{name}{suffix}", *rest) for name, *rest in rows))
    tagged = [
        (f"{name}.wav", f"{label}|{'even' if n % 2 else 'odd'}", ("train", "val", "test")[n % 3])
        for n, (name, label, _) in enumerate(rows)
    ]
    rewrite(data / "tagging.csv", "path tags split", tagged)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace in which table 1 was made; its answer is in answer.json."""
    root = tmp_path_factory.mktemp("reproduced")
    write_corpus(root / "data")
    (root / "quick.toml").write_text(QUICK)
    with dropped_in(tmp_path_factory.mktemp("encoders")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = find_encoder("small_cnn").untrained(width=4)
        safetensors.torch.save_file(net.state_dict(), root / "small.safetensors")
        (root / "answer.json").write_text(json.dumps(reproduce(root, "table1", cnns=True)))
        yield root


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def options(root: Path, cnns: bool = False) -> list[object]:
    """Small encoders that stand in; for CNNs only where they are of use."""
    words: list[object] = ["--encoder", "clip=colour"]
    for role in ("short_chunk_cnn", "harmonic_cnn") if cnns else ():
        words += ["--encoder", f"{role}=small_cnn", "--setting", f"{role}.width=4"]
        words += ["--checkpoint", f"{role}={root / 'small.safetensors'}"]
    return [*words, "--config", root / "quick.toml", "--workspace", root, "--workers", 0, "--device", "cpu"]


def reproduce(root: Path, *words: object, cnns: bool = False, code: int = 0) -> Any:
    clap = () if "clap=small_cnn" in words else ("--encoder", "clap=timbre")
    return answer("reproduce", *words, *clap, *options(root, cnns), code=code)


def only_row(root: Path, *words: object, code: int = 0) -> Any:
    """Table 3 with one frozen encoder; its row stands in the answer's place."""
    found = reproduce(root, "table3", *CLAP, *words, code=code)
    return found | found["rows"][0]


def rewrite(path: Path, columns: str, rows: Any) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(), *rows])
