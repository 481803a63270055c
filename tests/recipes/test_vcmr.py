"""The recipe of VCMR: what its paper prints, to the letter, what its history has, and settings of both presets."""

from pathlib import Path

import pytest

from emoclim.data.datasets.loading import find_dataset
from emoclim.data.labels.tag_groups import MTAT_GROUPS
from emoclim.pipeline.reproduction.request import Request, make_requests
from emoclim.recipes import choose_tables
from emoclim.recipes.vcmr import FEWER, FIGURE_2, FIGURE_3, FIGURE_4, HISTORY, RECIPE, SHARES, TABLE_1

NONE = {"names": {}, "checkpoints": {}, "settings": {}}


def asked(table: str, preset: str = "paper", **changes: object) -> Request:
    (found,) = make_requests(["vcmr", table], preset=preset, rows=(), changes=changes, **NONE)
    return found


def test_every_number_of_table_1_stands_in_the_paper(shared: Path) -> None:
    text = (shared / "papers" / "vcmr-2023.txt").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("\t")] for line in text.splitlines() if line.count("\t") == 3]
    printed = [(data_set, roc.rstrip("% "), pr.rstrip("% ")) for _, data_set, roc, pr in rows[1:]]
    own = [(line.title.rpartition(", ")[2], *line.numbers) for line in TABLE_1.lines if HISTORY not in line.title]
    assert own == printed


def test_numbers_of_the_history_are_marked_as_such() -> None:
    found = {line.title.removesuffix(HISTORY): line.numbers for line in TABLE_1.lines if HISTORY in line.title}
    assert found["Audio-only, MTAT"] == ("80.92", "23.64")
    assert found["Audio-only, MTG-M"] == ("60.96", "6.02")
    assert all(line.row is None for table in (TABLE_1, FIGURE_2) for line in table.lines if HISTORY in line.title)
    assert all(HISTORY in line.title for line in FIGURE_2.lines if line.numbers)
    assert {metric.name for metric in FIGURE_2.metrics} == MTAT_GROUPS.keys()


def test_what_has_no_numbers_is_made_only_if_it_is_named() -> None:
    assert choose_tables(["vcmr"])[1] == ("table1", "figure2")
    assert choose_tables(["vcmr", "figure4"])[1] == ("figure4",)
    assert [len(table.rows) for table in (TABLE_1, FIGURE_2, FIGURE_3, FIGURE_4)] == [4, 2, 4, 4 * (len(FEWER) + 1)]
    assert all(row.options["fractions"] == SHARES for row in FIGURE_3.rows.values())
    assert not any(asked("figure4").changes_nothing(row) for row in FIGURE_4.rows.values())
    lengths = {row.settings["sample_cnn"]["length"] for row in FIGURE_4.rows.values() if row.settings}
    assert lengths == set(FEWER)


def test_a_conditioned_row_starts_with_the_encoder_of_sound_alone() -> None:
    for table in RECIPE.tables.values():
        for row in table.rows.values():
            if row.stage:
                start = table.rows[row.start]
                assert (start.settings, start.tags, start.stage) == (row.settings, row.tags, "")
                assert row.name.replace("vcmr", "audio-only") == start.name
                assert set(row.encoders) - set(start.encoders) == {"video"}


@pytest.mark.parametrize(
    ("preset", "first", "second"),
    [
        ("paper", ("adam", 64, 1e-3, 1, None), ("adam", 128, 1e-3, 1, "trained")),
        ("paper-code", ("adamw", 64, 3e-4, 2, None), ("adamw", 128, 5e-4, 2, "train")),
    ],
)
def test_stages_have_settings_of_their_own(preset: str, first: tuple[object, ...], second: tuple[object, ...]) -> None:
    request = asked("table1", preset)
    for name, expected in (("audio-only-mtat", first), ("vcmr-mtg", second)):
        row = TABLE_1.rows[name]
        (config, own), (tuning, effects) = request.training(row), request.joint(row)
        assert (config.optimiser, config.batch_size, tuning.learning_rate, tuning.accumulate) == expected[:4]
        assert own.model_dump() == {"temperature": 0.1, "negatives": "all", "head": "projector"}
        assert (tuning.unfreeze == "after:4") == bool(row.stage)
        assert bool(effects) == (not row.stage)
        assert expected[4] in (None, tuning.batchnorm)
    assert asked("table1", preset, epochs=3).training(TABLE_1.rows["vcmr-mtat"])[0].epochs == 3


def test_data_are_those_of_the_paper() -> None:
    for name, data in RECIPE.data.items():
        description = find_dataset(data.dataset).DESCRIPTION
        assert not data.split or data.split in description.split_sizes
        assert data.tagged == (name in ("tagging", "moodtheme"))
    assert {row.tags for row in TABLE_1.rows.values()} == {"tagging", "moodtheme"}
