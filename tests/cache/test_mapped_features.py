"""Features that stay in their file: the numbers of those that are read into memory, whatever becomes of the file."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import cache_files
import h5py
import pytest
import torch
from cache_files import assert_same
from contracts import SPEC, encoded
from torch import Tensor

from emoclim.cache import open_cache
from emoclim.cache.formats import mapping
from emoclim.config import Average, TrainConfig
from emoclim.data.features import Features, MappedFeatures, Split
from emoclim.errors import CacheError
from emoclim.learning import make_objective
from emoclim.stages import train_heads

small_chunks = cache_files.small_chunks

ITEMS = [encoded(f"k{n}", n % 3 or None) for n in range(50)]
KEYS = [item.key for item in ITEMS]
AVERAGES: tuple[Average, Average] = ("embeddings", "features")


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch, small_chunks: None) -> None:
    """Leave however few in the file."""
    monkeypatch.setattr(mapping, "MAPPED_BYTES", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cache that was made longer several times, so that other things lie between its chunks."""
    path = tmp_path / "cache.h5"
    with open_cache(path, SPEC) as cache:
        for first in range(0, len(ITEMS), 9):
            cache.append(ITEMS[first : first + 9])
    return path


def both(path: Path, keys: list[str]) -> tuple[MappedFeatures, Features]:
    with open_cache(path) as cache:
        mapped, copied = cache.open_features(keys), cache.read(keys)
    assert isinstance(mapped, MappedFeatures)
    assert not isinstance(copied, MappedFeatures)
    return mapped, copied


@pytest.mark.parametrize("keys", [KEYS, KEYS[5:], KEYS[::-1], ["k40", "k3", "k3", "k17"], ["k0"]], ids=len)
def test_they_are_those_that_are_read(path: Path, keys: list[str]) -> None:
    mapped, copied = both(path, keys)
    assert_same(mapped, copied)
    rows = torch.randint(len(keys), (7,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(mapped.take(rows), copied.values[rows])
    assert_same(mapped.select(rows), copied.select(rows))
    assert isinstance(mapped.select(rows).select(rows[:0]), MappedFeatures)
    for size in (1, 4, 100):
        assert list(map(Tensor.tolist, mapped.blocks(size))) == list(map(Tensor.tolist, copied.blocks(size)))
        assert list(map(Tensor.tolist, mapped.segment_blocks(size))) == list(
            map(Tensor.tolist, copied.segment_blocks(size))
        )
    assert (mapped.n_segments, mapped.has_windows) == (copied.n_segments, copied.has_windows)
    draws = [one.draw(rows, torch.Generator().manual_seed(2)) for one in (mapped, copied)]
    assert torch.equal(*draws)
    assert_same(replace(mapped, ids=tuple("x" * len(keys))), replace(copied, ids=tuple("x" * len(keys))))


def test_a_copy_is_in_memory(path: Path) -> None:
    mapped, copied = both(path, KEYS)
    for other in (pickle.loads(pickle.dumps(mapped)), copy.deepcopy(mapped)):
        assert type(other) is Features
        assert_same(other, copied)
    assert mapped.to(torch.device("cpu")) is mapped
    moved = mapped.to(torch.device("meta"))
    assert (type(moved), moved.values.device.type, moved.values.shape) == (Features, "meta", copied.values.shape)


def test_they_outlive_a_longer_copy_of_the_file_and_items_left_out(path: Path) -> None:
    mapped, copied = both(path, KEYS)
    before = path.stat().st_ino
    with open_cache(path, SPEC) as cache:
        cache.append([encoded(f"new {n}") for n in range(3)])
        cache.leave_out(KEYS[:20])
        cache.append([encoded(f"newer {n}") for n in range(200)])
    assert path.stat().st_ino != before
    assert_same(mapped, copied)
    with open_cache(path) as cache:
        assert_same(cache.open_features(KEYS[20:]), cache.read(KEYS[20:]))
    path.unlink()
    assert_same(mapped, copied)


def test_a_reader_keeps_to_the_file_that_it_opened(tmp_path: Path, path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        file["values"][:] += 1
    with open_cache(path) as cache:
        other.replace(path)
        assert_same(cache.open_features(KEYS), cache.read(KEYS))


def test_damage_is_told_before_anything_is_learnt_from_it(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["values"][7] += 1
        file["segments"][0] += 1
    with open_cache(path) as cache:
        with pytest.raises(CacheError, match=r"2 items are not what was written \(k1, k7\)"):
            cache.open_features(KEYS)
        assert len(cache.open_features(KEYS[8:])) == len(KEYS) - 8


def test_few_and_those_in_other_files_are_read(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_cache(tmp_path / "cache.zarr", SPEC) as folder:
        folder.append(ITEMS)
        assert type(folder.open_features(KEYS)) is Features
    monkeypatch.setattr(mapping, "MAPPED_BYTES", 4 * SPEC.dim * (50 + sum(n % 3 for n in range(50))))
    with open_cache(path) as cache:
        assert type(cache.open_features(KEYS)) is MappedFeatures
        assert type(cache.open_features(KEYS[1:])) is Features
        assert_same(cache.open_features([]), cache.read([]))


def test_a_file_that_cannot_be_mapped_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("mmap.mmap", refuse)
    with open_cache(path) as cache:
        assert_same(cache.open_features(KEYS), cache.read(KEYS))


def test_heads_are_trained_and_used_alike(path: Path) -> None:
    labels = torch.arange(50) % 2
    objective = make_objective("emo_clim", ("audio", "image"), [{}])
    config, found = TrainConfig(epochs=2, batches_per_epoch=3, val_batches=1, batch_size=8), []
    for audio in both(path, KEYS):
        image = replace(audio, spec=replace(SPEC, modality="image", settings={"views": 2}))
        assert image.without_views().n_segments == 0 < image.n_segments
        split = Split({"audio": audio, "image": image}, dict.fromkeys(("audio", "image"), labels), ("glad", "sad"))
        heads = train_heads(split, split, objective, [(0.25,) * 4], config, device="cpu").heads
        outputs = [heads.outputs(one, average=how)[one.spec.modality] for one in (audio, image) for how in AVERAGES]
        found.append([*heads.banks.state_dict().values(), *outputs])
    assert all(map(torch.equal, *found))
