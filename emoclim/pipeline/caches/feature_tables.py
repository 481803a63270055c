"""Features in Parquet: one row per item, a column ``id``, and a column of lists or one column per dimension."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclim.errors import CacheError
from emoclim.pipeline.caches.feature_blocks import Block, make_block

VALUES = "values"
ROWS = 1024  # read at once
Column = Any  # of pyarrow


def open_tables(files: Sequence[Path], values: str | None) -> tuple[str, Callable[[], Iterator[Block]]]:
    """Find the columns of some Parquet files that together are one table.

    Returns
    -------
    tuple
        What the values are called, and what reads them.

    Raises
    ------
    CacheError
        A file cannot be read, has other columns than the first, or lacks those that are needed.
    """
    kinds = [_kinds(file) for file in files]
    if odd := [file for file, kind in zip(files, kinds, strict=True) if kind != kinds[0]]:
        raise CacheError(f"{odd[0]} has other columns than {files[0]}; keep one table to a folder")
    named = _columns_of_values(files[0], kinds[0], values)
    sides = [name for name in ("segments", "starts", "seconds") if name in kinds[0]] if len(named) == 1 else []
    title = named[0] if len(named) == 1 else f"{named[0]}..{named[-1]}"
    return title, lambda: _blocks(files, named, sides)


def _kinds(file: Path) -> Mapping[str, str]:
    """What each column holds: ``"float"``, ``"list of float"``, ``"list of list of float"``, ``"other"``..."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise CacheError(f"{file} cannot be read as Parquet ({error}); write it again") from error
    return {field.name: _kind(field.type) for field in schema}


def _kind(type_: Any) -> str:
    import pyarrow as pa

    types = pa.types
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return f"list of {_kind(type_.value_type)}"
    return "float" if types.is_floating(type_) else "other"


def _columns_of_values(file: Path, kinds: Mapping[str, str], values: str | None) -> list[str]:
    there = ", ".join(kinds) or "none"
    if "id" not in kinds:
        raise CacheError(f"{file} has no column 'id' (it has: {there}); add one with the ids of the manifest")
    name = values or VALUES
    if name in kinds:
        if kinds[name] not in ("list of float", "list of list of float"):
            raise CacheError(f"column {name!r} of {file} holds no lists of floats; name another with --values")
        return [name]
    plain = [column for column, kind in kinds.items() if kind == "float" and column != "seconds"]
    if values is not None or not plain:
        raise CacheError(f"{file} has no column {name!r} (it has: {there}); name the values with --values")
    return plain


def _blocks(files: Sequence[Path], named: Sequence[str], sides: Sequence[str]) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        try:
            with pq.ParquetFile(file) as table:
                for batch in table.iter_batches(ROWS, columns=["id", *named, *sides]):
                    if batch.num_rows:
                        yield _block(batch, named, sides, str(file))
        except (pa.ArrowException, OSError) as error:
            raise CacheError(f"{file} cannot be read as Parquet ({error}); write it again") from error


def _block(batch: Any, named: Sequence[str], sides: Sequence[str], where: str) -> Block:
    columns = {name: batch.column(name) for name in ("id", *named, *sides)}
    if empty := [name for name, column in columns.items() if column.null_count]:
        raise CacheError(f"column {empty[0]!r} of {where} has empty cells; fill them, or leave those rows out")
    ids = [str(id_) for id_ in columns["id"].to_pylist()]
    segments = offsets = starts = None
    if "segments" in sides:
        segments, offsets = _matrix_of_lists(columns["segments"], where)
        starts = _flat(columns["starts"]) if "starts" in sides else None
    seconds = columns["seconds"].to_numpy(zero_copy_only=False) if "seconds" in sides else None
    if len(named) > 1 or not _is_list(columns[named[0]]):
        values = np.stack([columns[name].to_numpy(zero_copy_only=False) for name in named], axis=1)
    elif _is_list(columns[named[0]].flatten()):
        segments, offsets = _matrix_of_lists(columns[named[0]], where)
        return make_block(where, ids, None, segments, offsets, starts, seconds)
    else:
        values = _matrix(columns[named[0]], where)
    return make_block(where, ids, values, segments, offsets, starts, seconds)


def _is_list(column: Column) -> bool:
    return _kind(column.type).startswith("list")


def _matrix(column: Column, where: str) -> NDArray[Any]:
    """A column of lists of one length as ``(n, D)``."""
    lengths = _lengths(column)
    if len(set(lengths.tolist())) > 1:
        raise CacheError(f"the lists of {where} have {lengths.min()} to {lengths.max()} values; make them equally long")
    flat = _flat(column)
    return flat.reshape(len(column), -1) if len(flat) else flat.reshape(len(column), 0)


def _matrix_of_lists(column: Column, where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """A column of lists of lists as the ``(R, D)`` inner ones, and the offsets ``(n + 1,)`` of the outer ones."""
    return _matrix(column.flatten(), where), np.concatenate([[0], _lengths(column).cumsum()])


def _lengths(column: Column) -> NDArray[np.int64]:
    import pyarrow.compute as pc

    lengths: NDArray[np.int64] = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _flat(column: Column) -> NDArray[Any]:
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return flat
