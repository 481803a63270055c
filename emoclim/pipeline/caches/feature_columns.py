"""Read features in Parquet, some rows at a time, as the arrays that an npz would hold. Used by `feature_tables`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from emoclim.data import Texts, arrow_source, declared_bytes, text_bytes, unpacked_bytes
from emoclim.errors import CacheError
from emoclim.files import open_regular, require_memory

Array = NDArray[Any]

ROWS, BLOCK_BYTES = 1 << 16, 1 << 25  # read at once: at most so many rows, and about so many bytes
ROW_BYTES = 128  # of Python's objects for one row, about
LEVELS = {"values": 1, "segments": 2, "starts": 1, "seconds": 0}  # of lists in which a column has its numbers


def read_arrays(file: Path, values: str, *, with_ids: bool) -> Iterator[dict[str, Any]]:
    """Yield the arrays of some rows at a time."""
    with _opened(file, values) as (table, columns, rows):
        if not with_ids:
            columns.pop("ids", None)
        for batch in _batches(file, table, rows, columns):
            yield _arrays({name: batch.column(column) for name, column in columns.items()}, file)


def read_ids(file: Path, values: str) -> Texts | None:
    """Read the ids of all rows; None where there are segments, of which more must be known."""
    with _opened(file, values) as (table, columns, rows):
        if "segments" in columns:
            return None
        if "ids" not in columns:
            return no_ids(table.metadata.num_rows)
        return Texts.join([_texts(batch.column("id")) for batch in _batches(file, table, rows, {"ids": "id"})])


@contextmanager
def _opened(file: Path, values: str) -> Iterator[tuple[Any, dict[str, str], int]]:
    """Open a Parquet file; yield it, its columns by what is in them, and how many rows to read at once."""
    import pyarrow.parquet as pq

    with open_regular(file) as stream:
        source = arrow_source(stream)
        there = pq.ParquetFile(source).schema_arrow.names
        recurring = [name for name in there if name == "id"]  # one that is not there raises KeyError
        table = pq.ParquetFile(source, read_dictionary=recurring, page_checksum_verification=True)
        require_values(values, there, file)
        columns = {"ids": "id", **{name: name for name in LEVELS}, "values": values}
        columns = {name: column for name, column in columns.items() if column in there}
        require_memory(file, unpacked_bytes(stream), CacheError)
        paths = [table.schema.column(n).path.partition(".")[0] for n in range(len(table.schema))]
        places = [n for n, path in enumerate(paths) if path in columns.values()]
        decoded = declared_bytes(stream, places) + ROW_BYTES * table.metadata.num_rows
        require_memory(file, decoded, CacheError)
        yield table, columns, max(1, min(ROWS, BLOCK_BYTES * table.metadata.num_rows // max(1, decoded)))


def _batches(file: Path, table: Any, rows: int, columns: dict[str, str]) -> Iterator[Any]:
    """Read some columns of Parquet, some rows at a time."""
    texts = 0
    for batch in table.iter_batches(rows, columns=list(columns.values()), use_threads=False):
        if batch.num_rows:
            texts += text_bytes(batch.column("id")) if "ids" in columns else 0
            require_memory(file, texts, CacheError)
            if empty := [name for name, column in columns.items() if batch.column(column).null_count]:
                what = f"the column of the {empty[0]} of {file} has empty cells"
                raise CacheError(f"{what}; fill them, or leave those rows out")
            yield batch


def _arrays(columns: dict[str, Any], file: Path) -> dict[str, Any]:
    """Bring columns of Parquet to the arrays that an npz would hold."""
    arrays: dict[str, Any] = {"ids": _texts(columns["ids"])} if "ids" in columns else {}
    counts: dict[str, list[Array]] = {}
    for name in LEVELS.keys() & columns.keys():
        numbers, counts[name] = _flatten(columns[name], LEVELS[name])
        shape = [-1]
        if name in ("values", "segments"):
            lengths = counts[name].pop()
            shape = [len(lengths), *np.unique(lengths).tolist()]
            if len(shape) > 2:
                raise CacheError(f"the {name} of {file} have {min(lengths)} to {max(lengths)} numbers; make them alike")
        if len(numbers) or name == "values":
            arrays[name] = numbers.reshape(shape)
    if "segments" in counts:
        arrays["offsets"] = np.concatenate([[0], *(lengths.cumsum() for lengths in counts["segments"])])
        if "starts" in counts and not np.array_equal(counts["starts"], counts["segments"]):
            raise CacheError(f"the starts of {file} are not one number for each segment; correct them")
    return arrays


def _flatten(column: Any, depth: int) -> tuple[Array, list[Array]]:
    """Split nested lists into their numbers, an empty one as NaN, and the lengths of the lists of each level."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts = []
    for _ in range(depth):
        lengths = pc.list_value_length(column)
        lengths = pc.fill_null(lengths, 0) if lengths.null_count else lengths
        counts.append(np.from_dlpack(lengths).astype(np.int64))
        column = column.flatten()
    if column.null_count or not pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False), counts
    return from_dlpack(column).numpy(), counts  # as they lie there; `to_numpy` loads pandas, where that is


def _texts(column: Any) -> Texts:
    column.validate(full=True)  # damage may point to anything
    return Texts.of(column.cast("string"))


def no_ids(rows: int) -> Texts:
    """Return what stands for the ids of so many rows that have none."""
    return Texts(np.empty(0, np.uint8), np.zeros(rows + 1, np.int64))


def require_values(values: str, names: Sequence[str], file: Path) -> None:
    """Raise where a file lacks what has the values."""
    if values not in names:
        raise CacheError(f"{file} has no {values!r}, only {', '.join(names)}; name what has the values with --values")
