"""Read the features of other programs, npz or Parquet, block by block. Used by `emoclim cache import`.

Nothing is ever unpickled. Parquet is read in blocks: memory does not grow with its rows. An npz is read whole.
"""

import hashlib
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.data import text_bytes, unpacked_bytes
from emoclim.encoders import file_hash
from emoclim.errors import CacheError, EmoclimError, name_some
from emoclim.files import open_regular, require_memory

Array = NDArray[Any]

NO_ID = ""  # key of an item whose file has no ids
ROWS, BLOCK_BYTES = 8192, 1 << 25  # of Parquet, read at once: at most so many rows, and about so many bytes
ROW_BYTES = 128  # of Python's objects for one row, about
HEADERS: dict[Any, Any] = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
LEVELS = {"values": 1, "segments": 2, "starts": 1, "seconds": 0}  # of lists in which a column has its numbers


class Block(NamedTuple):
    """Some items of a file, in its order."""

    ids: Sequence[str]  # NO_ID where the file has none
    values: Tensor  # (N, D) float32, all finite, as are the others
    segments: Tensor  # (R, D); R is 0 where the file has none
    starts: Tensor  # (R,)
    offsets: Tensor  # (N + 1,) int64
    seconds: Tensor  # (N,)


def find_features(path: Path) -> tuple[list[Path], str]:
    """The file, or the Parquet files of the folder, with features, and ``"<name>@<12 hex of the sha256>"`` of all."""
    files = sorted(file for file in path.rglob("*.parquet") if file.is_file()) if path.is_dir() else [path]
    if not files or not files[0].is_file() or files[0].suffix.lower() not in (".npz", ".parquet"):
        raise CacheError(f"{path} is no file of features; name an .npz, a .parquet or a folder of .parquet that exists")
    if files == [path]:
        return files, f"{path.name}@{file_hash(path)[:12]}"
    listed = "".join(f"{file_hash(file)} {file.relative_to(path).as_posix()}\n" for file in files)
    return files, f"{path.resolve().name}@{hashlib.sha256(os.fsencode(listed)).hexdigest()[:12]}"


def read_blocks(files: Sequence[Path], values: str) -> Iterator[Block]:
    """Read features and their ids; the array or column called `values` has one vector for each item."""
    for file in files:
        read = _read_npz if file.suffix.lower() == ".npz" else _read_parquet
        try:
            for arrays in read(file, values):
                yield _block(file, arrays)
        except EmoclimError:
            raise
        except Exception as error:  # whatever a damaged or hostile file makes its reader raise
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CacheError(f"{file} cannot be read ({reason}); save plain texts and floats in it") from error


def _read_npz(file: Path, values: str) -> Iterator[dict[str, Any]]:
    with open_regular(file) as opened, zipfile.ZipFile(opened) as archive:
        there = [name.removesuffix(".npy") for name in archive.namelist()]
        _require(values, there, file)
        members = {name: name for name in ("ids", "offsets", *LEVELS) if name in there} | {"values": values}
        needed = sum(_declared(archive, f"{member}.npy") for member in members.values())
        require_memory(file, needed, CacheError)
        arrays = {}
        for name, member in members.items():
            with archive.open(f"{member}.npy") as content:
                arrays[name] = np.lib.format.read_array(content, allow_pickle=False)  # type: ignore[no-untyped-call]
                if content.read(1):  # which also compares all of it with its checksum
                    raise ValueError(f"{member}.npy is longer than its header says")
        yield arrays | ({"ids": arrays["ids"].astype(str).tolist()} if "ids" in arrays else {})


def _declared(archive: zipfile.ZipFile, member: str) -> int:
    """Count the bytes that an array of an npz takes, with those of its rows, by its header."""
    size = archive.getinfo(member).file_size
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)  # type: ignore[no-untyped-call]
        if version not in HEADERS:
            raise ValueError(f"{member} is no array of numbers or texts")
        shape, _, dtype = HEADERS[version](content)
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{member} is shorter than its header says")
    return size + ROW_BYTES * int(math.prod(shape[:1]))


def _read_parquet(file: Path, values: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    texts = 0
    with open_regular(file) as stream:
        there = pq.ParquetFile(stream).schema_arrow.names
        recurring = [name for name in there if name == "id"]  # one that is not there raises KeyError
        table = pq.ParquetFile(stream, read_dictionary=recurring, page_checksum_verification=True)
        _require(values, there, file)
        columns = {"ids": "id", **{name: name for name in LEVELS}, "values": values}
        columns = {name: column for name, column in columns.items() if column in there}
        require_memory(file, unpacked_bytes(stream), CacheError)
        decoded = _decoded(table, list(columns.values()))
        require_memory(file, decoded, CacheError)
        rows = max(1, min(ROWS, BLOCK_BYTES * table.metadata.num_rows // max(1, decoded)))
        for batch in table.iter_batches(rows, columns=list(columns.values())):
            if batch.num_rows:
                texts += text_bytes(batch.column("id")) if "ids" in columns else 0
                require_memory(file, texts, CacheError)
                yield _arrays({name: batch.column(column) for name, column in columns.items()}, file)


def _decoded(table: Any, names: Sequence[str]) -> int:
    """Count the bytes that columns of Parquet take by their own account; few may stand for many equal numbers."""
    table.scan_contents(names)  # raises what to ask a damaged column would end the process with
    metadata, schema = table.metadata, table.schema
    places = [n for n in range(len(schema)) if schema.column(n).path.partition(".")[0] in names]
    groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    columns = [group.column(n) for group in groups for n in places]
    numbers = sum(max(column.total_uncompressed_size, 4 * column.num_values) for column in columns)
    return int(numbers + ROW_BYTES * metadata.num_rows)


def _require(values: str, names: Sequence[str], file: Path) -> None:
    if values not in names:
        raise CacheError(f"{file} has no {values!r}, only {', '.join(names)}; name what has the values with --values")


def _arrays(columns: dict[str, Any], file: Path) -> dict[str, Any]:
    """Bring columns of Parquet to the arrays that an npz would hold."""
    if empty := [name for name, column in columns.items() if column.null_count]:
        raise CacheError(f"the column of the {empty[0]} of {file} has empty cells; fill them, or leave those rows out")
    arrays: dict[str, Any] = {"ids": columns["ids"].cast("string").to_pylist()} if "ids" in columns else {}
    counts: dict[str, list[Array]] = {}
    for name in LEVELS.keys() & columns.keys():
        numbers, counts[name] = _flatten(columns[name], LEVELS[name])
        shape = [-1]
        if name in ("values", "segments"):
            lengths = counts[name].pop()
            shape = [len(lengths), *set(lengths.tolist())]
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
    import pyarrow.compute as pc

    counts = []
    for _ in range(depth):
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        counts.append(lengths.to_numpy(zero_copy_only=False).astype(np.int64))
        column = column.flatten()
    return column.to_numpy(zero_copy_only=False), counts


def _block(file: Path, arrays: dict[str, Any]) -> Block:
    """Make a block of arrays, if their shapes fit each other and all of their numbers are finite."""
    values = arrays["values"]
    n_items = len(np.atleast_1d(values))
    dim = values.shape[1] if values.ndim == 2 and values.shape[1] else 1
    ids = arrays.get("ids", [NO_ID] * n_items)
    if len(ids) != n_items or not all(isinstance(id_, str) for id_ in ids):
        raise CacheError(f"the ids of {file} are not {n_items} texts, one for each row of values; correct them")
    "".join(ids).encode()  # what is no Unicode raises ValueError
    offsets = _offsets(arrays, n_items, file)
    n = int(offsets[-1])
    shapes = {"values": (n_items, dim), "segments": (n, dim), "starts": (n,), "seconds": (n_items,)}
    floats = {name: _floats(arrays.get(name), shape, f"{name} of {file}") for name, shape in shapes.items()}
    good = {name: array.isfinite().reshape(len(array), array[:1].numel()).all(1) for name, array in floats.items()}
    bad = ~good["values"] | ~good["seconds"] | (floats["seconds"] < 0)
    owners = torch.arange(n_items).repeat_interleave(offsets.diff())
    bad[owners[~good["segments"] | ~good["starts"]]] = True
    if bad.any():
        named = name_some([ids[n] or f"row {n}" for n in bad.nonzero()[:, 0].tolist()])
        raise CacheError(f"{int(bad.sum())} items of {file} have a number that is not finite ({named}); correct them")
    return Block(ids, floats["values"], floats["segments"], floats["starts"], offsets, floats["seconds"])


def _offsets(arrays: dict[str, Any], n_items: int, file: Path) -> Tensor:
    offsets = arrays.get("offsets", np.zeros(0 if "segments" in arrays else n_items + 1, np.int64))
    fits = offsets.dtype.kind in "iu" and offsets.shape == (n_items + 1,) and offsets[0] == 0
    if not fits or (np.diff(offsets.astype(np.int64)) < 0).any() or (offsets[-1] and "segments" not in arrays):
        advice = f"save {n_items + 1} whole numbers that rise from 0 to the number of segments"
        raise CacheError(f"{file} has no offsets that fit its segments; {advice}")
    return torch.from_numpy(offsets.astype(np.int64))


def _floats(array: Array | None, shape: tuple[int, ...], what: str) -> Tensor:
    if array is None:
        return torch.zeros(shape)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8 or array.shape != shape:
        raise CacheError(f"the {what} are {array.dtype} {array.shape}, not float16, float32 or float64 {shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        floats = np.require(array, np.float32, ["C", "W"])
    if array.dtype.itemsize > 4 and (beyond := np.isinf(floats) & np.isfinite(array)).any():
        row, number = np.argwhere(beyond)[0, 0], array[beyond][0]
        raise CacheError(f"row {row} of the {what} holds {number:g}, which does not fit float32; scale them down")
    return torch.from_numpy(floats)
