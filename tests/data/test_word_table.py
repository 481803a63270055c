"""Vectors of words from a table: by word, and what cannot be used is told."""

from pathlib import Path

import pytest

from emoclim.data.labels.word_table import read_word_table
from emoclim.errors import ManifestError

ROWS = ["word,v0,v1,v2", "Joy,1,0,0.5", "guilt,0,-1,2.5e-1", "other,nan,x,", "grief,0,0,0"]


def written(folder: Path, *rows: str) -> Path:
    (folder / "words.csv").write_text("\n".join(rows) + "\n")
    return folder / "words.csv"


def test_vectors_come_in_the_order_of_the_words_whatever_their_case(tmp_path: Path) -> None:
    path = written(tmp_path, *ROWS, "joy,1,0,0.5")
    assert read_word_table(path, ["guilt", "JOY"]) == [[0.0, -1.0, 0.25], [1.0, 0.0, 0.5]]


@pytest.mark.parametrize(
    ("word", "row", "told"),
    [
        ("shame", "", "no vector of 'shame'"),
        ("other", "", "'nan' in column 'v0'"),
        ("grief", "", "the vector of 'grief' .* all zero"),
        ("awe", "awe,1e30,0,1", "'1e30' in column 'v0'"),
        ("awe", "awe,1e-30,0,0", "the vector of 'awe' .* short"),
        ("joy", "joy,1,0,0", "row 6 .* gives 'joy' another vector"),
    ],
)
def test_words_without_a_vector_are_told(tmp_path: Path, word: str, row: str, told: str) -> None:
    with pytest.raises(ManifestError, match=told):
        read_word_table(written(tmp_path, *ROWS, row), ["guilt", word])
