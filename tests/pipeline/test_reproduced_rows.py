"""Rows of `emoclim reproduce`: means over seeds, tests between rows, label maps, groups, and what is missing."""

import csv
import json
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from commands import answer, run
from reproduced import COUNTS, only_row, options, reproduce, rewrite
from reproduced import made as made
from reproduced import workspace as workspace
from results_page import check, flat

from emoclim.learning.settings import TagConfig
from emoclim.metrics.retrieval import macro_mean
from emoclim.pipeline.evaluation.files import read_queries
from emoclim.pipeline.reproduction.rows import over_seeds
from emoclim.pipeline.tagging.config import TaggingConfig
from emoclim.reports import Estimate

ONE_CLASS = '[image]\n{}\nawe = ""\n[audio]\n{}\ntender = ""\n'
TITLES = {"image_audio": "Image → Music", "audio_image": "Music → Image", "audio_audio": "Music → Music"}
GLAD = {"excitement", "amusement", "contentment", "exciting", "funny", "happy"}


def write_map(path: Path, several: bool = False) -> Path:
    """Two classes, glad and grim; of what is relevant, sadness may be either."""
    parts = []
    for modality in ("image", "audio"):
        labels = [label for label in COUNTS[modality] if label not in ("awe", "tender")]
        lines = [f'{label} = "{"glad" if label in GLAD else "grim"}"' for label in labels]
        if several:
            lines = [line if not line.startswith("sadness") else 'sadness = ["glad", "grim"]' for line in lines]
        parts.append("\n".join(lines))
    path.write_text(ONE_CLASS.format(*parts))
    return path


def report_of(root: Path, place: str) -> Any:
    return json.loads((root / place).read_text())


def test_rows_are_means_over_seeds_and_tested_against_each_other(workspace: Path) -> None:
    found = reproduce(workspace, "table1", "--rows", "clap,harmonic_cnn", "--seeds", 2, cnns=True)
    rows = {row["row"]: row for row in found["rows"]}
    assert [row["seeds"] for row in rows.values()] == [[42, 43]] * 3
    assert [len(row["runs"]) for row in rows.values()] == [1, 2, 1]  # heads of all seeds are one run
    lines = {line["title"]: line["own"] for line in found["table"]["lines"] if line["own"]}
    n_differing = 0
    for row, direction in product(rows.values(), TITLES):
        reports = [report_of(workspace, place) for place in row["reports"]]
        one, other = (report["directions"][direction]["metrics"]["MRR"] for report in reports)
        number = lines[row["title"]][f"{TITLES[direction]} MRR"]
        assert number["value"] == pytest.approx((one + other) / 2)
        if one == other:
            assert number["low"] is None
            continue
        n_differing += 1
        reach = 12.7062 * abs(one - other) / 2  # of Student's t with one degree of freedom
        assert number["low"] == pytest.approx(max(0, number["value"] - reach), abs=1e-5)
        assert number["high"] == pytest.approx(min(1, number["value"] + reach), abs=1e-5)
    assert n_differing
    assert {(test["row"], test["against"]) for test in found["tests"]} == {
        ("harmonic_cnn-unfrozen", "harmonic_cnn-frozen"),
        ("clap-frozen", "harmonic_cnn-frozen"),
    }
    assert len(found["tests"]) == 2 * 12
    assert all(0 < test["p"] <= test["p_holm"] <= 1 for test in found["tests"])
    means = {}
    for name in ("clap-frozen", "harmonic_cnn-frozen"):
        tables = [
            read_queries((workspace / place).with_name("queries.parquet")).directions["audio_audio"]
            for place in rows[name]["reports"]
        ]
        by_query = sum(table.metrics["P@5"] for table in tables) / 2
        means[name] = macro_mean(by_query, tables[0].class_numbers())
    (told,) = (one for one in found["tests"] if (one["row"], one["metric"]) == ("clap-frozen", "Music → Music P@5"))
    assert told["difference"]["value"] == pytest.approx(means["clap-frozen"] - means["harmonic_cnn-frozen"])
    assert any("means over 2 seeds" in note for note in found["notes"])
    assert Path(found["folder"]).name == "table1-clap-harmonic_cnn-2-seeds"
    table = (Path(found["folder"]) / "table.md").read_text()
    assert "| harmonic_cnn-unfrozen | " in " ".join(table.split())
    check("reports/<table>/report.json", set(flat(report_of(Path(found["folder"]), "report.json"))))


@pytest.mark.parametrize(("seeds", "quantile"), [(2, 12.7062), (3, 4.3027), (5, 2.7764)])
def test_a_mean_over_seeds_has_the_interval_of_students_t(seeds: int, quantile: float) -> None:
    drawn = [0.5 + 0.01 * ((seed * 7) % 11) / 11 for seed in range(seeds)]
    found = over_seeds([{"CLAP": {"P@5": Estimate(value)}} for value in drawn])["CLAP"]["P@5"]
    reach = quantile * stdev(drawn) / seeds**0.5
    expected = (fmean(drawn), fmean(drawn) - reach, fmean(drawn) + reach)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-5)


def test_seeds_reach_what_is_learnt_and_shown_in_numbers(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(TaggingConfig, base=TagConfig(epochs=1), resamples=10)
    monkeypatch.setattr("emoclim.pipeline.reproduction.reproduce.TaggingConfig", quick)
    seeds, values = {}, {}
    for table in ("table4", "table5", "figure2"):
        found = reproduce(workspace, table, "--rows", "clap", "--seeds", 2)
        seeds[table] = [row["seeds"] for row in found["rows"]]
        reports = [report_of(workspace, place) for row in found["rows"] for place in row["reports"]]
        values[table] = reports, {line["title"]: line["own"] for line in found["table"]["lines"] if line["own"]}
        assert found["tests"] == []
    assert seeds == {"table4": [[42], [42, 43]], "table5": [[42, 43]], "figure2": [[42]]}
    (features, *of_seeds), lines = values["table4"]
    assert lines["CLAP"]["ROC-AUC"]["value"] == features["macro"]["roc_auc"]["mean"]
    mean = sum(report["macro"]["roc_auc"]["mean"] for report in of_seeds) / 2
    assert lines["Emo-CLIM (CLAP)"]["ROC-AUC"]["value"] == pytest.approx(mean)
    reports, lines = values["table5"]
    scary = [report["directions"]["image_audio"]["per_class"]["scary"]["metrics"]["P@5"] for report in reports]
    assert lines["fear ↔ scary"]["Image → Music"]["value"] == pytest.approx(sum(scary) / 2)
    assert lines["fear ↔ scary"]["images"]["value"] == 1


def test_what_is_one_run_is_not_tested(made: Path) -> None:
    shown = run("reproduce", "table3", "--encoder", "harmonic_cnn=timbre", "--encoder", "clap=timbre", *options(made))
    assert "clap-frozen and harmonic_cnn-frozen are the same run" in " ".join(shown.output.split())


def test_a_label_map_of_one_class_is_trained_on(workspace: Path) -> None:
    before = only_row(workspace, "--explain")
    found = only_row(workspace, "--label-map", write_map(workspace / "moods.toml"))
    assert found["runs"] != before["runs"]
    assert report_of(workspace, found["reports"][0])["classes"] == ["glad", "grim"]
    assert {"kind": "settings", "told": "labels meet by the label map moods"} in found["departures"]
    counted = reproduce(workspace, "table2", "--label-map", workspace / "moods.toml")
    lines = {line["title"]: line["own"] for line in counted["table"]["lines"] if line["own"]}
    assert lines["anger/fear/sadness ↔ angry/sad/scary"]["images"]["value"] == 15
    other = write_map(workspace / "moods.toml").read_text().replace('fear = "grim"', 'fear = "glad"')
    (workspace / "moods.toml").write_text(other)
    changed = only_row(workspace, "--label-map", workspace / "moods.toml", "--explain")
    assert (changed["state"], changed["runs"] == found["runs"]) == ("to do", False)


def test_a_label_map_of_several_classes_says_what_is_relevant(workspace: Path) -> None:
    before = only_row(workspace, "--explain")
    found = only_row(workspace, "--label-map", write_map(workspace / "moods.toml", several=True))
    assert found["runs"] == before["runs"]
    report = report_of(workspace, found["reports"][0])
    assert report["label_map"]["name"] == "moods"
    sizes = {label: one["n_relevant"] for label, one in report["directions"]["image_audio"]["per_class"].items()}
    assert (sizes["fear"], sizes["amusement"], sizes["sadness"]) == (3, 3, 6)


def test_rows_may_be_ranked_within_groups(workspace: Path) -> None:
    for name in ("images.csv", "audio.csv"):
        with (workspace / "data" / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        places = {(row["label"], row["split"]): number % 2 for number, row in enumerate(rows)}
        listed = [(*row.values(), f"{row['split']}-{places[row['label'], row['split']]}") for row in rows]
        rewrite(workspace / "data" / name, "path label split group", listed)
    found = only_row(workspace, "--within", "group")
    report = report_of(workspace, found["reports"][0])
    assert report["within"] == "group"
    assert report["directions"]["image_audio"]["n_candidates"] == 3
    assert any(one["told"].startswith("each item ranks those of its own group") for one in found["departures"])


def test_explain_lists_what_is_missing(tmp_path: Path) -> None:
    plan = answer("reproduce", "table4", "--explain", "--workspace", tmp_path)
    assert {row["state"] for row in plan["rows"]} == {"not possible"}
    missing = [note for note in plan["notes"] if note.startswith("Missing: manifest")]
    assert len(missing) == 3
    assert "emoclim prepare magnatagatune FOLDER, or name yours with --tagging" in missing[2]
    assert "not there" in run("reproduce", "emo_clim", "--explain", "--workspace", tmp_path).stdout
    run("reproduce", "table4", "--workspace", tmp_path, code=2)


def test_all_tables_take_the_rows_of_some(made: Path) -> None:
    chosen = reproduce(made, "emo_clim", "--rows", "harmonic_cnn-unfrozen", "--explain", cnns=True)["tables"]
    assert {plan["target"]: len(plan["rows"]) for plan in chosen} == {
        "table1": 1,
        "table2": 0,
        "table4": 1,
        "figure2": 1,
    }
    words = ("--rows", "clap", "--epochs", 3, "--seeds", 2, "--store", "--batch-size", 2, "--seed", 1)
    assert reproduce(made, "table2", *words)["table"] == reproduce(made, "table2")["table"]
    told = run("reproduce", "table3", "--rows", "harmonic_cnn-unfrozen", *options(made), code=2).output
    assert "table3 has no row called harmonic_cnn-unfrozen" in told


def test_explain_may_be_added_to_every_option(made: Path) -> None:
    words: list[object] = ["--seeds", 2, "--download", "--store", "--max-failures", 0.5, "--batch-size", 2]
    words += ["--epochs", 1, "--seed", 3, "--preset", "paper-code", "--within", "group", "--rows", "clap"]
    words += ["--label-map", write_map(made / "any.toml"), "--tagging", made / "data" / "tagging.csv"]
    for table in ("table1", "table2", "table5"):
        rows = reproduce(made, table, *words, "--explain")["rows"]
        assert [row["state"] for row in rows] == ["to do"] * len(rows)
    shown = run("reproduce", "table1", *words, "--explain", "--markdown", "--encoder", "clap=timbre", *options(made))
    assert "| CLAP (frozen) " in shown.stdout


@pytest.mark.parametrize(
    ("words", "setting", "same"),
    [
        (("--preset", "paper-code"), "", "two-views"),
        (("--setting", "clip.views=8"), "", "image-crops"),
        ((), "dropout = 0.0\n", "no-dropout"),
    ],
)
def test_a_row_that_would_change_nothing_is_not_made(
    workspace: Path, words: tuple[str, ...], setting: str, same: str
) -> None:
    with (workspace / "quick.toml").open("a") as file:
        file.write(setting)
    rows = {row["row"]: row for row in reproduce(workspace, "ablations", *words, "--explain", cnns=True)["rows"]}
    assert [name for name, row in rows.items() if not row["runs"]] == [same]
    assert len({run for row in rows.values() for run in row["runs"]}) == len(rows) - 1
    assert "a difference" in str(rows[same])


def test_departures_are_measured_one_by_one(workspace: Path) -> None:
    plan = reproduce(workspace, "ablations", "--explain", cnns=True)
    rows = {row["row"]: row for row in plan["rows"]}
    assert len({run for row in rows.values() for run in row["runs"]}) == len(rows) == 6
    told = {name: str(row["departures"]) for name, row in rows.items()}
    assert "views_per_item=2 (1)" in told["two-views"]
    assert "dropout=0.0 (0.5)" in told["no-dropout"]
    assert "unfreeze=none (all), batchnorm=frozen (train)" in told["music-crops"]
    assert any("unit length of features" in note for note in plan["notes"])
    assert len(plan["caches"]) == 3  # of images two, with their centre and with crops
    chosen = "harmonic_cnn-frozen,no-dropout,music-crops,batch-statistics"
    found = reproduce(workspace, "ablations", "--rows", chosen, cnns=True)
    assert {test["row"]: test["against"] for test in found["tests"]} == {
        **dict.fromkeys(("no-dropout", "music-crops"), "harmonic_cnn-frozen"),
        "batch-statistics": "music-crops",
    }
    assert len(found["tests"]) == 3 * 6
    made = {row["row"]: row["runs"][0] for row in found["rows"]}
    settings = report_of(workspace, f"runs/{made['batch-statistics']}/settings.json")
    assert settings["heads"][0]["config"]["encoder"]["batchnorm"] == "train"
    first = json.loads((workspace / "answer.json").read_text())["rows"]
    assert [made["harmonic_cnn-frozen"]] in [row["runs"] for row in first]  # that of table 1
