"""The page on what a run leaves on disk: its tables against the files of a real run, both ways."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import answer, run
from commands import finished as finished
from pyarrow import parquet
from results_page import PAGE, TEXT, check, flat

from emoclim.config import TrainConfig
from emoclim.learning.settings import TagConfig
from emoclim.pipeline.evaluation.evaluate import evaluate_run
from emoclim.pipeline.run import Resources, start
from emoclim.pipeline.tagging.config import TaggingConfig
from emoclim.pipeline.tagging.tag import Tag
from emoclim.pipeline.training.config import HeadsConfig
from emoclim.pipeline.training.train_heads import TrainHeads
from emoclim.pipeline.workspace import Workspace

NAME = "001-colour-timbre"


@pytest.fixture(scope="module")
def evaluated(finished: Path) -> Path:
    """The folder of a run that was evaluated."""
    evaluate_run(NAME, plots=False, workspace=Workspace(finished))
    return finished / "runs" / NAME


@pytest.fixture(scope="module")
def tagged(finished: Path) -> Path:
    """The folder of a small evaluation of tagging, of labels as tags."""
    music, groups = finished / "data" / "audio.csv", finished / "moods.toml"
    groups.write_text('mood = ["happy", "sad"]\n', encoding="utf-8")
    place, quick = Workspace(finished), TagConfig(epochs=2)
    asked = TaggingConfig(run=NAME, manifest=music, seeds=2, fractions=(0.5, 1.0), tag_groups=groups, base=quick)
    return start(Tag(), asked, Resources(place)).folder


@pytest.mark.parametrize("file", ["settings.json", "history.json", "run.json", "evaluation/test/report.json"])
def test_json_is_as_the_page_has_it(evaluated: Path, file: str) -> None:
    found = evaluated / file
    check(found.name, set(flat(json.loads(found.read_text(encoding="utf-8")))))


def test_an_evaluation_of_tagging_is_as_the_page_has_it(tagged: Path) -> None:
    found = json.loads((tagged / "report.json").read_text(encoding="utf-8"))
    check("tagging/<manifest>/report.json", set(flat(found)))
    for part in (*found["per_group"].values(), *found["per_tag"].values(), *found["curve"]):
        assert part.keys() >= found["macro"].keys()
    scores = parquet.read_schema(tagged / "scores.parquet")
    check("tagging/<manifest>/scores.parquet", {(name,) for name in scores.names})


def test_the_page_names_all_files_of_evaluations(finished: Path, tagged: Path) -> None:
    evaluated = evaluate_run(NAME, workspace=Workspace(finished)).folder
    files = [path.name for folder in (evaluated, tagged) for path in folder.iterdir()]
    assert {"report.html", "curve.png"} < set(files)
    assert not [name for name in files if f"{name}`" not in TEXT]


def test_tables_are_as_the_page_has_them(evaluated: Path) -> None:
    with (evaluated / "sweep.csv").open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    check("sweep.csv", {(name,) for name in columns})
    assert parquet.read_schema(evaluated / "sweep.parquet").names == columns
    history = parquet.read_schema(evaluated / "history.parquet").names
    assert history[:4] == ["candidate", "epoch", "train_loss", "val_loss"]
    queries = parquet.read_schema(evaluated / "evaluation" / "test" / "queries.parquet")
    check("queries.parquet", {(name,) for name in queries.names})
    assert json.loads(queries.metadata[b"emoclim"]).keys() == {"schema", "run", "split", "settings"}


def test_a_comparison_is_as_the_page_has_it(evaluated: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "queries.parquet").write_bytes((evaluated / "evaluation" / "test" / "queries.parquet").read_bytes())
    words = ("--workspace", evaluated.parents[1], "--resamples", 200)
    check("comparison.json", set(flat(answer("compare", NAME, other, *words))))


def test_a_search_is_as_the_page_has_it(evaluated: Path) -> None:
    place = evaluated.parents[1]
    found = answer("search", place / "data" / "images", "gone.png", "--workspace", place, "--top", 2, code=3)
    check("search.json", {path for one in found for path in flat(one)})


def test_a_real_run_tells_its_seed(evaluated: Path) -> None:
    found = answer("compare", NAME, "--over-seeds", "--workspace", evaluated.parents[1], "--resamples", 200)
    assert found["systems"] == {NAME: [NAME]}


def test_the_lines_of_python_give_the_means_of_the_report(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(evaluated)
    names: dict[str, Any] = {}
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), names)
    shown = run("compare", NAME, "--workspace", evaluated.parents[1], "--json", "--resamples", 200).stdout
    for line in json.loads(shown)["lines"]:
        found = names["macro"].loc[line["direction"], line["metric"]]
        assert found == pytest.approx(line["mean"]["value"])


def test_the_shortest_recording_that_trains_is_told(finished: Path) -> None:
    quick = TrainConfig(epochs=1, batches_per_epoch=1, val_batches=1)
    trained = start(TrainHeads(), HeadsConfig(min_seconds=1.5, base=quick), Resources(Workspace(finished)), name="long")
    assert json.loads((trained.folder / "settings.json").read_text(encoding="utf-8"))["min_seconds"] == 1.5
