"""The memory of Parquet: pages are counted by their own headers, whatever the end of the file says of them."""

import itertools
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emoclim.data import unpacked_bytes
from emoclim.data.tables import read_table
from emoclim.errors import CacheError, ManifestError
from emoclim.pipeline.caches.feature_tables import read_blocks

LAYOUTS = list(itertools.product(("snappy", "none", "zstd"), ("1.0", "2.0"), (True, False), (True, False)))


def count(path: Path) -> int:
    with path.open("rb") as stream:
        return unpacked_bytes(stream)


def varint(number: int, length: int = 0) -> bytes:
    """A positive integer as Thrift writes it, drawn out to a length."""
    number, found = 2 * number, []
    while number or not found or len(found) < length:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found[:-1], found[-1] & 127])


def understate(path: Path) -> None:
    """Make the end of a file say that all of its large columns take 1000 bytes."""
    group, content = pq.ParquetFile(path).metadata.row_group(0), path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    end = content[start:]
    for size in {group.total_byte_size, *(group.column(n).total_uncompressed_size for n in range(group.num_columns))}:
        if size > 10**6:
            end = end.replace(varint(size), varint(1000, len(varint(size))))
    path.write_bytes(content[:start] + end)
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size == 1000


def table() -> pa.Table:
    draw, rows = np.random.default_rng(0), 5_000
    columns = {
        "text": [str(number) for number in draw.integers(0, 999, rows)],
        "number": draw.random(rows),
        "list": [["a", "b"]] * rows,
        "map": pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int64())),
        "nothing": pa.array([None] * rows, pa.int32()),
    }
    return pa.table(columns)


@pytest.mark.parametrize(("compression", "version", "dictionary", "index"), LAYOUTS)
def test_pages_are_counted_as_an_honest_end_does(
    compression: str, version: str, dictionary: bool, index: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(
        table(), path, compression=compression, data_page_version=version, use_dictionary=dictionary,
        write_page_index=index, data_page_size=2000, row_group_size=2000, write_page_checksum=True,
    )  # fmt: skip
    groups = [pq.ParquetFile(path).metadata.row_group(n) for n in range(3)]
    said = sum(group.total_byte_size for group in groups)  # with the headers
    assert 0.9 * said < count(path) < said


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_table_whose_end_says_too_little_is_refused(
    dictionary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    columns = {"path": ["a" * 2 * 10**7], "list": [["b"]]}
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=dictionary)
    understate(path)
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "0.01")
    for name in ("read", "scan_contents"):
        monkeypatch.setattr(pq.ParquetFile, name, lambda *_: pytest.fail("a page was unpacked"))
    with pytest.raises(ManifestError, match="EMOCLIM_MEMORY_LIMIT=1"):
        read_table(path)


@pytest.mark.parametrize("shared", [True, False])
def test_features_with_ids_that_would_fill_the_memory_are_refused(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = tmp_path / "bomb.parquet", 100 if shared else 1
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["a" * (10**6 if shared else 2 * 10**7)])
    values = pa.array([[1.0, 2.0]] * rows, pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "values": values}), path, compression="zstd")
    if not shared:
        understate(path)
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "0.01")
    with pytest.raises(CacheError, match="EMOCLIM_MEMORY_LIMIT=1"):
        list(read_blocks([path], "values"))


def test_whatever_the_bytes_are_counting_ends(tmp_path: Path) -> None:
    path, draw = tmp_path / "x.parquet", random.Random(0)
    pq.write_table(table().slice(0, 50), path)
    whole = path.read_bytes()
    start, told = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), 0
    for number in range(300):
        content = bytearray(whole)
        content[draw.randrange(start if number % 2 else 4, len(content))] = draw.randrange(256)
        path.write_bytes(content)
        with suppress(ValueError):
            count(path)
            told += 1
    assert 0 < told < 300
