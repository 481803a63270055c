"""The recipe of Won et al.: what its paper prints, to the letter, and rows that train what it says."""

import json
import re
from pathlib import Path

import pytest

from emoclim.data.labels.published_maps import read_tables
from emoclim.learning.objectives.loading import load_objective
from emoclim.pipeline.reproduction.request import make_requests, papers_settings
from emoclim.recipes import choose_tables
from emoclim.recipes.won2021 import RECIPE, TABLE_2, TABLE_3, TEXTS


def test_every_number_stands_in_the_papers_table(shared: Path) -> None:
    text = (shared / "papers" / "won-2021-emotion-embedding-spaces.txt").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:1] == "|"]
    systems = [row for row in rows if len(row) == 13 and re.fullmatch(r"0\.\d{4}", row[-1])]
    assert [[line.title, *line.numbers] for line in TABLE_3.lines[:-1]] == systems
    assert [metric.group for metric in TABLE_3.metrics[::2]] == [
        f"{texts} {column}" for texts in ("Alm's", "ISEAR") for column in ("VA", "W2V", "manual")
    ]
    maps = json.loads((shared / "labels" / "won2021_table2.json").read_text(encoding="utf-8"))["map"]
    printed = {line.title: [cell.split(", ") for cell in line.numbers] for line in TABLE_2.lines}
    assert printed == {
        label: [sorted(row[column]) for column in ("VA", "W2V", "manual")] for label, row in maps.items()
    }


def test_the_printed_maps_are_those_by_which_rows_are_measured() -> None:
    printed = {line.title: line.numbers for line in TABLE_2.lines}
    for row in TABLE_3.rows.values():
        for name, place in zip(row.measured_by, range(3), strict=True):
            tables = read_tables(Path(name))
            given = {label: [one] if isinstance(one, str) else one for label, one in tables["text"].items()}
            assert {label: ", ".join(one) for label, one in given.items()} == {
                label: printed[label][place] for label in given
            }


@pytest.mark.parametrize("preset", RECIPE.presets)
def test_rows_have_settings_that_their_objectives_know(preset: str) -> None:
    for row in TABLE_3.rows.values():
        config, own = papers_settings(RECIPE.preset(preset), row.objective, row.own)
        assert (config.learning_rate, config.batch_size) == (1e-4, 32)
        assert own.model_dump().items() >= row.own.items()
        takes = load_objective(row.objective)(("audio", "text"), [own])
        given = {"vad": "valence_arousal", "word_vectors": "words", None: None}[row.vectors]
        assert ("label_vectors" in takes.needs or "targets" in takes.needs) == (given is not None)
        assert given is None or given in takes.vectors_of
    code = {name: papers_settings(RECIPE.preset(preset), name, {})[1] for name in ("w2v_regression", "triplet")}
    told = code["w2v_regression"].model_dump()["output"], code["triplet"].model_dump()["mask"]
    assert told == (("paper-code", "own") if preset == "paper-code" else ("linear", "map"))


def test_what_a_user_changes_goes_before_what_a_row_has() -> None:
    none = {"names": {}, "checkpoints": {}, "settings": {}}
    (asked,) = make_requests(["won2021", "table3"], preset="paper", rows=(), changes={"epochs": 7}, **none)
    row = TABLE_3.rows["3-branch-isear"]
    assert asked.training(row)[0].epochs == 7
    assert asked.expected(row)[0].epochs == 100
    assert asked.training(row)[1].model_dump()["branches"] == 3
    assert asked.training(TABLE_3.rows["va-alm"])[1].model_dump() == {"output": "sigmoid"}


def test_rows_are_chosen_by_their_texts() -> None:
    recipe, tables = choose_tables(["won2021"])
    assert tables == ("table2", "table3", "figure3")  # of table 1, nothing printed is repeated
    rows = TABLE_3.rows.values()
    for texts in TEXTS:
        assert len([row for row in rows if texts in row.names]) == 6
    assert {row.name for row in rows if row.objective == "triplet"} == {
        f"{branches}-branch-{texts}" for branches in (2, 3) for texts in TEXTS
    }
    assert {name for row in rows for name in recipe.data if row.takes(name, recipe.data[name])} == {
        *TEXTS.values(),
        "audio",
    }
