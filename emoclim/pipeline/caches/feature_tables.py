"""Read the features of other programs, npz or Parquet, block by block. Used by `emoclim cache import`.

Nothing is ever unpickled. Parquet is read in blocks: memory does not grow with its rows. An npz is read whole.
"""

import hashlib
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.data import Texts
from emoclim.encoders import file_hash
from emoclim.errors import CacheError, EmoclimError, name_some
from emoclim.files import open_regular, require_memory
from emoclim.pipeline.caches.feature_columns import LEVELS, ROW_BYTES, no_ids, read_arrays, read_ids, require_values

Array = NDArray[Any]

NO_ID = ""  # key of an item whose file has no ids
HEADERS: dict[Any, Any] = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Block(NamedTuple):
    """Some items of a file, in its order."""

    ids: Texts  # NO_ID where the file has none
    values: Tensor  # (N, D) float32, all finite, as are the others
    segments: Tensor  # (R, D); R is 0 where the file has none
    starts: Tensor  # (R,)
    offsets: Tensor  # (N + 1,) int64
    seconds: Tensor  # (N,)


def find_files(path: Path) -> list[Path]:
    """The file, or the Parquet files of the folder, with features."""
    files = sorted(file for file in path.rglob("*.parquet") if file.is_file()) if path.is_dir() else [path]
    if not files or not files[0].is_file() or files[0].suffix.lower() not in (".npz", ".parquet"):
        raise CacheError(f"{path} is no file of features; name an .npz, a .parquet or a folder of .parquet that exists")
    return files


def identity_of(path: Path, files: Sequence[Path]) -> str:
    """Return ``"<name>@<12 hex of the sha256>"`` of all files of a path."""
    if files == [path]:
        return f"{path.name}@{file_hash(path)[:12]}"
    listed = "".join(f"{file_hash(file)} {file.relative_to(path).as_posix()}\n" for file in files)
    return f"{path.resolve().name}@{hashlib.sha256(os.fsencode(listed)).hexdigest()[:12]}"


def read_blocks(files: Sequence[Path], values: str, known: Texts | None = None) -> Iterator[Block]:
    """Read features and their ids; the array or column called `values` has one vector for each item.

    Ids of all rows that are `known` already are not read again.
    """
    first = 0
    for file in files:
        with _explained(file):
            read = _read_npz(file, values) if _is_npz(file) else read_arrays(file, values, with_ids=known is None)
            for arrays in read:
                if known is not None:
                    arrays["ids"] = known[first : first + len(arrays["values"])]
                    first += len(arrays["ids"])
                yield _block(file, arrays)


def read_outline(files: Sequence[Path], values: str) -> tuple[Texts, int] | None:
    """Read ids and the width of the first values; None where only a look at all numbers tells what must be known."""
    ids = []
    for file in files:
        if _is_npz(file):
            return None
        with _explained(file):
            if (own := read_ids(file, values)) is None:
                return None
            ids.append(own)
    first = next(read_blocks(files, values), None)
    return None if first is None else (Texts.join(ids), first.values.shape[1])


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except EmoclimError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes its reader raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CacheError(f"{file} cannot be read ({reason}); save plain texts and floats in it") from error


def _is_npz(file: Path) -> bool:
    return file.suffix.lower() == ".npz"


def _read_npz(file: Path, values: str) -> Iterator[dict[str, Any]]:
    with open_regular(file) as opened, zipfile.ZipFile(opened) as archive:
        there = [name.removesuffix(".npy") for name in archive.namelist()]
        require_values(values, there, file)
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


def _block(file: Path, arrays: dict[str, Any]) -> Block:
    """Make a block of arrays, if their shapes fit each other and all of their numbers are finite."""
    values = arrays["values"]
    n_items = len(np.atleast_1d(values))
    dim = values.shape[1] if values.ndim == 2 and values.shape[1] else 1
    ids = arrays.get("ids", no_ids(n_items))
    if len(ids) != n_items or not (isinstance(ids, Texts) or all(isinstance(id_, str) for id_ in ids)):
        raise CacheError(f"the ids of {file} are not {n_items} texts, one for each row of values; correct them")
    if not isinstance(ids, Texts):
        "".join(ids).encode()  # what is no Unicode raises ValueError
    offsets = _offsets(arrays, n_items, file)
    n = int(offsets[-1])
    shapes = {"values": (n_items, dim), "segments": (n, dim), "starts": (n,), "seconds": (n_items,)}
    floats = {name: _floats(arrays.get(name), shape, f"{name} of {file}") for name, shape in shapes.items()}
    good = {name: _finite(array.numpy()) for name, array in floats.items()}
    bad = ~good["values"] | ~good["seconds"] | (floats["seconds"].numpy() < 0)
    owners = np.arange(n_items).repeat(offsets.diff().numpy())
    bad[owners[~(good["segments"] & good["starts"])]] = True
    if bad.any():
        named = name_some([ids[n] or f"row {n}" for n in np.flatnonzero(bad)])
        raise CacheError(f"{int(bad.sum())} items of {file} have a number that is not finite ({named}); correct them")
    own = ids if isinstance(ids, Texts) else Texts.of(ids)
    return Block(own, floats["values"], floats["segments"], floats["starts"], offsets, floats["seconds"])


def _finite(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell of each row ``(n,)`` whether all of its numbers are finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):  # as no sum with one that is not
            return np.ones(len(array), np.bool_)
    good: NDArray[np.bool_] = np.isfinite(array).reshape(len(array), -1).all(1)
    return good


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
