"""A way to give commands, and a small workspace in which everything was done once."""

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner, Result

from emoclim.cli import app
from emoclim.data.generated.corpus import generate
from emoclim.pipeline.evaluation import page

page.SECONDS = 1.0  # of what a page plays, whose encoding would take half of the time of an evaluation


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def mistake(*words: object, code: int = 2) -> str:
    """The one line that tells what is wrong, below any that tell how far slow work was."""
    *before, last = run(*words, code=code).stderr.strip().splitlines()
    assert last.startswith("emoclim: ")
    assert not [line for line in before if not re.search(r"(^|, )\d+ s(, |$)|: \d+ s$", line)]
    return last


def answer(*words: object, code: int = 0) -> dict:
    return json.loads(run(*words, "--json", code=code).stdout)


def brief(workspace: Path) -> tuple[object, ...]:
    """Words of a training that is over at once."""
    return ("train-heads", "--workspace", workspace, "--config", workspace / "brief.toml")


@cache
def _finished(root: Path) -> Path:
    """Make it, or wait for the test process that does."""
    with FileLock(root.with_name("finished.lock")):
        if not (root / "brief.toml").exists():
            _finish(root)
    return root


def _finish(root: Path) -> None:
    generate(root / "data", seed=1, pictures_per_label=5, pieces_per_label=8)
    run("extract", "images", "--encoder", "colour", "--workspace", root, "--workers", 0)
    run("extract", "audio", "--encoder", "timbre", "--workspace", root, "--workers", 0)
    run("train-heads", "--epochs", 2, "--workspace", root)
    (root / "brief.toml").write_text("epochs = 1\nbatches_per_epoch = 10\nval_batches = 10\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which everything was done once, for the tests of one file."""
    base = tmp_path_factory.getbasetemp()
    made = _finished((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished")
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("workspace") / "copy"))


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))
