"""Tables of text: what is read and written, as CSV and as Parquet."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emoclim.data.tables import read_table, table_bytes
from emoclim.errors import ManifestError

COLUMNS = ("id", "label", "votes", "valence", "code", "start")
ROWS = [
    ("1", "a, b", "3", "0.25", "007", "1.5"),
    ("2", 'say "no"\nor so', "", "-1.5", "8", ""),
    ("ü", "", "5", "", "", "2.0"),
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(table_bytes(COLUMNS, ROWS, suffix, text=("id",)))
    table = read_table(path)
    assert table.columns == COLUMNS
    assert [tuple(row) for _, row in table.rows] == ROWS
    assert [number for number, _ in table.rows][:2] == [2, 3]


def test_parquet_holds_numbers_where_every_cell_is_written_like_one(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(table_bytes(COLUMNS, ROWS[:2], ".parquet", text=("id",)))
    assert pq.read_table(path).to_pylist() == [
        {"id": "1", "label": "a, b", "votes": 3, "valence": 0.25, "code": "007", "start": 1.5},
        {"id": "2", "label": 'say "no"\nor so', "votes": None, "valence": -1.5, "code": "8", "start": None},
    ]


def test_a_csv_has_commas_and_line_feeds_everywhere() -> None:
    assert table_bytes(("a", "b"), [("1", "x\ty"), ("", "é")], ".csv") == "a,b\n1,x\ty\n,é\n".encode()


def test_lists_and_gaps_of_parquet_become_text(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    columns = {"Tags ": [["calm", "slow"], [], None], "score": [1.0, float("nan"), None], "n": [7, 8, None]}
    pq.write_table(pa.table(columns), path)
    table = read_table(path)
    assert table.columns == ("Tags", "score", "n")
    assert [row for _, row in table.rows] == [["calm|slow", "1.0", "7"], ["", "", "8"], ["", "", ""]]
    assert (table.where("tags"), table.where("N"), table.where("none")) == (0, 2, None)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.parquet", b"path\na.jpg\n", "cannot be read as Parquet"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read as a CSV in UTF-8"),
        ("folder.csv", None, r"cannot be read \(Is a directory\)"),
        ("absent.csv", None, r"cannot be read \(No such file or directory\)"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=told):
        read_table(tmp_path / name)
