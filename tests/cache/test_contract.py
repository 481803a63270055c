"""The caches keep their contract, and agree with the one in memory whatever is done to both."""

import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cache_files import STORES, assert_same, die
from contracts import DIM, SPEC, CacheContract, encoded
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from soaking import examples, soak

from emoclim.cache import open_cache
from emoclim.cache.contract import FeatureCache
from emoclim.cache.formats import hdf5, store
from emoclim.cache.memory import MemoryCache
from emoclim.errors import CacheError


class TestMemory(CacheContract):
    def make(self, folder: Path) -> FeatureCache:
        return MemoryCache(SPEC)


class TestHDF5(CacheContract):
    def make(self, folder: Path) -> FeatureCache:
        return open_cache(folder / "cache.h5", SPEC)


class TestZarr(CacheContract):
    def make(self, folder: Path) -> FeatureCache:
        return open_cache(folder / "cache.zarr", SPEC)


# Any sequence of uses

NUMBERS = st.integers(0, 99)


class AgainstTheModel(RuleBasedStateMachine):
    """A cache on disk answers as the one in memory does, whatever was done to both."""

    suffix = ""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(store, "CHUNK_ROWS", 4)
        self.patch.setattr(hdf5, "LEDGER_CHUNK", 256)
        self.path = self.folder / f"cache{self.suffix}"
        self.model = MemoryCache(SPEC)
        self.cache = open_cache(self.path, SPEC)
        self.writable = True
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.cache.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    @rule(sizes=st.lists(st.none() | st.integers(0, 6), max_size=6))
    @precondition(lambda self: self.writable)
    def append(self, sizes: list[int | None]) -> None:
        items = [encoded(f"k{self.count + n}", size) for n, size in enumerate(sizes)]
        self.count += len(items)
        for cache in (self.cache, self.model):
            cache.append(items)

    @rule(number=NUMBERS, broken=st.booleans())
    @precondition(lambda self: self.writable and self.count)
    def append_in_vain(self, number: int, broken: bool) -> None:
        bad = replace(encoded("bad"), value=torch.full((DIM,), torch.nan)) if broken else encoded(self.key(number))
        for cache in (self.cache, self.model):
            with pytest.raises(CacheError):
                cache.append([encoded("good", 2), bad])

    @rule(
        sizes=st.lists(st.integers(0, 6), min_size=1, max_size=6),
        step=st.sampled_from(["write", "write_line"]),
        torn=st.integers(1, 60),
    )
    @precondition(lambda self: self.writable)
    def die_while_appending(self, sizes: list[int], step: str, torn: int) -> None:
        original = getattr(STORES[self.suffix], step)

        def write_then_die(opened: store.Store, *what: Any) -> None:
            if step == "write":
                original(opened, *what)
            else:
                at, line = what
                original(opened, at, line[:-torn])
            die()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(STORES[self.suffix], step, write_then_die)
            with pytest.raises(CacheError, match="could not be written"):
                self.cache.append([encoded(f"lost{n}", size) for n, size in enumerate(sizes)])

    @rule(key=st.sampled_from(["k0", "k3", "k9", "f", "g"]), reason=st.text(max_size=40))
    @precondition(lambda self: self.writable)
    def fail(self, key: str, reason: str) -> None:
        for cache in (self.cache, self.model):
            with pytest.raises(CacheError) if key in self.model.keys() else nullcontext():
                cache.record_failure(key, reason)

    @rule(numbers=st.lists(NUMBERS, max_size=12), verify=st.booleans())
    @precondition(lambda self: self.count)
    def read(self, numbers: list[int], verify: bool) -> None:
        keys = [self.key(number) for number in numbers]
        assert_same(self.cache.read(keys, verify=verify), self.model.read(keys))
        assert all(torch.equal(self.cache[key], self.model[key]) for key in keys[:2])

    @rule(verify=st.booleans())
    def read_all(self, verify: bool) -> None:
        assert_same(self.cache.features(verify=verify), self.model.features())

    @rule(writable=st.booleans())
    def reopen(self, writable: bool) -> None:
        self.cache.close()
        self.writable = writable or not self.path.exists()
        self.cache = open_cache(self.path, SPEC if self.writable else None)

    @invariant()
    def same_keys_and_failures(self) -> None:
        if hasattr(self, "cache"):
            assert self.cache.keys() == self.model.keys()
            assert list(self.cache) == list(self.model)
            assert len(self.cache) == len(self.model)
            assert ("k0" in self.cache) == ("k0" in self.model)
            assert self.cache.n_segments == self.model.n_segments
            assert self.cache.failures() == self.model.failures()

    def key(self, number: int) -> str:
        return f"k{number % self.count}"


class HDF5Machine(AgainstTheModel):
    suffix = ".h5"


class ZarrMachine(AgainstTheModel):
    suffix = ".zarr"


MACHINE = settings(examples(20), stateful_step_count=20, suppress_health_check=list(HealthCheck))
TestHDF5Machine = soak(HDF5Machine.TestCase)
TestHDF5Machine.settings = MACHINE
TestZarrMachine = soak(ZarrMachine.TestCase)
TestZarrMachine.settings = MACHINE
