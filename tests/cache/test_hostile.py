"""Caches that someone else put together: what they say is checked before it is believed, and no link is followed."""

import copy
import json
import os
import pickle
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cache_files
import h5py
import numpy as np
import pytest
import torch
from cache_files import ITEMS, assert_holds, assert_same, edit_ledger, fill
from contracts import DIM, SPEC, encoded
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from emoclim.cache import FeatureCache, MemoryCache, open_cache, open_waveform
from emoclim.errors import CacheError

path = cache_files.path

DEEP = b"[" * 60_000
HUGE = 2**40
EIGHT = "AAAAAAAAAAA="  # bytes of zeros, in base64


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """Fail a test that waits for what never comes."""

    def fail(*_: object) -> None:
        pytest.fail("it waits for ever")

    former = signal.signal(signal.SIGALRM, fail)
    signal.alarm(300)  # long, for one that starts a process takes its time on a machine that is busy
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


def sealed(record: object) -> bytes:
    """A line of a ledger that anyone can write."""
    text = record if isinstance(record, bytes) else json.dumps(record, separators=(",", ":")).encode()
    return b'["%08x",%b]\n' % (zlib.crc32(text), text)


def assert_refused(path: Path) -> None:
    """Neither a reader nor a writer takes it, and no memory was taken to see that."""
    for spec in (None, SPEC):
        with pytest.raises(CacheError) as told, open_cache(path, spec) as cache:
            cache.read(list(cache))
        assert not isinstance(told.value.__cause__, MemoryError)
        assert "\n" not in str(told.value)


# What both formats hold


def item(*parts: object) -> dict[str, Any]:
    return {"row": 0, "segment": 0, "items": [["a", 0, 1.0, 1, 0], list(parts)]}


def columns(keys: object, **changed: object) -> dict[str, Any]:
    """What commits one item, in columns."""
    numbers = {"count": "AAAAAA==", "seconds": "AAAAAAAA8D8=", "value": "AQAAAA==", "segments": "AAAAAA=="}
    return {"row": 0, "segment": 0, "keys": keys, **numbers, **changed}


LINES = {
    "more keys than numbers": columns("a|b"),
    "more numbers than keys": columns("a", value="AQAAAAEAAAA="),
    "half a number": columns("a", value="AQA="),
    "numbers that are no base64": columns("a", value="A"),
    "numbers that are numbers": columns("a", value=[1]),
    "no numbers": {"row": 0, "segment": 0, "keys": "a"},
    "length that is no number": columns("a", seconds="AAAAAAAA+H8="),
    "surrogate in a text of keys": columns("\ud800"),
    "numbers for keys": columns([7]),
    "keys by name": columns({"a": 1}),
    "no keys": columns([], count="", seconds="", value="", segments=""),
    "keys twice": columns("a|a", count=EIGHT, seconds="A" * 22 + "==", value=EIGHT, segments=EIGHT),
    "negative number of segments": item("b", -1, 1.0, 1, 0),
    "more segments than can be": item("b", 2**62, 1.0, 1, 0),
    "number of segments of 70 bits": item("b", 2**70, 1.0, 1, 0),
    "checksum of 70 bits": item("b", 0, 1.0, 2**70, 0),
    "length that is not finite": item("b", 0, float("inf"), 1, 0),
    "key that is no text": item(7, 0, 1.0, 1, 0),
    "key that is a list": item(["b"], 0, 1.0, 1, 0),
    "key twice": item("a", 0, 1.0, 1, 0),
    "item of another length": item("b"),
    "no items": {"row": 0, "segment": 0, "items": []},
    "more segments than there are": item("b", 10_000, 1.0, 1, 0),
    "failure without reason": {"failure": ["x", None]},
    "left out by a number": {"left_out": 7},
    "text": b'"text"',
    "deep": DEEP,
    "no UTF-8": b'{"failure":["\xff","x"]}',
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_ledger_that_cannot_be(path: Path, line: object) -> None:
    fill(path)
    edit_ledger(path, lambda _: sealed(line) + sealed({"left_out": []}))
    assert_refused(path)


SPECS: dict[str, Callable[[dict[str, Any]], object]] = {
    "other kind of name": lambda spec: spec | {"name": 7},
    "unknown modality": lambda spec: spec | {"modality": "smell"},
    "text for a length": lambda spec: spec | {"dim": "3"},
    "negative length": lambda spec: spec | {"dim": -3},
    "length beyond its tables": lambda spec: spec | {"dim": HUGE},
    "list of settings": lambda spec: spec | {"settings": [1]},
    "settings of settings": lambda spec: spec | {"settings": {"a": {}}},
    "list": lambda _: [],
}


def write_header(path: Path, **attributes: Any) -> None:
    """Change attributes of a cache, past the package."""
    if path.suffix == ".zarr":
        said = json.loads((path / "zarr.json").read_text())
        said["attributes"] |= attributes
        (path / "zarr.json").write_text(json.dumps(said))
        return
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            del file.attrs[name]
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value


@pytest.mark.parametrize("edit", SPECS.values(), ids=SPECS)
def test_spec_that_cannot_be(path: Path, edit: Callable[[dict[str, Any]], object], monkeypatch: Any) -> None:
    fill(path)
    monkeypatch.setattr("emoclim.data.FeatureSpec.digest", lambda _: "0123456789ab")  # who forges one forges the other
    write_header(path, spec=json.dumps(edit(SPEC.to_dict())), digest="0123456789ab")
    with pytest.raises(CacheError):
        open_cache(path)


@pytest.mark.parametrize("text", ["[" * 60_000, '{"dim":' * 9_000, "{"])
def test_spec_that_is_no_json(path: Path, text: str) -> None:
    fill(path)
    write_header(path, spec=text)
    assert_refused(path)


@pytest.mark.parametrize("what", ["pipe", "device", "loop", "nothing"])
def test_in_the_place_of_a_cache(path: Path, what: str) -> None:
    fill(path.with_name("x.h5"))
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"device": "/dev/zero", "loop": path, "nothing": "nowhere"}[what])
    with pytest.raises(CacheError):
        open_cache(path)
    if what != "nothing":
        with pytest.raises(CacheError):
            open_cache(path, SPEC)


# HDF5


def retable(name: str, make: Callable[[h5py.File], object]) -> Callable[[Path], object]:
    """Put something else in the place of a table."""

    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            rows = file[name][:]
            del file[name]
            make(file)
            file[f"old {name}"] = rows

    return change


def dataset(name: str, *args: Any, **more: Any) -> Callable[[Path], object]:
    return retable(name, lambda file: file.create_dataset(name, *args, **more))


def link(name: str, to: Any) -> Callable[[Path], object]:
    return retable(name, lambda file: file.__setitem__(name, to))


def to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    link("values", h5py.ExternalLink("pipe", "values"))(path)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, DIM), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "values", (4, DIM))
    file.create_virtual_dataset("values", layout)


def renamed_attribute(value: Any) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs["version"] = value

    return change


CHUNKS: dict[str, Any] = {"maxshape": (None, DIM), "chunks": (4, DIM)}
HDF5: dict[str, Callable[[Path], object]] = {
    "external link": link("values", h5py.ExternalLink("other.h5", "values")),
    "external link to a pipe": to_a_pipe,
    "external link to itself": link("values", h5py.ExternalLink("cache.h5", "values")),
    "soft link": link("values", h5py.SoftLink("/old values")),
    "soft link to itself": link("values", h5py.SoftLink("/values")),
    "virtual": retable("values", virtual),
    "bytes of another file": dataset("values", (4, DIM), "<f4", external=[("/etc/passwd", 0, 48)]),
    "group": retable("values", lambda file: file.create_group("values")),
    "loop of groups": retable("values", lambda file: file.__setitem__("values", file["/"])),
    "kind of numbers": retable("values", lambda file: file.__setitem__("values", np.dtype("f4"))),
    "one number": dataset("values", data=1.0),
    "nothing": dataset("values", data=h5py.Empty("f4")),
    "no chunks": dataset("values", data=np.zeros((4, DIM), "f4")),
    "other width": dataset("values", (4, DIM + 1), "<f4", maxshape=(None, DIM + 1), chunks=(4, DIM + 1)),
    "no width": dataset("values", (4,), "<f4", maxshape=(None,), chunks=(4,)),
    "other numbers": dataset("values", (4, DIM), "<f8", **CHUNKS),
    "texts": dataset("values", (4, DIM), h5py.string_dtype(), **CHUNKS),
    "texts for the ledger": dataset("ledger", (1,), h5py.string_dtype(), maxshape=(None,), chunks=(1,)),
    "filter": dataset("values", (4, DIM), "<f4", compression="gzip", **CHUNKS),
    "ledger of a terabyte": dataset("ledger", (HUGE,), "u1", maxshape=(None,), chunks=(2**16,)),
    "ledger of gigabytes, deflated": dataset(
        "ledger", (2**32,), "u1", maxshape=(None,), chunks=(2**20,), compression="gzip"
    ),
    "values of terabytes": dataset("values", (HUGE, DIM), "<f4", **CHUNKS),
    "chunk of gigabytes": dataset("values", (0, DIM), "<f4", maxshape=(None, DIM), chunks=(2**28, DIM)),
    "version of many numbers": renamed_attribute(np.ones(100)),
    "version that is text": renamed_attribute("1"),
    "empty version": renamed_attribute(h5py.Empty("i8")),
}


@pytest.mark.parametrize("attack", HDF5.values(), ids=HDF5)
def test_hdf5_file_that_was_put_together(tmp_path: Path, attack: Callable[[Path], object]) -> None:
    path, other = tmp_path / "cache.h5", tmp_path / "other.h5"
    fill(path)
    fill(other)
    before = other.read_bytes()
    attack(path)
    assert_refused(path)
    assert other.read_bytes() == before


def test_hdf5_file_without_all_of_its_chunks(tmp_path: Path) -> None:
    path = tmp_path / "cache.h5"
    fill(path)
    dataset("values", (8, DIM), "<f4", maxshape=(None, DIM), chunks=(8, DIM))(path)  # which have room once written
    before = path.read_bytes()
    with open_cache(path, SPEC) as cache, pytest.raises(CacheError, match="no room for rows 0 to 8"):
        cache.append([encoded("e")])
    assert path.read_bytes() == before


# Zarr


def rewrite(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes(content)


def redescribe(**fields: Any) -> Callable[[Path], object]:
    """Change what Zarr says of the values."""

    def change(path: Path) -> None:
        place = path / "values" / "zarr.json"
        place.write_text(json.dumps(json.loads(place.read_text()) | fields))

    return change


def replaced_by_link(name: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        (path / name).rename(path.parent / "elsewhere")
        (path / name).symlink_to(path.parent / "elsewhere")

    return change


def replaced_by_pipe(name: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        (path / name).unlink()
        os.mkfifo(path / name)

    return change


def holes(path: Path) -> None:
    os.truncate(path / "ledger.jsonl", HUGE)


def grid(*shape: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": shape}}


PLACES = ("zarr.json", "values/zarr.json", "values/c.0.0", "ledger.jsonl")
ZARR: dict[str, Callable[[Path], object]] = {
    **{f"pipe for {name}": replaced_by_pipe(name) for name in PLACES},
    **{f"link for {name}": replaced_by_link(name) for name in (*PLACES, "values")},
    **{f"deep {name}": rewrite(name, DEEP) for name in ("zarr.json", "values/zarr.json")},
    **{f"no JSON in {name}": rewrite(name, b"\xff\xfe") for name in ("zarr.json", "values/zarr.json")},
    "list for an array": rewrite("values/zarr.json", b"[]"),
    "ledger of holes": holes,
    "values of terabytes": redescribe(shape=[HUGE, DIM]),
    "values of more bytes than can be counted": redescribe(shape=[2**70, DIM]),
    "negative rows": redescribe(shape=[-4, DIM]),
    "chunk of terabytes": redescribe(chunk_grid=grid(HUGE, DIM)),
    "chunk of nothing": redescribe(chunk_grid=grid(0, DIM)),
    "other width": redescribe(shape=[4096, DIM + 1]),
    "other numbers": redescribe(data_type="float64"),
    "other codec": redescribe(codecs=[{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip"}]),
    "unknown grid": redescribe(chunk_grid={"name": "x"}),
    "unknown names": redescribe(chunk_key_encoding={"name": "x"}),
    "group": redescribe(node_type="group"),
}


@pytest.mark.parametrize("attack", ZARR.values(), ids=ZARR)
def test_zarr_folder_that_was_put_together(tmp_path: Path, attack: Callable[[Path], object]) -> None:
    path = tmp_path / "cache.zarr"
    fill(path)
    attack(path)
    elsewhere = tmp_path / "elsewhere"
    before = elsewhere.read_bytes() if elsewhere.is_file() else None
    with pytest.raises(CacheError) as told, open_cache(path) as cache:
        cache.read(list(cache))
    assert not isinstance(told.value.__cause__, MemoryError)
    with pytest.raises(CacheError), open_cache(path, SPEC) as cache:
        cache.append([encoded("new", 2)])
        assert_holds(path, [*ITEMS, encoded("new", 2)])
    assert before is None or elsewhere.read_bytes() == before


def test_a_link_to_a_folder_of_shards_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache.shards").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="link"):
        open_cache(tmp_path / "cache.shards" / f"1-of-2{path.suffix}", SPEC)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("what", ["pipe", "link"])
def test_what_is_no_recording_of_a_store_is_told(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.wav"
    os.mkfifo(path) if what == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(CacheError, match="delete it"), open_waveform(path):
        pass


def test_limit_may_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.h5"
    fill(path)
    dataset("starts", (2**28,), "<f4", maxshape=(None,), chunks=(2**16,))(path)
    with pytest.raises(CacheError, match="EMOCLIM_MEMORY_LIMIT=2"):
        open_cache(path)
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "2")
    with open_cache(path) as cache:
        assert len(cache) == len(ITEMS)


# Workers


class Rows(Dataset[Any]):
    """Values of a cache, as a loader of training reads them."""

    def __init__(self, cache: FeatureCache) -> None:
        self.cache, self.keys = cache, list(cache)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, n: int) -> Any:
        return self.cache[self.keys[n]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[FeatureCache]]:
    """Caches that are open for reading, one of each kind."""
    memory = MemoryCache(SPEC)
    memory.append(ITEMS)
    paths = [tmp_path / f"cache{suffix}" for suffix in cache_files.STORES]
    for path in paths:
        fill(path)
    with memory, open_cache(paths[0]) as one, open_cache(paths[1]) as other:
        yield [memory, one, other]


def unpickled(cache: FeatureCache) -> FeatureCache:
    twin: FeatureCache = pickle.loads(pickle.dumps(cache))
    return twin


@pytest.mark.parametrize("twin", [copy.deepcopy, unpickled])
def test_twin_of_an_open_cache(opened: list[FeatureCache], twin: Callable[[FeatureCache], FeatureCache]) -> None:
    for cache in opened:
        with twin(cache) as other:
            assert_same(other.read(list(other)), cache.read(list(cache)))
        assert len(cache.read(list(cache))) == len(ITEMS)  # closing one closes one


def test_twin_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "cache.h5")
    monkeypatch.chdir(tmp_path)
    with open_cache("cache.h5") as cache:
        content = pickle.dumps(cache)
    monkeypatch.chdir("/")
    with pickle.loads(content) as other:
        assert len(other) == len(ITEMS)
        with pytest.raises(CacheError, match="reading only"):
            other.append([encoded("e")])


def test_open_caches_in_a_spawned_worker(opened: list[FeatureCache]) -> None:
    rows = ConcatDataset([Rows(cache) for cache in opened])
    loader = DataLoader(rows, batch_size=len(ITEMS), num_workers=1, multiprocessing_context="spawn")
    for batch, cache in zip(loader, opened, strict=True):
        assert torch.equal(batch, cache.read(list(cache)).values)
