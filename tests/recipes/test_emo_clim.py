"""The recipe of Emo-CLIM: what its papers print, to the letter, and names that mean something here."""

import re
from collections import Counter
from pathlib import Path

import pytest

from emoclim.data.datasets.loading import find_dataset
from emoclim.data.labels.taxonomy import match_labels
from emoclim.encoders.loading import find_encoder
from emoclim.errors import ConfigError
from emoclim.pipeline.evaluation.result import class_titles
from emoclim.recipes import Table, choose_tables, find_preset, find_recipe, recipe_names
from emoclim.recipes.emo_clim import RECIPE, TABLE_1

STEPS = {"train-heads", "train-end-to-end"}


def lines_of(table: Table) -> dict[str, list[str]]:
    return {line.title: list(line.numbers) for line in table.lines}


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_what_there_is(name: str) -> None:
    recipe = find_recipe(name)
    for table in recipe.tables.values():
        assert all(len(line.numbers) == len(table.metrics) for line in table.lines)
        assert all(len(line.cells) == len(table.columns) - 1 for line in table.lines)
        assert set(table.data) <= recipe.data.keys()
        assert table.source
        assert {row.step for row in table.rows.values()} <= STEPS
    for encoder, modality in recipe.encoders.items():
        assert modality == find_encoder(encoder).MODALITY
    for data in recipe.data.values():
        description = find_dataset(data.dataset).DESCRIPTION
        assert description.modality == data.modality
        assert data.split in description.split_sizes or data.counted_by in description.published
    for preset in recipe.presets.values():
        assert preset.training.epochs
        assert preset.encoders.keys() <= recipe.encoders.keys()


def test_numbers_are_those_that_the_papers_print() -> None:
    assert lines_of(TABLE_1)["CLAP (frozen)"][1] == "68.15"
    assert lines_of(TABLE_1)["Harmonic CNN (unfrozen)"][3:6] == ["68.76", "67.58", "74.00"]
    assert lines_of(RECIPE.tables["table4"])["Emo-CLIM (CLAP)"] == ["89.94", "37.12"]
    assert lines_of(RECIPE.tables["table5"])["fear ↔ scary"] == ["71.34", "84.26", "60.21", "85.0", "97", "140"]


def test_every_number_stands_in_the_text_of_its_paper(shared: Path) -> None:
    extended, short = (
        (shared / "papers" / f"emo-clim-{version}.txt").read_text(encoding="utf-8")
        for version in ("extended", "icassp")
    )
    for target in ("table3", "table4", "table5"):
        for line in RECIPE.tables[target].lines:
            for number in line.numbers:
                assert number.replace(" ", "") in extended, (target, line.title, number)
    for line in TABLE_1.lines:  # of which the text of the extended version has no table
        printed = next(
            text
            for text in short.splitlines()
            if text.startswith(f"{line.title} |".replace("(f", "(F").replace("(u", "(U"))
        )
        pairs = [number for metric, number in zip(TABLE_1.metrics, line.numbers, strict=True) if metric.name != "P@1"]
        assert [float(number) for number in re.findall(r"([\d.]+)%", printed)] == [float(number) for number in pairs]


def test_counts_and_map_are_those_of_the_data_sets() -> None:
    counts = {
        name: find_dataset(data.dataset).DESCRIPTION.published[data.counted_by]
        for name, data in RECIPE.data.items()
        if data.counted_by
    }
    printed = {tuple(title.split(" ↔ ")): numbers for title, numbers in lines_of(RECIPE.tables["table2"]).items()}
    for place, modality in enumerate(RECIPE.modalities):
        own = {
            names[place]: int(numbers[place].replace(",", ""))
            for names, numbers in printed.items()
            if names[place] != "–"
        }
        assert own == Counter(counts[modality])
    pairs = {title for title in lines_of(RECIPE.tables["table2"]) if "–" not in title}
    assert pairs == set(lines_of(RECIPE.tables["table5"])) == set(class_titles(match_labels(counts)).values())
    sizes = zip(*(numbers[-2:] for numbers in lines_of(RECIPE.tables["table5"]).values()), strict=True)
    assert lines_of(RECIPE.tables["figure2"])["(c) frozen CLAP"] == [f"{sum(map(int, size)):,}" for size in sizes]


def test_a_table_is_that_of_the_default_paper_unless_one_is_named() -> None:
    assert choose_tables(["table1"]) == choose_tables(["emo_clim", "table1"]) == (RECIPE, ("table1",))
    assert choose_tables(["emo_clim"])[1] == tuple(RECIPE.tables)
    for words in (["table6"], ["emo_clim", "table1", "table2"], ["nobody", "table1"]):
        with pytest.raises(ConfigError, match="table1, table2, table3, table4, table5, figure2"):
            choose_tables(words)


def test_the_published_code_is_set_otherwise_than_the_papers_say() -> None:
    default, paper, code = (find_preset(name) for name in ("default", "paper", "paper-code"))
    assert default.training == paper.training == code.training.updated(epochs=15, batch_size=64)
    assert (code.training.epochs, code.training.batch_size) == (30, 128)
    assert code.encoder("clap") == {"model": "music_speech", "source_rate": 16_000}
    assert paper.encoder("clap") == {"source_rate": 16_000}
    assert code.encoder("musicnn") == default.encoder("clap") == {}


def test_presets_are_listed_and_an_unknown_one_is_told() -> None:
    with pytest.raises(
        ConfigError, match=r"no preset 'papr' \(did you mean 'paper'\?\); there are default, paper, paper-code"
    ):
        find_preset("papr")
