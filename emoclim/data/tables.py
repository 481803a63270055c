"""Read and write tables of text: CSV files (commas, semicolons or tabs) and Parquet.

Conventions: every cell is text, and a cell that is not there is ``""``; a list in a Parquet cell becomes its parts with
``|`` between them. Rows count from 2, as a spreadsheet shows them below a header.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.data.media.text import read_text
from emoclim.errors import ManifestError, name_some, reason_of

PARQUET = frozenset({".parquet", ".pq"})
SEPARATOR = "|"  # between the tags of one cell


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was read."""

    source: Path
    columns: tuple[str, ...]  # their names, as they are written but for spaces round them
    rows: tuple[tuple[int, Sequence[str]], ...]  # number and cells of each row that is not blank
    delimiter: str = ""  # what stands between cells; empty for Parquet

    def where(self, wanted: str) -> int | None:
        """Place of a column, whatever its capitals; None if there is none."""
        lowered = [name.lower() for name in self.columns]
        return lowered.index(wanted.lower()) if wanted.lower() in lowered else None

    def places(self, *wanted: str) -> dict[str, int]:
        """Return the places of columns that must be there."""
        found = {name: place for name in wanted if (place := self.where(name)) is not None}
        if lacking := [name for name in wanted if name not in found]:
            raise ManifestError(
                f"{self.source} has no column {lacking[0]!r} (it has: {self.named()}); correct it or fetch it again"
            )
        return found

    def named(self) -> str:
        """Return the names of the columns, or of the first few, in words."""
        return name_some(self.columns, 12) or "none"


def read_table(source: Path, *, plain: str = "", old: bool = False) -> Table:
    """Read a CSV file in UTF-8 whose delimiter follows from its header, or a Parquet file.

    In a table whose delimiter is in `plain`, nothing is quoted: a quotation mark is part of its cell. An `old` table
    that is no UTF-8 is Latin-1.
    """
    if source.suffix.lower() in PARQUET:
        return _read_parquet(source)
    try:
        text = read_text(source) if old else source.read_bytes().decode("utf-8-sig")
        file = io.StringIO(text, newline="")
        header = file.readline()
        delimiter = max(f",;\t{plain}", key=header.count)
        columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        unquoted = delimiter in plain
        lines = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE if unquoted else csv.QUOTE_MINIMAL)
        rows = [(number, row) for number, row in enumerate(lines, start=2) if row]
    except OSError as error:
        raise ManifestError(f"{source} cannot be read ({reason_of(error)}); name a CSV or Parquet file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{source} cannot be read as a CSV in UTF-8 ({error}); save it as one") from error
    return Table(source, tuple(columns), tuple(rows), delimiter)


def _read_parquet(source: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(source).read()
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(f"{source} cannot be read as Parquet ({error}); write it again") from error
    cells = [[_as_text(value) for value in column.to_pylist()] for column in table.columns]
    rows = enumerate((list(row) for row in zip(*cells, strict=True)), start=2)
    return Table(source, tuple(name.strip() for name in table.column_names), tuple(rows))


def _as_text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return SEPARATOR.join(map(_as_text, value)) if isinstance(value, list) else str(value)


def table_bytes(columns: Sequence[str], rows: Iterable[Sequence[str]], suffix: str, text: Sequence[str] = ()) -> bytes:
    """Make the bytes of a CSV or Parquet file; the same table has the same bytes on every machine."""
    if suffix.lower() in PARQUET:
        return _parquet_bytes(columns, list(rows), frozenset(text))
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue().encode()


def _parquet_bytes(columns: Sequence[str], rows: Sequence[Sequence[str]], text: frozenset[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for place, name in enumerate(columns):
        kind = str if name in text else _kind([row[place] for row in rows if row[place]])
        arrow = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}[kind.__name__]
        arrays[name] = pa.array([kind(row[place]) if row[place] else None for row in rows], arrow)
    stream = io.BytesIO()
    pq.write_table(pa.table(arrays), stream)
    return stream.getvalue()


def _kind(cells: Sequence[str]) -> type[int] | type[float] | type[str]:
    """Return the type of cells: numbers if each would be written as it is."""
    kinds: tuple[type[int], type[float]] = (int, float)
    for kind in kinds:
        try:
            if cells and all(str(kind(cell)) == cell for cell in cells):
                return kind
        except ValueError:
            continue
    return str
