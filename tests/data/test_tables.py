"""Tables of text: what is read and written, as CSV and as Parquet."""

import codecs
import gzip
import os
import random
import unicodedata
from decimal import Decimal
from pathlib import Path

import numpy as np
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


def test_integers_stay_integers_beside_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    gaps = {"label": [0.0, None, 12.0], "single": pa.array([3, float("nan"), -1], pa.float32())}
    plain = {"share": [0.5, None, 2.0], "huge": [1e300, None, 2.0], "bad": [1.0, float("inf"), None]}
    pq.write_table(pa.table(gaps | plain), path)
    columns = zip(*(row for _, row in read_table(path).rows), strict=True)
    assert dict(zip([*gaps, *plain], columns, strict=True)) == {
        "label": ("0", "", "12"),
        "single": ("3", "", "-1"),
        "share": ("0.5", "", "2.0"),
        "huge": ("1e+300", "", "2.0"),
        "bad": ("1.0", "inf", ""),
    }


@pytest.mark.parametrize(
    "rows",
    [
        'a.png,sad,x\nb.png,"sad,x\nc.png,sad,x\n',  # never closes
        'a.png,sad,x\n"b.png,sad,x\nc.png,sad,x\n"d.png,sad,x\n',  # the next one opens, and is no end
        'a.png,sad,x\nb.png,"sad" one,x\nc.png,sad,x\n',  # goes on behind its end
        'a.png,sad,x\n"b.png,sad,x\nc.png,sad,x\n12",sad,x\n',  # the next one ends a cell: rows lie between
        'a.png,sad,x\nb.png,sad,"oh\nc.png,sad,no"\n',  # in a column that is not used
        'a.png,sad,x\nb.png,sad,"5 inch\nc.png,sad,x\n\nd.png,sad,7"\n',  # a blank row among them
        'a.png,sad,x\nb.png,sad,"oh\nc.png,sad\nd.png,sad,"\n',  # a short one
        'a,sad,x\nb,sad,"oh\nc,sad\nd,sad,"\n',  # and names without an ending
        'a.png,sad,x\nb.png,sad,"oh\nc.png,sad,x,y\nd.png,sad,no"\n',  # a long one
        'a,sad,x\nb,"sad\nc,sad,x\nd,",x\n',  # itself short
        'a.png,sad,x\nb.png,sad,"oh\nc.png,sad"\n',  # the last one short
        'a.png,sad,x\nb.png,sad,"oh\nthere,sad"\n',  # and the file that it names is there
        'a.png,sad,x\nb.png,sad,"oh\nthere"\n',
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_quotation_mark_that_swallows_rows_is_told_by_its_row(tmp_path: Path, rows: str, delimiter: str) -> None:
    path = tmp_path / "table.csv"
    (tmp_path / "there").touch()
    path.write_text(("path,label,note\n" + rows).replace(",", delimiter))
    with pytest.raises(ManifestError, match="row 3[, ].* quotation mark|quotation mark in row 3"):
        read_table(path)


def test_rows_that_are_swallowed_are_known_by_their_files_in_any_column(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('score,file,note\n.5,a.png,x\n.5,b.png,"oh\n.7,c.png\n.5"\n')
    with pytest.raises(ManifestError, match="quotation mark in row 3"):
        read_table(path)


def test_lines_and_quotation_marks_inside_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('path,label,note\n12" mix.png,sad,"one, two\nthree, ""four"", five\n\nsix"\n"a\nb.png",sad,\n')
    table = read_table(path)
    assert [list(row) for _, row in table.rows] == [
        ['12" mix.png', "sad", 'one, two\nthree, "four", five\n\nsix'],
        ["a\nb.png", "sad", ""],
    ]
    assert table.notes == ()


@pytest.mark.parametrize(
    "note", ["Kim, May 2\n\nsee d.png,\nd.png\n, ...", "a\nb", "a,\r\nb", "\n", "\n\na,b\n", "a\nb,c,d\ne"]
)
def test_lines_of_a_note_are_no_rows(tmp_path: Path, note: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(table_bytes(("path", "label", "by", "note"), [("a.png", "sad", "Kim", note)] * 2, ".csv"))
    table = read_table(path)
    assert [row[3] for _, row in table.rows] == [note] * 2
    assert table.notes == ()


def test_a_text_whose_lines_look_like_rows_is_read_and_told(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('id,text\n1,"Roses are red\nviolets are blue, too"\n2,ok\n')
    table = read_table(path)
    assert [number for number, _ in table.rows] == [2, 3]
    assert len(table.notes) == 1
    assert "row 2, column 'text'" in table.notes[0]


@pytest.mark.parametrize("above", ["sep=;\n", '"sep=;"\n', "\n", "\r\n\n", "\nsep=;\n\n"])
def test_what_stands_above_the_header_is_read_past_and_counted(tmp_path: Path, above: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(f'{above}path;"label, or so"\na.png;sad\n'.encode())
    table = read_table(path)
    assert table.columns == ("path", "label, or so")
    assert table.rows == ((2 + above.count("\n"), ["a.png", "sad"]),)
    assert table.delimiter == ";"


def test_a_header_of_one_column_may_say_anything_below_its_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sep=|\npath|label\na,b.png|sad\n")
    assert read_table(path).rows == ((3, ["a,b.png", "sad"]),)


def test_what_cannot_be_seen_beside_a_name_of_a_column_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("path,\u200blabel\ufeff\na.png,sad\n", encoding="utf-8")
    assert read_table(path).columns == ("path", "label")


def test_rows_that_lack_cells_are_told_by_number(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("path,label\na.png,sad\nb.png\n\nc.png\n")
    assert read_table(path).notes == ("2 rows have fewer cells than the header, and what lacks counts as empty: 3, 5",)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_that_is_there_twice_is_refused_where_it_is_wanted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(table_bytes(("path", "label", "x"), [("a.png", "sad", "7")], suffix))
    if suffix == ".csv":
        path.write_text("path,label,Label,note,note\na.png,sad,7,,\n")
    else:
        pq.write_table(pa.table([["a.png"], ["sad"], ["7"]], names=["path", "label", "Label"]), path)
    table = read_table(path)
    assert table.where("path") == 0
    with pytest.raises(ManifestError, match="two columns 'label'"):
        table.where("label")


def test_a_column_is_found_in_any_spelling(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "Gefühl") for form in ("NFC", "NFD")]
    path = tmp_path / "table.csv"
    path.write_text(f"path,{names[1]}\na.png,froh\n", encoding="utf-8")
    assert read_table(path).where(names[0].lower()) == 1


def test_a_delimiter_in_a_quoted_name_is_none(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('path;label;"note, or what, so, ever"\na.png;sad;x\n')
    assert read_table(path).columns == ("path", "label", "note, or what, so, ever")


def test_what_a_small_parquet_declares_is_checked_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, path = 4_000_000, tmp_path / "bomb.parquet"
    pq.write_table(
        pa.table({"path": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["a" * 99])}), path
    )
    assert path.stat().st_size < 2**16
    with pytest.raises(ManifestError, match="EMOCLIM_MEMORY_LIMIT=1"):
        read_table(path)
    tags = pa.ListArray.from_arrays(
        pa.array([0, 10_000], pa.int32()),
        pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ["a" * 10**5]),
    )
    pq.write_table(pa.table({"tags": tags}), path)
    with pytest.raises(ManifestError, match="EMOCLIM_MEMORY_LIMIT=1"):
        read_table(path)
    many = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000_000, np.int32)), ["a"])
    pq.write_table(pa.table({"tags": pa.ListArray.from_arrays(pa.array([0, len(many)], pa.int32()), many)}), path)
    assert path.stat().st_size < 2**12
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "0.01")
    monkeypatch.setattr(pq.ParquetFile, "read", lambda _: pytest.fail("the file was read"))
    with pytest.raises(ManifestError, match="EMOCLIM_MEMORY_LIMIT=1"):
        read_table(path)
    monkeypatch.undo()
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ["a" * 10**5])
    pq.write_table(pa.table({"path": long}), path)
    cells = {id(row[0]) for _, row in read_table(path).rows}
    assert len(cells) == 1  # 1 GB, were they not shared


def test_damage_of_a_parquet_is_told_and_never_read_as_other_cells(tmp_path: Path) -> None:
    rows, path = [(f"a{n}.png", f"l{n % 3}") for n in range(200)], tmp_path / "damaged.parquet"
    tags = pa.array([["x", "y"], ["z"]] * 100)
    table = pa.table([*map(list, zip(*rows, strict=True)), tags], names=["path", "label", "tags"])
    pq.write_table(table, path, write_page_checksum=True)
    whole, draw, told = path.read_bytes(), random.Random(0), 0
    path.write_bytes(whole)
    written = read_table(path)
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(4):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            found = read_table(path)
        except ManifestError:
            told += 1
        else:
            assert found.columns != written.columns or found.rows == written.rows
    assert told > 150


UNREADABLE = {
    "a time that is out of range": pa.array([2**60], pa.timestamp("ms")),
    "a date that is": pa.array([2**30], pa.date32()),
    "bytes": pa.array([b"na\xefve"], pa.binary()),
    "bytes that should be text": pa.Array.from_buffers(pa.string(), 1, pa.array([b"na\xefve"]).buffers()),
    "records": pa.array([{"bytes": b"\x89PNG", "path": "a.png"}]),
    "lists of records": pa.array([[{"bytes": b"\x89PNG"}]]),
    "lists whose parts hold what parts them": pa.array([["c|d"]]),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_column_that_is_no_text_is_left_out_and_told_unless_it_is_wanted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"path": ["a.png"], "Odd": UNREADABLE[kind], "label": ["sad"]}), path)
    table = read_table(path)
    assert table.columns == ("path", "label")
    assert table.rows == ((2, ["a.png", "sad"]),)
    assert len(table.notes) == 1
    assert "'Odd'" in table.notes[0]
    with pytest.raises(ManifestError, match="column 'Odd' of"):
        table.where("odd")


def test_all_plain_types_of_parquet_are_text(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    columns = {
        "large": pa.array(["a"], pa.large_string()),
        "decimal": pa.array([Decimal("1.50")]),
        "half": pa.array([np.float16(0.5)], pa.float16()),
        "truth": [True],
        "none": pa.array([None]),
        "date": pa.array([0], pa.date32()),
        "category": pa.array(["sad"]).dictionary_encode(),
        "bytes": pa.array(["é.png".encode()], pa.binary()),
    }
    pq.write_table(pa.table(columns), path)
    ((_, row),) = read_table(path).rows
    assert row == ["a", "1.50", "0.5", "True", "", "1970-01-01", "sad", "é.png"]


def test_lists_and_gaps_of_parquet_become_text(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    columns = {"Tags ": [["calm", "slow"], [], None], "score": [1.0, float("nan"), None], "n": [7, 8, None]}
    pq.write_table(pa.table(columns), path)
    table = read_table(path)
    assert table.columns == ("Tags", "score", "n")
    assert [row for _, row in table.rows] == [["calm|slow", "1", "7"], ["", "", "8"], ["", "", ""]]
    assert (table.where("tags"), table.where("N"), table.where("none")) == (0, 2, None)


def test_a_table_of_holes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path\na.jpg\n")
    (tmp_path / "link.csv").symlink_to("a.csv")
    assert [row for _, row in read_table(tmp_path / "link.csv").rows] == [["a.jpg"]]
    os.truncate(tmp_path / "a.csv", 300_000_000)
    with pytest.raises(ManifestError, match="EMOCLIM_MEMORY_LIMIT=1 "):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.parquet", b"path\na.jpg\n", "cannot be read as Parquet"),
        ("a.csv", b"path\nna\xefve.jpg\n", "cannot be read as text in UTF-8"),
        *[
            ("a.csv", "path,label\na.jpg,é\n".encode(name), f"in UTF-{name[4:6]}; save it in UTF-8")
            for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
        ],
        ("a.csv", codecs.BOM_UTF16_BE + "path".encode("utf-16-be"), "in UTF-16; save it in UTF-8"),
        ("a.csv", codecs.BOM_UTF32_BE + "path".encode("utf-32-be"), "in UTF-32; save it in UTF-8"),
        ("a.csv", b"PK\3\4\x14\0\6\0" + bytes(200), "a zip or Excel file; .*save it as CSV"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(200), "an old Excel file; save it as CSV"),
        ("a.csv", table_bytes(("path",), [("a.jpg",)], ".parquet"), r"a Parquet file; name it so \(.parquet\)"),
        ("a.csv", gzip.compress(b"path\na.jpg\n", mtime=0), "packed by gzip"),
        ("a.csv", b"path\na.jpg\nb.jpg\n" + bytes(500), "row 4 of .* holds null characters"),
        ("a.csv", b"path,label\r\na.jpg,hap\0py\r\n", "row 2 of .* holds null characters"),
        ("a.csv", b"path\na.jpg\n\x1a", r"row 3 of .* holds an end-of-file mark \(Ctrl-Z\)"),
        ("a.csv", bytes(500), "row 1 of .* holds null characters"),
        ("pipe", None, "it is no regular file"),
        ("folder.csv", None, r"cannot be read \("),
        ("absent.csv", None, r"cannot be read \(No such file or directory\)"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=told):
        read_table(tmp_path / name)
