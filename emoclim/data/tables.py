"""Read and write tables of text: CSV files (commas, semicolons or tabs) and Parquet.

Conventions: every cell is text, and a cell that is not there is ``""``; a list in a Parquet cell becomes its parts with
``|`` between them, and whole numbers have no point, even where a gap among them made their column one of floats. Rows
count as a spreadsheet shows them, from 2 below a header. Rows that a quotation mark swallows are no cell.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from emoclim.data.listing import UNSEEN, composed
from emoclim.data.media.containers.parquet import text_bytes, unpacked_bytes
from emoclim.data.media.text import LINE_END, read_text, swallowed_rows
from emoclim.errors import ManifestError, name_some
from emoclim.files import csv_bytes, open_regular, parquet_bytes, require_memory

PARQUET = frozenset({".parquet", ".pq"})
SEPARATOR = "|"
QUOTED = re.compile('"[^"]*"')
SAID = re.compile('[\r\n]*"?sep=([,;\t|])"?[\r\n]')  # what Excel writes above a header
CELL_BYTES, ROW_BYTES = 8, 64  # that a cell and a row take at least when they are read
LARGEST = 1e18  # a number whose square is one in single precision, too
EXACT = 2.0**53  # floats from here on may be no whole numbers, though they look like some


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was read."""

    source: Path
    columns: tuple[str, ...]  # their names, as they are written but for spaces round them
    rows: tuple[tuple[int, Sequence[str]], ...]  # number and cells of each row that is not blank
    delimiter: str = ""  # what stands between cells; empty for Parquet
    notes: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)  # why columns are not among those above, by name

    def where(self, wanted: str) -> int | None:
        """Place of a column, whatever its capitals and accents; None if there is none. Two of one name are refused."""
        lowered, sought = [composed(name).lower() for name in self.columns], composed(wanted).lower()
        for name, reason in self.unreadable.items():
            if composed(name).lower() == sought:
                raise ManifestError(
                    f"column {name!r} of {self.source} cannot be read as text ({reason}); write it again"
                )
        if lowered.count(sought) > 1:
            raise ManifestError(f"{self.source} has two columns {wanted!r} (it has: {self.named()}); rename one")
        return lowered.index(sought) if sought in lowered else None

    def places(self, *wanted: str) -> dict[str, int]:
        """Return the places of columns that must be there."""
        found = {name: place for name in wanted if (place := self.where(name)) is not None}
        if lacking := [name for name in wanted if name not in found]:
            raise ManifestError(
                f"{self.source} has no column {lacking[0]!r} (it has: {self.named()}); correct it or fetch it again"
            )
        return found

    def records(self, *wanted: str) -> list[tuple[int, dict[str, str]]]:
        """Return the number of each row and its cells in columns that must be there; a cell that lacks is empty."""
        places, width = self.places(*wanted), len(self.columns)
        require_none(self.source, self.overfull())
        padded = ((number, [*row, *[""] * (width - len(row))]) for number, row in self.rows)
        return [(number, {name: cells[place] for name, place in places.items()}) for number, cells in padded]

    def overfull(self) -> list[str]:
        """Say which rows have more cells than the header."""
        width, advice = len(self.columns), f"quote a cell that holds {self.delimiter!r}"
        wide = ((number, len(row)) for number, row in self.rows if len(row) > width)
        return [f"row {number} has {count} cells below a header of {width} ({advice})" for number, count in wide]

    def named(self) -> str:
        """Return the names of the columns, or of the first few, in words."""
        return name_some(self.columns, 12) or "none"


def require_none(source: Path, problems: Sequence[str]) -> None:
    """Raise what is wrong with a table, in one sentence."""
    if problems:
        raise ManifestError(f"{source} cannot be used: {name_some(problems, 8, '; ')}; correct it")


def finite_number(cell: str) -> float | None:
    """Read a cell as a finite number that can be computed with in single precision; None if it is none."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if abs(value) < LARGEST and "_" not in cell else None  # Python alone writes thousands as 1_000


def read_table(source: Path, *, plain: str = "", old: bool = False, prose: str = "text") -> Table:
    """Read a CSV file in UTF-8 whose delimiter follows from its header, or a Parquet file.

    In a table whose delimiter is in `plain`, nothing is quoted: a quotation mark is part of its cell. An `old` table
    that is no UTF-8 is Latin-1. In the column `prose`, lines may look like rows.
    """
    if source.suffix.lower() in PARQUET:
        return _read_parquet(source)
    return parse_table(source, read_text(source, old=old), plain=plain, prose=prose)


def parse_table(source: Path, text: str, *, plain: str = "", prose: str = "text") -> Table:
    """Read the text of a CSV file, or the beginning of it, as :func:`read_table` does."""
    said = SAID.match(text)
    header = QUOTED.sub("", LINE_END.split(text.lstrip("\r\n"), 1)[0])
    delimiter = said[1] if said else max(f",;\t{plain}", key=header.count)
    columns, *rows = _split(source, text, delimiter, quoted=delimiter not in plain)[bool(said) :] or [(1, [])]
    names = tuple(name.strip(UNSEEN) for name in columns[1])
    notes = []
    if '"' in text and (swallowed := list(swallowed_rows(source.parent, names, rows, delimiter))):
        number, column = swallowed[0]
        told = f"a quotation mark in row {number}, column {column!r}, seems to have swallowed the rows that follow it"
        if column.lower() != prose or delimiter == "\t":
            raise ManifestError(f"{source} cannot be used: {told}; close it, or double it if it belongs to the cell")
        notes.append(f"{told} (or the lines of a text look like rows, as in {len(swallowed)} cells)")
    if short := [str(number) for number, row in rows if len(row) < len(names)]:
        notes.append(
            f"{len(short)} rows have fewer cells than the header, and what lacks counts as empty: {name_some(short)}"
        )
    return Table(source, names, tuple(rows), delimiter, tuple(notes))


def _split(source: Path, text: str, delimiter: str, *, quoted: bool) -> list[tuple[int, list[str]]]:
    """Return the number and the cells of each row that is not blank."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    rows, number = [], 0
    try:
        for number, row in enumerate(lines, start=1):
            if row:
                rows.append((number, row))
    except csv.Error as error:
        raise ManifestError(
            f"{source} cannot be read as a CSV: in row {number + 1} a cell is too long or a quotation mark opens that "
            f"does not close as it should ({error}); close it, or double it if it belongs to the cell"
        ) from error
    return rows


def _read_parquet(source: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(source) as stream:
            schema = pq.ParquetFile(stream).schema
            # A value that recurs stays one value in memory, where a small file may repeat a long one without end.
            recurring = [schema.column(place).path for place in range(len(schema))]
            file = pq.ParquetFile(stream, read_dictionary=recurring, page_checksum_verification=True)
            unpacked = unpacked_bytes(stream)
            require_memory(source, unpacked + _declared(file.metadata), ManifestError)
            if lists := [place for place in range(len(schema)) if schema.column(place).max_repetition_level]:
                file.scan_contents([schema.column(place).path for place in lists])  # raises if they are damaged
            require_memory(source, unpacked + _declared(file.metadata, lists), ManifestError)
            table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"{source} cannot be read as Parquet ({error}); write it again") from error
    names, cells, unreadable = [], [], {}
    for name, column in zip(map(str.strip, table.column_names), table.columns, strict=True):
        try:
            column.validate(full=True)  # that what recurs is there: damage may point to anything
            require_memory(source, _joined(column), ManifestError)
            cells.append(_column(column))
            names.append(name)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            unreadable[name] = str(error)
    rows = enumerate((list(row) for row in zip(*cells, strict=True)), start=2)
    notes = [f"left out column {name!r}, which cannot be read as text ({why})" for name, why in unreadable.items()]
    return Table(source, tuple(names), tuple(rows), notes=tuple(notes), unreadable=unreadable)


def _declared(metadata: Any, lists: Sequence[int] = ()) -> int:
    """Return the bytes that the rows and cells of a Parquet file take at least, beside its pages, by its own account.

    `lists` are columns whose values are not one a row; to ask that of one that is damaged ends the process.
    """
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    values = sum(int(group.column(place).num_values) for group in groups for place in lists)
    rows = max(int(metadata.num_rows), sum(int(group.num_rows) for group in groups))
    cells = rows * int(metadata.num_columns) + values
    return ROW_BYTES * rows + CELL_BYTES * cells


def _joined(column: Any) -> int:
    """Return the bytes of the cells that a column of lists becomes: such cells are not shared."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_nested(column.type):
        return 0
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.list_flatten(column)
    return sum(map(text_bytes, column.chunks))


def _column(column: Any) -> list[str]:
    """Return the cells of a column of Parquet as text; those that are equal share it."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        values = [None if value is None or value != value else value for value in column.to_pylist()]
        whole = all(value is None or (value.is_integer() and abs(value) < EXACT) for value in values)
        return ["" if value is None else str(int(value) if whole else value) for value in values]
    if not pa.types.is_dictionary(column.type):
        return [_as_text(value) for value in column.to_pylist()]
    cells = []
    for chunk in column.chunks:
        values = [_as_text(value) for value in chunk.dictionary.to_pylist()]
        cells += ["" if place is None else values[place] for place in chunk.indices.to_pylist()]
    return cells


def _as_text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        raise TypeError("it holds records")
    if not isinstance(value, list):
        return str(value)
    parts = [_as_text(part) for part in value]
    if any(SEPARATOR in part for part in parts):
        raise ValueError(f"a part of a list holds {SEPARATOR!r}, which parts them")
    return SEPARATOR.join(parts)


def table_bytes(columns: Sequence[str], rows: Iterable[Sequence[str]], suffix: str, text: Sequence[str] = ()) -> bytes:
    """Make the bytes of a CSV or Parquet file; the same table has the same bytes on every machine."""
    if suffix.lower() in PARQUET:
        return _parquet_bytes(columns, list(rows), frozenset(text))
    return csv_bytes([columns, *rows])


def _parquet_bytes(columns: Sequence[str], rows: Sequence[Sequence[str]], text: frozenset[str]) -> bytes:
    import pyarrow as pa

    arrays = {}
    for place, name in enumerate(columns):
        kind = str if name in text else _kind([row[place] for row in rows if row[place]])
        arrow = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}[kind.__name__]
        arrays[name] = pa.array([kind(row[place]) if row[place] else None for row in rows], arrow)
    return parquet_bytes(arrays)


def _kind(cells: Sequence[str]) -> type[int] | type[float] | type[str]:
    """Return the type of cells: numbers if each would be written as it is."""
    kinds: tuple[type[int], type[float]] = (int, float)
    for kind in kinds:
        with suppress(ValueError):
            if cells and all(str(kind(cell)) == cell for cell in cells):
                return kind
    return str
