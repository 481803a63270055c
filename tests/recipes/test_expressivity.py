"""The recipe of Chowdhury and Widmer: what its paper prints, to the letter, and what a random order finds."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from emoclim.data.datasets.con_espressione import PIECES
from emoclim.pipeline.reproduction.request import papers_settings
from emoclim.recipes.expressivity import AUGMENTED_ROWS, ENCODERS, RECIPE, TABLE_1, TABLE_2


def test_every_number_stands_in_the_papers_tables(shared: Path) -> None:
    text = (shared / "papers" / "expressivity-2023.txt").read_text(encoding="utf-8")
    found = re.findall(r"^(MTR|EWE)\t(MTR|Mid-level)\t([\d.]+)\t([\d.]+)\t([\d.]+)$", text, re.M)
    printed = [(f"{words} x {music.replace('M', 'm', music != 'MTR')}", *of) for words, music, *of in found]
    assert [(title, *numbers.split()) for title, (numbers, _) in ENCODERS.items()] == printed
    assert "(Random Baseline)\t\t" + "\t".join(TABLE_1.lines[0].numbers[:3]) in text
    marks = re.findall(r"^([X✓])\t([X✓])\t([X✓])\t([\d.]+)\t([\d.]+)$", text, re.M)
    shown = {
        (*("✓" if name in title else "X" for name in ("Pitchfork", "MusicCaps", "PCA")), *numbers.split())
        for title, (numbers, _) in AUGMENTED_ROWS.items()
    }
    assert shown == set(marks)
    assert {line.numbers[2] for line in TABLE_2.lines} == {"lost"}


def test_tables_meet_in_the_row_that_both_have() -> None:
    shared_row = ENCODERS["EWE x mid-level"][1]
    assert AUGMENTED_ROWS["Pitchfork and MusicCaps"][1] == shared_row
    assert ENCODERS["EWE x mid-level"][0].startswith(AUGMENTED_ROWS["Pitchfork and MusicCaps"][0])


def test_what_a_random_order_finds_of_these_pieces() -> None:
    """That it is what an evaluation says, is tested with one."""
    sizes = list(PIECES.values())
    assert sum(sizes) == 45
    ranks = [sum(Fraction(1, rank) for rank in range(1, size + 1)) for size in sizes]
    assert (Fraction(len(sizes), 45), Fraction(2 * len(sizes), 45)) == (Fraction(1, 5), Fraction(2, 5))
    assert float(sum(ranks) / 45) == pytest.approx(0.4539, abs=5e-5)
    assert any(".2000, .4000 and .4539" in remark for remark in TABLE_1.remarks)


def test_rows_keep_components_where_the_paper_does() -> None:
    preset = RECIPE.preset("paper")
    kept = {row.name: papers_settings(preset, row.objective, row.own)[1].components for row in TABLE_2.rows.values()}
    assert {name.endswith("pca"): count for name, count in kept.items()} == {False: 0, True: 8}
    assert preset.encoder("word_vectors")["combine"] == "sum"
