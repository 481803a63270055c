"""What a cache leaves on the disk, what it says of itself, and what it refuses to open."""

import ast
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cache_files
import h5py
import numpy as np
import pytest
import torch
import zarr
from cache_files import ITEMS, assert_holds, assert_same, edit_ledger, files, fill, ledger_text
from contracts import DIM, SPEC, encoded, tensor

from emoclim.cache import EncodedItem, MemoryCache, open_cache
from emoclim.cache.formats import hdf5, store
from emoclim.cache.ledger import keys as index
from emoclim.data import Texts
from emoclim.data.features import FeatureSpec
from emoclim.errors import CacheError, CacheMismatch

path, small_chunks = cache_files.path, cache_files.small_chunks

# What lies on the disk


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSPC])
def test_a_file_system_that_gives_no_room_in_advance(
    tmp_path: Path, number: int, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    monkeypatch.setattr(hdf5, "FILLS", True)
    path, items = tmp_path / "cache.h5", [encoded(f"k{n}", n % 3) for n in range(20)]
    if number == errno.ENOSPC:
        with pytest.raises(CacheError, match="room"):
            fill(path, items)
        return
    fill(path, items)
    assert_holds(path, items)


def test_stays_when_closed(path: Path) -> None:
    fill(path)
    assert_holds(path, ITEMS)
    with open_cache(path) as cache:
        assert cache.path == path
        assert cache.spec == SPEC
        assert cache.failures() == {"f": "too short"}


def test_goes_on_where_it_was_left(path: Path) -> None:
    fill(path)
    with open_cache(path, SPEC) as cache:
        assert cache.keys() == frozenset("abcd")
        cache.append([encoded("e", 4)])
        assert torch.equal(cache.read(["e"]).values[0], encoded("e", 4).value)
    assert_holds(path, [*ITEMS, encoded("e", 4)])


def test_folder_is_made(tmp_path: Path, path: Path) -> None:
    deep = tmp_path / "deeper" / "still" / path.name
    fill(deep)
    assert_holds(deep, ITEMS)


def test_moves_as_one_thing(tmp_path: Path, path: Path) -> None:
    fill(path)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    moved = path.rename(path.with_stem("moved"))
    assert_holds(moved, ITEMS)


def test_says_what_it_is(path: Path) -> None:
    fill(path)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            attributes = {name: value.decode() if name != "version" else value for name, value in file.attrs.items()}
            shape = file["values"].shape
    else:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        array = group["values"]
        assert isinstance(array, zarr.Array)
        shape = array.shape
    assert (attributes["format"], attributes["version"]) == ("emoclim-features", 1)
    assert FeatureSpec.from_dict(json.loads(str(attributes["spec"]))) == SPEC
    assert shape[1] == DIM


def test_same_appends_give_the_same_bytes(path: Path, tmp_path: Path, small_chunks: None) -> None:
    other = tmp_path / "other" / path.name
    fill(path)
    fill(other)
    assert files(path) == files(other)


def test_many_items_in_many_chunks(path: Path, small_chunks: None) -> None:
    items = [encoded(f"k{n}", n % 4 or None) for n in range(60)]
    with open_cache(path, SPEC) as cache:
        for first in range(0, 60, 7):
            cache.append(items[first : first + 7])
            cache.record_failure(f"f{first}", "reason " * 9)
    assert_holds(path, items)
    assert_holds_scattered(path, items)


def assert_holds_scattered(path: Path, items: list[EncodedItem]) -> None:
    """Far apart and near rows in one read, in no order."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0)).tolist()
    with open_cache(path) as cache:
        for asked in (order, order[::7], order[:2], order[:1] * 3):
            features = cache.read([items[n].key for n in asked])
            assert torch.equal(features.values, torch.stack([items[n].value for n in asked]))


def test_gathers_scattered_rows_by_several_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [encoded(f"k{n}", 1) for n in range(200)]
    fill(path, items)
    with open_cache(path) as cache:
        monkeypatch.setattr(store, "NEAR", 3)
        for asked in ([190, 3, 4, 8, 100, 3], [0, 199], [5, 6, 7]):
            features = cache.read([f"k{n}" for n in asked])
            assert torch.equal(features.values, torch.stack([items[n].value for n in asked]))
            segments = torch.cat([tensor(items[n].segments) for n in asked])
            assert torch.equal(tensor(features.segments), segments)


# What is refused


def test_another_spec_is_refused(path: Path) -> None:
    fill(path)
    other = replace(SPEC, settings={**SPEC.settings, "overlap": 0.5})
    with pytest.raises(CacheMismatch, match=r"cache.*overlap: 0.75 here, 0.5 there"):
        open_cache(path, other)
    fill(path, [encoded("x"), encoded("y"), encoded("z")])  # the lock was let go


def test_reading_does_not_write(path: Path) -> None:
    fill(path)
    before = files(path)
    with open_cache(path) as cache:
        with pytest.raises(CacheError, match="reading only"):
            cache.append([encoded("x")])
        with pytest.raises(CacheError, match="reading only"):
            cache.record_failure("x", "too short")
        cache.read(["a", "c"])
    assert files(path) == before


def test_absent_cache_is_not_made_by_reading(path: Path) -> None:
    with pytest.raises(CacheError, match="there is no cache"):
        open_cache(path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["cache", "cache.npy", "cache.h5.bak", ".h5"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(CacheError, match=r"must end in \.h5 or \.zarr"):
        open_cache(tmp_path / name, SPEC)


@pytest.mark.parametrize("spec", [None, SPEC])
@pytest.mark.parametrize("kind", ["text", "folder", "foreign"])
def test_what_is_no_cache_is_left_alone(path: Path, spec: FeatureSpec | None, kind: str) -> None:
    if kind == "text":
        path.write_text("a shopping list")
    elif kind == "folder":
        path.mkdir()
        (path / "list.txt").write_text("a shopping list")
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["values"] = np.zeros((2, DIM))
    else:
        zarr.open_group(path, mode="w").attrs["mine"] = 1
    before = files(path)
    with pytest.raises(CacheError, match=str(path)) as raised:
        open_cache(path, spec)
    assert str(path) in str(raised.value)
    assert files(path) == before


def test_another_version_is_refused(path: Path) -> None:
    fill(path)
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["version"] = 2
    else:
        zarr.open_group(path, mode="r+").attrs["version"] = 2
    with pytest.raises(CacheError, match="version 2"):
        open_cache(path)


def test_spec_that_was_tampered_with(path: Path) -> None:
    fill(path)
    other = json.dumps(replace(SPEC, name="numbers").to_dict())
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["spec"] = np.bytes_(other)
    else:
        zarr.open_group(path, mode="r+").attrs["spec"] = other
    with pytest.raises(CacheError, match="digest"):
        open_cache(path)


def test_folder_that_cannot_be_written(tmp_path: Path, path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="Not a directory|File exists"):
        open_cache(tmp_path / "file" / path.name, SPEC)
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only to the superuser")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(CacheError, match="Permission denied"):
            open_cache(path, SPEC)
    finally:
        tmp_path.chmod(0o755)


def test_libraries_are_loaded_on_first_use_only() -> None:
    for source in Path(store.__file__).parent.glob("*.py"):
        nodes = [
            node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes}
        backends = {"h5py", "zarr", "emoclim.cache.formats.hdf5", "emoclim.cache.formats.zarr"} & names
        assert not backends or source.stem in ("hdf5", "zarr")


def test_a_reader_that_opens_while_tables_grow(path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [encoded(f"k{n}", n % 3) for n in range(40)]
    backend = cache_files.STORES[path.suffix]
    read = backend.read_ledger
    with open_cache(path, SPEC) as writer:
        writer.append(items[:2])

        def read_late(own: store.Store) -> Iterator[bytes]:
            writer.append(items[2:])
            return read(own)

        monkeypatch.setattr(backend, "read_ledger", read_late)
        with open_cache(path) as cache:
            assert len(cache) in (2, 40)
            assert torch.equal(cache.features().values[1], items[1].value)


def test_no_torch_is_loaded_before_features_are_read(path: Path) -> None:
    fill(path)
    look = f"print(len(open_cache({str(path)!r})), 'torch' in sys.modules)"
    code = f"import sys; from emoclim.cache import open_cache; {look}"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "4 False\n"


# as the version before columns wrote it of ITEMS
EARLIER = b"""\
["7c5a9045",{"row":0,"segment":0,"items":[["a",2,12.94339120388031,2980467536,763068634],["b",0,13.674443364143372,2288817059,0]]}]
["6799dc88",{"failure":["f","too short"]}]
["9d31f3bb",{"row":2,"segment":2,"items":[["c",3,25.823716521263123,1484480979,753290317],["d",0,6.240860223770142,2582942771,0]]}]
"""


def test_lines_of_earlier_versions_are_read_on(path: Path) -> None:
    fill(path)
    edit_ledger(path, lambda _: EARLIER)
    assert_holds(path, ITEMS)
    with open_cache(path, SPEC) as cache:
        assert cache.failures() == {"f": "too short"}
        cache.append([encoded("e", 1)])
    assert ledger_text(path).startswith(EARLIER)
    assert_holds(path, [*ITEMS, encoded("e", 1)])


@pytest.mark.parametrize("keys", [["a|b", "c"], ["\ud800", "\udc00"], ["é", "\n", "id:ß"], ["|"]], ids=ascii)
def test_keys_of_any_signs(path: Path, keys: list[str]) -> None:
    items = [encoded(key, 1) for key in keys]
    fill(path, items)
    assert_holds(path, items)


def test_many_keys_are_found_as_few_are(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "NEWEST", 8)
    monkeypatch.setattr(index, "BLOCK", 5)
    items = [encoded(f"k{n}", n % 3) for n in range(40)]
    model = MemoryCache(SPEC)
    model.append(items)
    keys = [item.key for item in items]
    with open_cache(path, SPEC) as cache:
        for first in range(0, 40, 10):
            cache.append_features(model.read(keys[first : first + 10]))
        with pytest.raises(CacheError, match="k3"):
            cache.append_features(model.read(keys[3:9]))
        cache.leave_out(["k7", "k30", "k7"])
        cache.append([items[7], items[30]])
    order = [key for key in keys if key not in ("k7", "k30")] + ["k7", "k30"]
    with open_cache(path) as cache:
        assert list(cache) == order
        assert isinstance(cache.in_order(), Texts)
        assert cache.holds(["k7", "other"]).tolist() == [True, False]
        assert_same(cache.features(), model.read(order))
        assert_same(cache.read(cache.in_order()[5:20]), model.read(order[5:20]))
        assert_same(cache.read(keys[::-3]), model.read(keys[::-3]))
        assert cache.n_segments == model.n_segments
        with pytest.raises(CacheError, match=r"1 of the 2 keys asked for \(other\)"):
            cache.read(["k7", "other"])
