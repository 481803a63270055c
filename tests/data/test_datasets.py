"""Every data set that there is keeps every promise of a data set."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from dataset_contract import DatasetContract, Subject, miniature_of

from emoclim.data.datasets import loading
from emoclim.data.datasets.loading import dataset_names, find_dataset, read_dataset
from emoclim.errors import ConfigError


@pytest.fixture(scope="module", params=dataset_names())
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject(request.param, miniature_of(request.param))


class TestEveryDataset(DatasetContract):
    pass


def test_a_name_that_is_no_data_set_is_told() -> None:
    with pytest.raises(ConfigError, match="'base'; there are: .*folder"):
        find_dataset("base")


def test_options_become_what_a_data_set_says_that_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(folder: Path, *, least: int = 1, whole: bool = True, name: str | None = None) -> object:
        return least, whole, name

    monkeypatch.setattr(loading, "find_dataset", lambda _: SimpleNamespace(prepare=prepare))
    assert read_dataset("any", tmp_path, {"least": "4", "whole": "false", "name": "4"}) == (4, False, "4")
    with pytest.raises(ConfigError, match="least of data set 'any' cannot be 'all'"):
        read_dataset("any", tmp_path, {"least": "all"})


def test_a_data_set_without_a_miniature_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"'nonsense' has no miniature: write tests/miniature_nonsense\.py"):
        miniature_of("nonsense")


ELSEWHERE = """
import sys
import warnings
from pathlib import Path
from dataset_contract import Subject, miniature_of
warnings.filterwarnings("error", category=EncodingWarning, module=r"emoclim\\.")  # a file read as the locale says
root = Path(sys.argv[1])
for name in sys.argv[2:]:
    subject = Subject(name, miniature_of(name))
    subject.prepare(root / name / "official" / subject.miniature.given, root, f"{name}/there.csv", max_missing=1.0)
"""


def test_locale_place_and_hash_seed_change_no_byte(tmp_path: Path) -> None:
    here = {}
    for name in dataset_names():
        subject = Subject(name, miniature_of(name))
        folder = subject.write(tmp_path / name)
        here[name] = subject.prepare(folder, tmp_path, f"{name}/here.csv", max_missing=1.0).path.read_bytes()
    (tmp_path / "elsewhere").mkdir()
    changed = {"LC_ALL": "C", "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-X", "warn_default_encoding", "-c", ELSEWHERE, str(tmp_path), *here]
    done = subprocess.run(words, cwd=tmp_path / "elsewhere", env=os.environ | changed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert {name: (tmp_path / name / "there.csv").read_bytes() for name in here} == here


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are UTF-8 there, whatever the locale")
def test_names_that_would_be_read_otherwise_are_refused(tmp_path: Path) -> None:
    (tmp_path / "awe").mkdir()
    (tmp_path / "awe" / "été.jpg").write_bytes(b"summer")
    changed = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "emoclim", "prepare", "folder", str(tmp_path), "--workspace", str(tmp_path)]
    done = subprocess.run(words, env=os.environ | changed, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"as UTF-8 elsewhere" in done.stderr
    assert b"PYTHONUTF8=1" in done.stderr
    assert not (tmp_path / "data").exists()
