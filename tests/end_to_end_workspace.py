"""A small workspace with one end-to-end training of an example encoder, and the command that begins another."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from commands import run
from example_encoders import dropped_in

from emoclim.data.generated.corpus import generate
from emoclim.encoders.loading import find_encoder

QUICK = """
batch_size = 8
epochs = 2
batches_per_epoch = 2
val_batches = 1
hidden_dim = 16
embedding_dim = 16

[encoder]
learning_rate = 1e-3
"""
QUIET = ("--workers", 0, "--device", "cpu")
RUN = "001-colour-small_cnn-unfrozen"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with pictures cached, an encoder with a checkpoint, and one run of it."""
    root = tmp_path_factory.mktemp("workspace")
    generate(root / "data", seed=1, pictures_per_label=5, pieces_per_label=8)
    run("extract", "images", "--encoder", "colour", "--workspace", root, "--workers", 0)
    (root / "quick.toml").write_text(QUICK)
    with dropped_in(tmp_path_factory.mktemp("encoders")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = find_encoder("small_cnn").untrained(width=8)
        safetensors.torch.save_file(net.state_dict(), root / "small.safetensors")
        run(*begin(root))
        yield root


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def begin(root: Path, *words: object) -> tuple[object, ...]:
    """Words of the command that trains the example encoder."""
    settings = ("--encoder", "small_cnn", "--checkpoint", root / "small.safetensors", "--setting", "width=8")
    return ("train-end-to-end", *settings, "--config", root / "quick.toml", "--workspace", root, *QUIET, *words)


def files(folder: Path) -> dict[str, bytes]:
    """All that the same seed gives again, without what a kill left of a file that was being written."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file() and path.name != "run.json"}
