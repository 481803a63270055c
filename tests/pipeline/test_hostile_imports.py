"""Imports of what declares more than it holds, or is no file: told before memory is taken, and never waited for."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emoclim.config import ImportConfig
from emoclim.errors import CacheError
from emoclim.pipeline.caches.exporting import export_features
from emoclim.pipeline.caches.importing import import_features
from emoclim.pipeline.workspace import Workspace

ROWS = 400_000


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a manifest of two pictures, where a small file may take 20 MB."""
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "0.02")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images.csv").write_text("path,label\na.png,awe\nb.png,fear\n")
    return tmp_path


def npz(**members: bytes) -> Callable[[Path], Path]:
    """An archive that is packed as tightly as can be."""

    def write(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)
        return folder / "x.npz"

    return write


def array(content: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, content)
    return stream.getvalue()


def headed(shape: tuple[int, ...], dtype: str = "<f4", content: bytes = bytes(100)) -> bytes:
    """An array that says to be of a shape."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[no-untyped-call]
    return stream.getvalue() + content


def parquet(**columns: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pq.write_table(pa.table(columns), folder / "x.parquet", compression="zstd")
        return folder / "x.parquet"

    return write


def equal_rows(folder: Path) -> Path:
    """Many rows that are one, in a few kB."""
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int8)), pa.array(["a.png"]))
    values = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int8)), pa.array([1.0], pa.float32()))
    return parquet(id=rows, values=pa.FixedSizeListArray.from_arrays(values.cast(pa.float32()), 1))(folder)


def one_long_row(folder: Path) -> Path:
    """A row of millions of equal numbers, in a few kB."""
    numbers = pa.array(np.zeros(15 * ROWS, np.float32))
    lists = pa.ListArray.from_arrays(pa.array([0, len(numbers)], pa.int32()), numbers)
    return parquet(id=["a.png"], values=lists)(folder)


def pipe(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        os.mkfifo(folder / name)
        return folder / name

    return make


def folder_with_a_pipe(folder: Path) -> Path:
    (folder / "x").mkdir()
    os.mkfifo(folder / "x" / "a.parquet")
    return folder / "x"


def device(folder: Path) -> Path:
    (folder / "x.npz").symlink_to("/dev/zero")
    return folder / "x.npz"


TWO = array(np.ones((2, 4), np.float32))
ATTACKS: dict[str, Callable[[Path], Path]] = {
    "deflated zeros": npz(values=headed((6000, 1000), content=bytes(24_000_000))),
    "header of more than there is": npz(values=headed((10**13, 4))),
    "header of less than there is": npz(values=headed((2, 4))),
    "header of no width": npz(values=headed((10**13, 0))),
    "header of empty texts": npz(values=TWO, ids=headed((10**13,), "<U0")),
    "header of 70 bits": npz(values=headed((2**70, 4))),
    "negative header": npz(values=headed((-1, 4))),
    "deep header": npz(values=b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535),
    "header of another version": npz(values=b"\x93NUMPY\x09\x00" + bytes(100)),
    "objects": npz(values=headed((2, 4), "|O")),
    "ids that are no UTF-8": npz(values=TWO, ids=array(np.array([b"\xff", b"a"]))),
    "ids that are no Unicode": npz(values=TWO, ids=array(np.array(["\ud800", "a.png"]))),
    "ids beyond Unicode": npz(values=TWO, ids=headed((2,), "<U1", b"\xff" * 8)),
    "equal rows": equal_rows,
    "one long row": one_long_row,
    "ids that are bytes": parquet(id=[b"\xff", b"\xfe"], values=[[1.0], [2.0]]),
    "pipe": pipe("x.npz"),
    "pipe of Parquet": pipe("x.parquet"),
    "pipe in a folder": folder_with_a_pipe,
    "device": device,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_hostile_import_is_refused_and_leaves_nothing(space: Path, attack: Callable[[Path], Path]) -> None:
    file = attack(space)
    with pytest.raises(CacheError) as told:
        import_features(file, "image", "x", ImportConfig(), workspace=Workspace(space))
    message = str(told.value)
    assert file.name in message
    assert "\n" not in message
    assert message.encode()
    assert not isinstance(told.value.__cause__, MemoryError)
    assert not (space / "cache").exists()


def test_the_limit_can_be_raised(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "0")
    file = npz(values=array(np.ones((2, 10**5), np.float32)), ids=array(np.array(["a.png", "b.png"])))(space)
    with pytest.raises(CacheError, match="EMOCLIM_MEMORY_LIMIT=1"):
        import_features(file, "image", "x", ImportConfig(), workspace=Workspace(space))
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "1")
    assert import_features(file, "image", "x", ImportConfig(), workspace=Workspace(space)).imported == 2


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_damage_of_an_export_never_gives_other_numbers(space: Path, suffix: str) -> None:
    workspace, values = Workspace(space), np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    given = npz(values=array(values), ids=array(np.array(["a.png", "b.png"])))(space)
    import_features(given, "image", "x", ImportConfig(), workspace=workspace)
    file = space / f"exported{suffix}"
    export_features("x", file, workspace=workspace)
    content = file.read_bytes()
    first = content.index(values.tobytes())
    for byte in range(first, first + values.nbytes, 97):
        file.write_bytes(content[:byte] + bytes([content[byte] ^ 1]) + content[byte + 1 :])
        with pytest.raises(CacheError, match="cannot be read"):
            import_features(file, "image", "y", ImportConfig(), workspace=workspace)
