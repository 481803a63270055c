"""The recipe of Emo-CLIM: what its papers print, to the letter, and names that mean something here."""

import re
from collections import Counter
from pathlib import Path

import pytest

from emoclim.data.datasets.loading import find_dataset
from emoclim.data.labels.taxonomy import match_labels
from emoclim.encoders.loading import find_encoder
from emoclim.errors import ConfigError
from emoclim.learning.settings import Augmentations
from emoclim.pipeline.evaluation.result import class_titles
from emoclim.recipes import Table, choose_tables, find_preset, find_recipe, recipe_names
from emoclim.recipes.emo_clim import CLIPS, RECIPE, TABLE_1

STEPS = {"train-heads", "train-end-to-end", "cross-validate", "pretrain"}


def lines_of(table: Table) -> dict[str, list[str]]:
    return {line.title: list(line.numbers) for line in table.lines}


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_what_there_is(name: str) -> None:
    recipe = find_recipe(name)
    for table in recipe.tables.values():
        assert all(len(line.numbers) in (0, len(table.metrics)) for line in table.lines)
        assert all(len(line.cells) == len(table.columns) - 1 for line in table.lines)
        assert set(table.data) <= recipe.data.keys()
        assert table.source
        assert {row.step for row in table.rows.values()} <= STEPS
    assert recipe.imported.keys() <= recipe.encoders.keys()
    for encoder, modality in recipe.encoders.items():
        assert encoder in recipe.imported or modality == find_encoder(encoder).MODALITY
    for data in recipe.data.values():
        description = find_dataset(data.dataset).DESCRIPTION
        assert description.modality in (None, data.modality) or data.option.partition("=")[0] in description.options
        known = data.split in description.split_sizes or data.counted_by in description.published or data.n_items
        assert known or description.modality is None
    rows = [row for table in recipe.tables.values() for row in table.rows.values()]
    for preset in recipe.presets.values():
        assert preset.training.epochs
        assert all(row in rows for of in preset.gaps.values() for row in of)
        assert Augmentations(**preset.augmentations) is not None
        assert preset.encoders.keys() <= recipe.encoders.keys()


def test_numbers_are_those_that_the_papers_print() -> None:
    assert lines_of(TABLE_1)["CLAP (frozen)"][1] == "68.15"
    assert lines_of(TABLE_1)["Harmonic CNN (unfrozen)"][3:6] == ["68.76", "67.58", "74.0"]
    assert lines_of(RECIPE.tables["table4"])["Emo-CLIM (CLAP)"] == ["89.94", "37.12"]
    assert lines_of(RECIPE.tables["table5"])["fear ↔ scary"] == ["71.34", "84.26", "60.21", "85.0", "97", "140"]


def test_every_number_stands_in_the_text_of_its_paper(shared: Path) -> None:
    extended, short = (
        (shared / "papers" / f"emo-clim-{version}.txt").read_text(encoding="utf-8")
        for version in ("extended", "icassp")
    )
    for target in ("table3", "table4", "table5"):
        for line in RECIPE.tables[target].lines:
            for metric, number in zip(RECIPE.tables[target].metrics, line.numbers, strict=True):
                chance = metric.name.endswith("by chance")
                assert (number == "–") if chance else (number.replace(" ", "") in extended), (target, line.title)
    for line in TABLE_1.lines:
        title = line.title.replace("(f", "(F").replace("(u", "(U")
        whole, pairs = (
            next(
                re.findall(r"([\d.]+)%", row) for row in text.splitlines() if re.match(rf"{re.escape(title)}[\t ]", row)
            )
            for text in (extended, short)
        )
        assert whole == line.numbers
        assert pairs == [
            number for metric, number in zip(TABLE_1.metrics, line.numbers, strict=True) if metric.name != "P@1"
        ]


def test_printed_shares_tell_how_many_clips_there_were() -> None:
    """Table 5's P@5 are whole numbers of finds among five for each query: of fewer clips than it prints."""
    told = {"exciting": 433, "funny": 85, "happy": 113, "angry": 95, "sad": 138, "scary": 136}
    for line in RECIPE.tables["table5"].lines:
        _, image, _, audio, _, printed = line.numbers
        n_clips, finds = told[line.title.split(" ↔ ")[1]], (float(image), float(audio))
        for n_queries in {n_clips, int(printed)}:
            whole = [f"{100 * round(find * n_queries / 20) / (5 * n_queries):.2f}" for find in finds]
            fits = whole == [f"{find:.2f}" for find in finds]
            assert fits == (n_queries == n_clips), line.title
    assert "1,000 with CLAP" in CLIPS
    assert sum(told.values()) == 1_000
    assert all(str(told[name]) in " ".join(RECIPE.tables["table5"].remarks) for name in ("exciting", "funny", "scary"))


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
    assert choose_tables(["emo_clim"])[1] == tuple(name for name in RECIPE.tables if name != "ablations")
    for words in (["table6"], ["emo_clim", "table1", "table2"], ["nobody", "table1"]):
        with pytest.raises(ConfigError, match="table1, table2, table3, table4, table5, figure2"):
            choose_tables(words)


def test_the_published_code_is_set_otherwise_than_the_papers_say() -> None:
    default, paper, code = (find_preset(name) for name in ("default", "paper", "paper-code"))
    assert default.training == paper.training == code.training.updated(epochs=15, views_per_item=1)
    assert (code.training.epochs, code.training.batch_size, code.training.rows) == (30, 64, 128)
    assert code.encoder("clap") == paper.encoder("clap") == {"model": "music_speech", "source_rate": 16_000}
    assert code.encoder("musicnn") == default.encoder("clap") == {}


def test_presets_are_listed_and_an_unknown_one_is_told() -> None:
    with pytest.raises(
        ConfigError, match=r"no preset 'papr' \(did you mean 'paper'\?\); there are default, paper, paper-code"
    ):
        find_preset("papr")


def test_ablations_change_one_thing_each_and_are_no_table_of_the_paper() -> None:
    table = RECIPE.tables["ablations"]
    rows = table.rows
    first = next(iter(rows))
    assert first == "harmonic_cnn-frozen"
    for row in list(rows.values())[1:]:
        base = rows[row.base or first]
        changed = [name for name in ("training", "tuning", "settings") if getattr(row, name) != getattr(base, name)]
        assert len(changed) == 1
    assert not table.printed
    assert "ablations" not in choose_tables(["emo_clim"])[1]
    assert choose_tables(["ablations"])[1] == ("ablations",)
