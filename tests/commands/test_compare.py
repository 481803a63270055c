"""`emoclim compare` and the file of scores per query: what is kept, what is compared, and what is refused."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from commands import answer, run
from pyarrow import parquet

from emoclim.config import CompareConfig
from emoclim.errors import ConfigError, RunError
from emoclim.files import write_json
from emoclim.metrics.retrieval import macro_mean
from emoclim.pipeline.evaluation.compare import compare_runs
from emoclim.pipeline.evaluation.files import QueryTable, read_queries, write_queries
from emoclim.pipeline.workspace import Workspace
from emoclim.reports.comparison import System, compare
from emoclim.reports.queries import QueryScores, intervals

DIRECTIONS = {"image_audio": 24, "audio_image": 30}
LABELS = ("happy", "sad", "scary")


def scores(n_queries: int, prefix: str, seed: int, gain: float = 0.0) -> QueryScores:
    """Queries of a difficulty of their own, and what one system makes of them."""
    hard = torch.rand(n_queries, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    noise = torch.rand(n_queries, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = (0.6 * hard + 0.2 * noise + gain).clamp(max=1)
    return QueryScores(
        tuple(f"{prefix}{number}" for number in range(n_queries)),
        tuple(LABELS[number % 3] for number in range(n_queries)),
        torch.full((n_queries,), 5),
        torch.full((n_queries,), 40),
        {"P@5": (found * 5).round() / 5, "MRR": found},
    )


def table(name: str, seed: int, gain: float = 0.0, head: int = 0) -> QueryTable:
    directions = {direction: scores(number, direction, seed, gain) for direction, number in DIRECTIONS.items()}
    return QueryTable(name, "test", {"head": head, "average": "embeddings"}, directions)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs ``a``, ``b`` (better) and ``c`` (as ``a``), of the seeds 1, 2 and 3 of one recipe, as if evaluated."""
    for seed, (name, gain) in enumerate({"a": 0.0, "b": 0.15, "c": 0.0}.items(), start=1):
        folder = tmp_path / "runs" / name
        write_queries(folder / "evaluation" / "test" / "queries.parquet", table(name, seed, gain))
        (folder / "heads.safetensors").touch()
        head = {"candidate": 0, "loss_weights": [0.25] * 4, "config": {"temperature": 0.07, "seed": seed}}
        same = {"plan": f"{seed:012x}", "features": {}, "label_map": {}, "terms": [], "label_vectors": None}
        write_json(folder / "settings.json", same | {"libraries": {"image": {"digest": "0a"}}, "heads": [head]})
    return tmp_path


def change(workspace: Path, name: str, how: Callable[[QueryScores], QueryScores]) -> None:
    """Change the first direction of the evaluation of a run."""
    path = workspace / "runs" / name / "evaluation" / "test" / "queries.parquet"
    before = read_queries(path)
    directions = dict(before.directions)
    directions["image_audio"] = how(directions["image_audio"])
    write_queries(path, replace(before, directions=directions))


def without(scores: QueryScores, lost: Sequence[str]) -> QueryScores:
    return scores.in_order([id_ for id_ in scores.ids if id_ not in lost])


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "evaluation" / "queries.parquet"
    before = table("a", 1)
    write_queries(path, before)
    after = read_queries(path)
    assert (after.run, after.split, after.settings) == (before.run, before.split, before.settings)
    for name, mine in before.directions.items():
        theirs = after.directions[name]
        assert (mine.ids, mine.classes) == (theirs.ids, theirs.classes)
        for one, other in ((mine.n_relevant, theirs.n_relevant), (mine.n_candidates, theirs.n_candidates)):
            assert torch.equal(one, other)
        assert all(torch.equal(values, theirs.metrics[metric]) for metric, values in mine.metrics.items())
    assert [entry.name for entry in path.parent.iterdir()] == ["queries.parquet"]


def test_any_program_reads_it_and_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_queries(tmp_path / name, table("a", 1))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    rows = parquet.read_table(tmp_path / "one")
    assert rows.column_names == ["direction", "id", "class", "n_relevant", "n_candidates", "P@5", "MRR"]
    assert rows.num_rows == sum(DIRECTIONS.values())
    assert json.loads(rows.schema.metadata[b"emoclim"]) == {
        "schema": 1, "run": "a", "split": "test", "settings": {"head": 0, "average": "embeddings"},
    }  # fmt: skip


def test_what_is_no_such_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    path.write_bytes(b"nothing")
    with pytest.raises(RunError, match="is no table of queries"):
        read_queries(path)
    write_queries(path, table("a", 1))
    number = table("a", 1).directions["image_audio"].metrics["MRR"].numpy()[:1].tobytes()
    path.write_bytes(path.read_bytes().replace(number, bytes([number[0] ^ 1]) + number[1:], 1))
    with pytest.raises(RunError, match="is no table of queries .*checksum"):
        read_queries(path)
    write_queries(path, table("a", 1))
    rows = parquet.read_table(path)
    about = {"schema": 7, "run": "a", "split": "test", "settings": {}}
    parquet.write_table(rows.replace_schema_metadata({"emoclim": json.dumps(about)}), path)
    with pytest.raises(RunError, match="schema 7"):
        read_queries(path)
    parquet.write_table(rows.drop_columns(["id"]), path)
    with pytest.raises(RunError, match="is no table of queries"):
        read_queries(path)
    mixed = {"one": scores(3, "x", 1), "other": replace(scores(3, "x", 1), metrics={"MRR": torch.zeros(3)})}
    with pytest.raises(ValueError, match="one table takes one set"):
        write_queries(path, QueryTable("a", "test", {}, mixed))


def test_queries_that_do_not_fit_together_are_refused() -> None:
    one = scores(3, "x", 1)
    with pytest.raises(ValueError, match="twice"):
        replace(one, ids=("x", "y", "x"))
    with pytest.raises(ValueError, match="columns of"):
        replace(one, n_relevant=torch.zeros(2))


def test_a_better_run_is_told_from_one_that_is_as_good(runs: Path) -> None:
    result = answer("compare", "a", "b", "c", "--workspace", runs, "--resamples", 2000)
    assert (result["schema"], result["split"], result["n_tests"]) == (1, "test", 8)
    lines = {(line["direction"], line["metric"], line["system"]): line for line in result["lines"]}
    assert len(lines) == 2 * 2 * 3
    for direction in DIRECTIONS:
        one = read_queries(runs / "runs" / "b" / "evaluation" / "test" / "queries.parquet").directions[direction]
        line = lines[direction, "P@5", "b"]
        assert line["mean"]["value"] == pytest.approx(macro_mean(one.metrics["P@5"], one.class_numbers()))
        assert line["mean"]["low"] < line["mean"]["value"] < line["mean"]["high"]
        first = lines[direction, "P@5", "a"]
        assert first["difference"] is first["p"] is first["p_holm"] is None
        assert line["difference"]["value"] == pytest.approx(line["mean"]["value"] - first["mean"]["value"])
        # paired by query, so narrower than either mean, and clear where the means' own intervals overlap
        width = line["difference"]["high"] - line["difference"]["low"]
        assert width < line["mean"]["high"] - line["mean"]["low"]
        assert line["difference"]["low"] > 0
        assert line["mean"]["low"] < first["mean"]["high"]
        assert line["p"] <= line["p_holm"] < 0.01
        same = lines[direction, "MRR", "c"]
        assert same["difference"]["low"] < 0 < same["difference"]["high"]
        assert same["p_holm"] > 0.05


def test_fewer_tests_are_corrected_less(runs: Path) -> None:
    def p_values(*words: str) -> list[float]:
        result = answer("compare", "a", "c", "--workspace", runs, "--resamples", 1000, *words)
        assert result["n_tests"] == len(result["lines"]) / 2
        return [line[key] for line in result["lines"] if line["p"] for key in ("p", "p_holm")]

    every, one = p_values(), p_values("--metric", "P@5")
    assert one[0] == every[0]
    assert one[1] <= every[1]
    assert len(one) == len(every) / 2


def test_means_over_queries_are_compared_too(runs: Path) -> None:
    line = answer("compare", "a", "b", "--workspace", runs, "--resamples", 200, "--mean", "micro")["lines"][0]
    values = read_queries(runs / "runs" / "a" / "evaluation" / "test" / "queries.parquet").directions["image_audio"]
    assert line["mean"]["value"] == pytest.approx(float(values.metrics["P@5"].mean()))


def test_the_same_seed_gives_the_same_numbers_and_a_run_has_its_interval_in_any_company(runs: Path) -> None:
    words = ("--workspace", runs, "--resamples", 500)
    together = answer("compare", "a", "b", *words)
    assert answer("compare", "a", "b", *words) == together
    alone = answer("compare", "b", *words)["lines"]
    for line, other in zip(alone, [line for line in together["lines"] if line["system"] == "b"], strict=True):
        assert line["mean"] == pytest.approx(other["mean"])
        assert line["p"] is None
    assert answer("compare", "a", "b", *words, "--seed", 1) != together


def test_the_order_of_the_queries_does_not_matter(runs: Path) -> None:
    words = ("--workspace", runs, "--resamples", 300)
    before = answer("compare", "a", "b", *words)
    change(runs, "b", lambda scores: scores.in_order(scores.ids[::-1]))
    assert answer("compare", "a", "b", *words) == before


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (
            lambda scores: without(scores, ("image_audio3", "image_audio7")),
            "only one of them has the queries image_audio3, image_audio7",
        ),
        (
            lambda scores: replace(scores, ids=("new", *scores.ids[1:])),
            "only one of them has the queries image_audio0, new",
        ),
        (
            lambda scores: replace(scores, n_candidates=scores.n_candidates - 1),
            "the number of candidates of 24 queries is not the same (image_audio0: 40 and 39)",
        ),
        (
            lambda scores: replace(scores, n_relevant=scores.n_relevant + (torch.arange(24) == 5)),
            "the number of relevant candidates of 1 queries is not the same (image_audio5: 5 and 6)",
        ),
        (
            lambda scores: replace(scores, classes=("angry", *scores.classes[1:])),
            "the class of 1 queries is not the same (image_audio0: happy and angry)",
        ),
    ],
)
def test_runs_over_different_items_are_refused(
    runs: Path, how: Callable[[QueryScores], QueryScores], words: str
) -> None:
    change(runs, "b", how)
    refused = run("compare", "a", "b", "--workspace", runs, code=2).stderr
    assert words in refused
    assert refused.count("\n") == 1


def test_runs_with_other_directions_or_metrics_are_refused(runs: Path) -> None:
    path = runs / "runs" / "b" / "evaluation" / "test" / "queries.parquet"
    before = read_queries(path)
    write_queries(path, replace(before, directions={"image_audio": before.directions["image_audio"]}))
    assert "only one of them has audio_image" in run("compare", "a", "b", "--workspace", runs, code=2).stderr
    renamed = {name: replace(one, metrics={"mAP": one.metrics["MRR"]}) for name, one in before.directions.items()}
    write_queries(path, replace(before, directions=renamed))
    assert "have no metric in common" in run("compare", "a", "b", "--workspace", runs, code=2).stderr
    refused = run("compare", "a", "c", "--metric", "P@7", "--workspace", runs, code=2).stderr
    assert "not every run has P@7; all of them have P@5, MRR" in refused


def test_a_run_that_was_not_evaluated_is_told_how(runs: Path) -> None:
    refused = run("compare", "a", "b", "--split", "val", "--workspace", runs, code=2).stderr
    assert "make it with: emoclim evaluate a --split val" in refused
    assert "is no run" in run("compare", "a", "z", "--workspace", runs, code=2).stderr
    assert "named twice" in run("compare", "a", "a", "--workspace", runs, code=2).stderr
    assert "too few" in run("compare", "a", "b", "--resamples", 10, "--workspace", runs, code=2).stderr


def test_evaluations_are_found_by_path_too(runs: Path) -> None:
    folder = runs / "elsewhere"
    write_queries(folder / "queries.parquet", table("b", 2, 0.15))
    by_path = answer("compare", "a", folder, "--workspace", runs, "--resamples", 200)
    by_name = answer("compare", "a", "b", "--workspace", runs, "--resamples", 200)
    values = [[line["p"] for line in result["lines"]] for result in (by_path, by_name)]
    assert values[0] == values[1]
    assert list(by_path["systems"]) == ["a", str(folder)]
    with pytest.raises(RunError, match="in no run whose settings tell its seed"):
        compare_runs(["a", str(folder)], CompareConfig(over_seeds=True), workspace=Workspace(runs))


def test_seeds_of_one_recipe_are_taken_together(runs: Path) -> None:
    settings = runs / "runs" / "b" / "settings.json"
    settings.write_text(settings.read_text().replace('"temperature": 0.07', '"temperature": 0.2'))
    words = ("--workspace", runs, "--resamples", 300)
    apart = answer("compare", "a", "b", "c", *words)
    assert apart["notes"] == ["a, c have the same settings but for the seed"]
    result = answer("compare", "a", "b", "c", *words, "--over-seeds")
    assert result["systems"] == {"a (2 seeds)": ["a", "c"], "b": ["b"]}
    assert result["notes"] == ["a, c are taken as one, by the mean over their seeds"]
    by_system = {(line["direction"], line["metric"], line["system"]): line for line in apart["lines"]}
    for line in result["lines"]:
        if line["system"] == "b":
            assert line["deviation"] is None
            assert line["difference"] is not None
            continue
        means = [by_system[line["direction"], line["metric"], name]["mean"]["value"] for name in ("a", "c")]
        assert line["by_run"] == pytest.approx(means)
        assert line["mean"]["value"] == pytest.approx(sum(means) / 2)
        assert line["deviation"] == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    shown = run("compare", "a", "b", "c", *words, "--over-seeds").stdout
    assert "over seeds" in shown
    assert "(2)" in shown


@pytest.mark.parametrize(
    "settings",
    [
        {"augmentations": {"gain": 6.0}},
        {"store": True},
        {"processes": 2},
        {"trained": ["last"]},
        {"objective": "other"},
        {"min_seconds": 2.0},
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_no_seeds(runs: Path, settings: dict[str, object]) -> None:
    usual = {
        "plan": "0a",
        "min_seconds": 0.0,
        "augmentations": None,
        "store": False,
        "processes": 1,
        "trained": ["first", "last"],
        "interrupted": False,
    }
    for name, own in {"a": {}, "b": settings, "c": {"interrupted": True, "chosen": 1, "plan": "0b"}}.items():
        file = runs / "runs" / name / "settings.json"
        write_json(file, json.loads(file.read_text()) | usual | own)
    found = compare_runs(["a", "b", "c"], CompareConfig(over_seeds=True, resamples=100), workspace=Workspace(runs))
    assert found.to_dict()["systems"] == {"a (2 seeds)": ["a", "c"], "b": ["b"]}


def test_the_same_seed_twice_is_no_second_seed(runs: Path) -> None:
    settings = [runs / "runs" / name / "settings.json" for name in ("a", "c")]
    settings[1].write_text(settings[0].read_text())
    with pytest.raises(ConfigError, match="a, c .*seed"):
        compare_runs(["a", "c"], CompareConfig(over_seeds=True), workspace=Workspace(runs))


def test_other_ways_of_evaluating_are_no_seeds(runs: Path) -> None:
    path = runs / "runs" / "c" / "evaluation" / "test" / "queries.parquet"
    before = read_queries(path)
    write_queries(path, replace(before, settings=before.settings | {"average": "features"}))
    systems = compare_runs(["a", "c"], CompareConfig(over_seeds=True, resamples=200), workspace=Workspace(runs)).systems
    assert systems == {"a": ("a",), "c": ("c",)}


def test_the_result_is_written_once(runs: Path) -> None:
    words = ("compare", "a", "b", "--workspace", runs, "--resamples", 200, "--output", runs / "found.json")
    result = answer(*words)
    assert json.loads((runs / "found.json").read_text()) == result
    assert "exists already" in run(*words, code=2).stderr


def test_the_table_tells_what_it_shows(runs: Path) -> None:
    shown = run("compare", "a", "b", "--workspace", runs, "--resamples", 200, "--metric", "P@5").stdout
    for text in ("Split test", "differences to a", "95 % interval", "p, Holm (2)", " to ", "0.0050", "+1"):
        assert text in shown, text
    alone = run("compare", "a", "--workspace", runs, "--resamples", 200, "--metric", "P@5").stdout
    assert "Split test" in alone
    assert "differences" not in alone


def test_intervals_of_a_report_are_those_of_a_comparison() -> None:
    one = scores(30, "x", 1)
    found = intervals("image_audio", one, n_resamples=300)
    for mean, by_metric in (("macro", found.macro), ("micro", found.micro)):
        lines = compare([System("a", ("a",), {"image_audio": (one,)})], ["MRR"], mean=mean, n_resamples=300).lines
        assert asdict(lines[0].mean) == pytest.approx(asdict(by_metric["MRR"]))
    assert list(found.classes) == sorted(LABELS)
    sad = [value for value, label in zip(one.metrics["P@5"].tolist(), one.classes, strict=True) if label == "sad"]
    assert found.classes["sad"]["P@5"].value == pytest.approx(sum(sad) / len(sad))
    assert found.classes["sad"]["P@5"].low < sum(sad) / len(sad)


def test_a_class_with_one_query_leaves_the_rest_an_interval() -> None:
    one = replace(scores(4, "x", 1), classes=("happy", "sad", "happy", "happy"))
    lone = replace(scores(2, "x", 1), classes=("happy", "sad"))
    found = compare([System("a", ("a",), {"image_audio": (one,)})], ["MRR"], n_resamples=200)
    assert found.lines[0].mean.low is not None
    found = compare([System("a", ("a",), {"image_audio": (lone,)})], ["MRR"], n_resamples=200)
    assert found.lines[0].mean.low is None
    assert found.table_rows()[1][4] == ""
    json.dumps(found.to_dict(), allow_nan=False)
