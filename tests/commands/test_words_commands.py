"""Libraries measured by words of emotions, without a training: what is ranked, which part labels play, and the run."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import answer, mistake, run
from toy_objectives import install

from emoclim.data import Features
from emoclim.learning import load_heads
from emoclim.learning.branches import embed
from emoclim.pipeline import Workspace, import_features

LABELS = {"image": ("fear", "sadness", "awe"), "audio": ("scary", "sad", "tender")}  # the last ones have no partner
N = 12
ASKED = ("--no-plots", "--setting", "encoder=noise", "--setting", "words=calm,glad,afraid")


def write(root: Path, shift: int = 0, *, labelled: bool = True) -> Path:
    """A workspace with values of chance of pictures and music, which the tests' encoder compares with words."""
    (root / "data").mkdir(parents=True)
    for number, (modality, labels) in enumerate(LABELS.items()):
        rows = [f"{n},{n}.png,{labels[(n + shift) % 3]},{('train', 'val', 'test')[n // 3 % 3]}" for n in range(N)]
        manifest = root / "data" / f"{modality}.csv"
        table = [row.split(",") for row in ["id,path,label,split", *rows]]
        manifest.write_text("\n".join(",".join(row if labelled else row[:2]) for row in table) + "\n")
        values = np.random.default_rng(number).standard_normal((N, 7)).astype(np.float32)
        np.savez(root / "values.npz", ids=np.arange(N).astype(str), values=values)
        import_features(root / "values.npz", modality, "noise", source=manifest, workspace=Workspace(root))
    return root


@pytest.fixture(scope="module", autouse=True)
def wordy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site")
    install(folder, "wordy", {"noise": "wordy_noise"}, "emoclim.encoders")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "one")


def heads(root: Path) -> Path:
    return next((root / "runs").glob("words-*/heads.safetensors"))


def test_all_that_has_labels_is_ranked_or_a_split(root: Path) -> None:
    found = answer("evaluate", "--words", *ASKED, "--workspace", root)
    sizes = {one["n_queries"] for one in found["directions"].values()}
    assert (found["split"], sizes, found["warnings"]) == ("all", {8}, [])
    part = answer("evaluate", "--words", "--split", "test", *ASKED, "--workspace", root)
    assert {one["n_queries"] for one in part["directions"].values()} == {2}
    assert part["run"] == found["run"]


def test_labels_play_no_part_and_all_items_do(root: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", shift=1)
    for one in (root, other):
        run("evaluate", "--words", *ASKED, "--workspace", one)
    banks = [load_heads(heads(one)).banks.state_dict() for one in (root, other)]
    assert all((banks[0][name] == banks[1][name]).all() for name in banks[0])
    trained, values = load_heads(heads(root)), np.load(root / "values.npz")["values"]  # of the music, written last
    found = embed(trained.banks, Features(trained.specs["audio"], tuple(map(str, range(N))), torch.from_numpy(values)))
    assert found["audio"].mean(dim=1)[0].tolist() == pytest.approx([0, 0, 0], abs=1e-5)


def test_the_run_is_as_any_but_not_the_newest(root: Path) -> None:
    first = answer("evaluate", "--words", *ASKED, "--workspace", root)["run"]
    other = answer("evaluate", "--words", *ASKED, "--setting", "temperature=0.3", "--workspace", root)["run"]
    assert answer("evaluate", "--words", *ASKED, "--workspace", root)["run"] == first != other
    run("compare", first, other, "--split", "all", "--workspace", root)
    assert answer("evaluate", "--split", "all", "--no-plots", "--workspace", root)["run"] in (first, other)
    brief = ("--epochs", 1, "--workspace", root, "--name", "trained")
    run("train-heads", *brief)
    found = answer("evaluate", "--split", "all", "--no-plots", "--workspace", root)
    assert found["run"] == "trained"
    assert "was trained on" in found["warnings"][0]


def test_heads_by_words_need_no_labels(tmp_path: Path) -> None:
    root = write(tmp_path / "bare", labelled=False)
    trained = answer("train-heads", "--objective", "words", *ASKED[1:], "--workspace", root)
    assert (trained["terms"], trained["select"]) == ([], "loss")
    values, banks = np.load(root / "values.npz")["values"], load_heads(Path(trained["run"]) / "heads.safetensors")
    found = embed(banks.banks, Features(banks.specs["audio"], tuple(map(str, range(N))), torch.from_numpy(values)))
    assert found["audio"].mean(dim=1)[0].tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    several = ("--temperature", 0.5, "--temperature", 1.0)
    told = mistake("train-heads", "--objective", "words", *ASKED[1:], *several, "--workspace", root)
    assert "no loss to select by" in told


def test_labels_without_partners_take_a_label_map(root: Path, tmp_path: Path) -> None:
    table = root / "data" / "audio.csv"
    table.write_text(table.read_text().replace("scary", "swing").replace("sad,", "swung,").replace("tender", "swang"))
    values = (root / "values.npz", "audio", "noise")
    import_features(*values, source=table, workspace=Workspace(root))
    assert "give a label" in mistake("evaluate", "--words", *ASKED, "--workspace", root)
    tables = [
        "[image]",
        'fear = ["x", "y"]',
        "sadness = []",
        "awe = []",
        "[audio]",
        "swing = 'x'",
        "swung = []",
        "swang = 'y'",
    ]
    (tmp_path / "map.toml").write_text("\n".join(tables))
    found = answer("evaluate", "--words", *ASKED, "--label-map", tmp_path / "map.toml", "--workspace", root)
    assert found["directions"]["image_audio"]["n_queries"] == 12


def test_mistakes_are_told(root: Path) -> None:
    assert "without a run" in mistake("evaluate", "one", "--words", "--workspace", root)
    assert "--setting" in mistake("evaluate", "--setting", "words=paper", "--workspace", root)
    assert "1 of 2 to 1000 words" in mistake("evaluate", "--words", "--setting", "words=calm", "--workspace", root)
    for cache in (root / "cache").glob("audio-*"):
        (shutil.rmtree if cache.is_dir() else Path.unlink)(cache)
    assert "has those of image" in mistake("evaluate", "--words", "--workspace", root)
