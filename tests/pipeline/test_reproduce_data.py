"""`emoclim reproduce` on data that are not all there, that change, or that are told to it by mistake."""

import csv
import shutil
from pathlib import Path

import pytest
from commands import answer, run

from emoclim.data.generated.corpus import generate
from emoclim.modality import Modality
from emoclim.pipeline import departures

QUICK = "batch_size = 8\nepochs = 1\nbatches_per_epoch = 1\nval_batches = 1\nhidden_dim = 16\nembedding_dim = 16\n"
ENCODERS = ("--encoder", "clip=colour", "--encoder", "clap=timbre")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    generate(root / "data", seed=1, pictures_per_label=5, pieces_per_label=8)
    (root / "quick.toml").write_text(QUICK)
    return root


@pytest.fixture
def workspace(generated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(generated, tmp_path / "copy"))


def table_3(root: Path, *words: object, code: int = 0) -> dict:
    """Table 3 with a frozen encoder; its only row stands in the answer's place."""
    options = ("--rows", "clap", *ENCODERS, "--config", root / "quick.toml", "--workspace", root)
    made = answer("reproduce", "table3", *options, *words, code=code)
    return made | made["rows"][0]


def music(root: Path, split: str | None = None) -> list[Path]:
    """Files of the manifest of music."""
    with (root / "data" / "audio.csv").open(newline="") as file:
        return [root / "data" / row["path"] for row in csv.DictReader(file) if split in (None, row["split"])]


def rewrite(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def without_splits(root: Path) -> list[str]:
    """Take the splits out of the manifest of music; its ids."""
    with (root / "data" / "audio.csv").open(newline="") as file:
        rows = [[row["path"], row["label"]] for row in csv.DictReader(file)]
    rewrite(root / "data" / "audio.csv", ["path", "label"], rows)
    return [path for path, _ in rows]


def test_half_a_download_is_told_and_trained_anew_when_it_is_whole(workspace: Path) -> None:
    away = music(workspace, "train")[::3]
    for path in away:
        path.rename(path.with_suffix(".away"))
    half = table_3(workspace, code=3)
    lost = f"{len(away)} of 50 items of audio.csv cannot be used: missing, or failed to encode"
    assert {"kind": "data", "told": lost} in half["departures"]
    assert f"audio.csv has {50 - len(away)} labelled items, where the paper had 13,713" in str(half["notes"])
    assert half["table"]["lines"][-1]["own"]
    assert table_3(workspace, "--max-failures", 0.9)["run"] == half["run"]
    for path in away:
        path.with_suffix(".away").rename(path)
    whole = table_3(workspace)
    assert whole["run"] != half["run"]
    assert lost not in str(whole["departures"])
    assert len(list((workspace / "runs").glob("reproduce-*/heads.safetensors"))) == 2


def test_files_that_change_places_are_other_data(workspace: Path) -> None:
    before = table_3(workspace)
    assert table_3(workspace, "--explain")["state"] == "done"
    first, second = music(workspace, "train")[:2]
    first.rename(workspace / "aside")
    second.rename(first)
    (workspace / "aside").rename(second)
    assert table_3(workspace, "--explain")["state"] == "to do"
    assert table_3(workspace)["run"] != before["run"]
    unchanged = music(workspace, "test")[0]
    unchanged.write_bytes(unchanged.read_bytes() + b"\0")
    assert table_3(workspace, "--explain")["state"] == "done"  # no training has seen it


def test_what_fails_to_encode_is_no_data(workspace: Path) -> None:
    music(workspace, "train")[0].write_bytes(b"no music")
    expected = table_3(workspace, "--explain")
    made = table_3(workspace, code=3)
    assert "1 of 50 items of audio.csv cannot be used" in str(made["departures"])
    assert "audio.csv has 49 labelled items" in str(made["departures"])
    again = table_3(workspace, "--explain")
    assert (again["run"], again["state"]) == (made["run"], "done")
    assert made["run"] != expected["run"]  # which had it that all could be encoded
    assert table_3(workspace, "--max-failures", 0.02)["run"] == made["run"]


def test_names_of_files_that_are_not_there_are_not_the_papers_data(tmp_path: Path) -> None:
    modalities: tuple[Modality, ...] = ("image", "audio")
    for modality, name in zip(modalities, ("images", "audio"), strict=True):
        labels = [label for label, count in departures.emotions(modality).items() for _ in range(count)]
        (tmp_path / "data" / name).mkdir(parents=True)
        rows = [[f"{name}/{number}", label, "train"] for number, label in enumerate(labels)]
        rewrite(tmp_path / "data" / f"{name}.csv", ["path", "label", "split"], rows)
        for row in rows[:2]:
            (tmp_path / "data" / row[0]).touch()
    made = answer("reproduce", "table2", "--workspace", tmp_path, code=3)
    own = [line for line in made["table"]["lines"] if line["mark"]]
    assert {line["mark"] for line in own} == {"miniature: not the paper's data"}
    assert "21,827 of 21,829 items of images.csv cannot be used" in str(made["notes"])
    assert "audio.csv has 2 labelled items, where the paper had 13,713" in str(made["notes"])
    assert 2 in [value["value"] for line in own for value in line["own"].values()]
    assert 4724 not in [value["value"] for line in own for value in line["own"].values()]
    assert answer("reproduce", "table2", "--workspace", tmp_path, "--max-failures", 1)["table"] == made["table"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("table5 --encoder clap=a --encoder clap=b", "--encoder clap is given twice"),
        ("table5 --checkpoint clap=a --checkpoint clap=a", "--checkpoint clap is given twice"),
        ("table5 --setting clap.overlap=0 --setting clap.overlap=0.5", "--setting clap.overlap is given twice"),
    ],
)
def test_options_that_are_given_twice_are_refused(generated: Path, words: str, told: str) -> None:
    result = run("reproduce", *words.split(), "--workspace", generated, code=2)
    assert told in " ".join(result.output.split())


def test_explain_refuses_the_splits_that_the_run_would_refuse(workspace: Path) -> None:
    paths = without_splits(workspace)
    explain = ("reproduce", "table2", "--explain", "--workspace", workspace)
    assert "50 items, 80/10/10 splits yet to be made" in run(*explain).stdout
    kept = workspace / "data" / "audio.splits.csv"
    rewrite(kept, ["id", "split"], [[path, "train"] for path in paths[:40]])
    assert "50 items, 80/10/10 splits yet to be made" in run(*explain).stdout  # of ten of them
    rewrite(kept, ["id", "split"], [[path, "train"] for path in paths])
    assert "50 items\n" in run(*explain).stdout
    rewrite(kept, ["id", "split"], [[path, "somewhere"] for path in paths])
    told = "audio.splits.csv is not a table of id and split"
    assert told in run(*explain, code=2).output
    assert told in run("reproduce", "table2", "--workspace", workspace, code=2).output
    rewrite(workspace / "data" / "audio.csv", ["path", "label", "group"], [[path, "joy", "one"] for path in paths])
    rewrite(kept, ["id", "split"], [[path, ("train", "test")[n % 2]] for n, path in enumerate(paths[:9])])
    assert "group 'one' joins items placed in test and train" in run(*explain, code=2).output
    given = [[path, "joy", "train" if n else ""] for n, path in enumerate(paths)]
    rewrite(workspace / "data" / "audio.csv", ["path", "label", "split"], given)
    assert "gives a split for 49 of 50 labelled items; give all or none" in run(*explain, code=2).output
