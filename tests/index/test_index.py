"""The index of a library: equal to what is embedded at once, extended, and whole or as it was if it is stopped."""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch

from emoclim.data.features import Features, FeatureSpec
from emoclim.data.manifest import Item
from emoclim.index import building
from emoclim.index.building import IndexedLibrary, build_index
from emoclim.index.index import FORMAT, Index, Source, load_reader, read_index, save_reader
from emoclim.index.items import NOTHING
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.heads import Heads
from emoclim.learning.objectives.base import Objective
from emoclim.progress import silent
from emoclim.stages import EmotionReader, embed

SPEC = FeatureSpec("any", "audio", 6, "none", {})
KEY = {"format": FORMAT}
SOURCE = Source("m", "c", "l", unlabelled=True, items=9)


def heads(seed: int = 3) -> Heads:
    generator = torch.Generator().manual_seed(seed)
    return Heads(Banks({"audio": HeadBank(1, 6, 16, 8, dropout=0.5, generator=generator).eval()}), {"audio": SPEC})


def features(keys: Sequence[str]) -> Features:
    """Features by key, with as many segments as its last digit says, of lengths that differ."""
    counts = [int(key[-1]) for key in keys]
    draws = [torch.Generator().manual_seed(crc32(key.encode())) for key in keys]
    rows = [torch.randn(n, 6, generator=draw) * (n + 1) for draw, n in zip(draws, counts, strict=True)]
    offsets = torch.tensor([0, *counts]).cumsum(0)
    values = torch.stack([row.mean(dim=0) if len(row) else torch.ones(6) for row in rows])
    starts = torch.cat([torch.arange(n) * 2.0 for n in counts])
    return Features(SPEC, tuple(keys), values, torch.cat(rows), offsets, starts, torch.tensor(counts) * 2.0)


class Reading:
    """Reads features, and notes of what."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, keys: Sequence[str]) -> Features:
        self.keys += keys
        return features(keys)


def library(root: Path, keys: Sequence[str], read: Any = features, pair: Heads | None = None) -> IndexedLibrary:
    items = [Item(f"id {n} of {key}", root / f"{key}.wav", label="joy") for n, key in enumerate(keys)]
    others = [Item("bad", root / "bad.wav")]
    parts = root, items, keys, others, lambda _: NOTHING, read, pair or heads()
    return IndexedLibrary(*parts, "embeddings", fitted=False)


def made(root: Path, keys: Sequence[str], read: Any = features) -> Index:
    folder = root / "index"
    return build_index(folder, KEY, SOURCE, library(root, keys, read), read_index(folder, root), silent)


def check(index: Index, order: Sequence[str]) -> None:
    """See that an index holds what heads make of items in that order, at once."""
    whole = embed(features(order), heads())
    assert index.embedded.vectors.allclose(whole.vectors, atol=1e-6)
    assert [id_.split()[-1] for id_ in index.embedded.ids] == list(order)
    assert [index.items.item(row).path for row in range(len(order))] == [
        index.items.root / f"{key}.wav" for key in order
    ]
    assert index.items.seconds.tolist() == [2.0 * int(key[-1]) for key in order]
    own, expected = index.embedded.segments, whole.segments
    assert own is not None
    assert expected is not None
    assert own.offsets.tolist() == expected.offsets.tolist()
    assert own.starts.tolist() == expected.starts.tolist()
    compared = slice(9)  # of distances, the last entry of a passage is compared with 0
    assert own.vectors[:, compared].allclose(expected.vectors[:, compared], atol=1e-6)
    assert not index.damaged()


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_blocks_hold_what_is_embedded_at_once(tmp_path: Path, metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "vectors", lambda _self, modality, outputs: (outputs[modality], metric))
    monkeypatch.setattr(building, "BLOCK", 3)
    keys = ["a2", "b0", "c3", "d1", "c3", "e1", "f4", "g0"]  # one of them twice
    check(made(tmp_path, keys), keys)
    read = read_index(tmp_path / "index", tmp_path)
    assert read is not None
    check(read, keys)
    assert [read.others.item(0).id, read.items.item(0).label] == ["bad", "joy"]


def test_what_is_new_is_embedded_and_what_is_gone_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "BLOCK", 2)
    made(tmp_path, ["a2", "b0", "c3"])
    read, before = Reading(), set((tmp_path / "index").glob("*.bin"))
    index = made(tmp_path, ["d1", "a2", "b0", "a2", "c3"], read)
    assert sorted(set(read.keys)) == ["a2", "d1"]  # a2 lies there twice now
    check(index, ["a2", "b0", "c3", "d1", "a2"])
    assert set((tmp_path / "index").glob("*.bin")) == before
    read = Reading()
    check(made(tmp_path, ["c3", "d1", "a2"], read), ["c3", "d1", "a2"])
    assert len(list((tmp_path / "index").iterdir())) == 7
    assert not read.keys


def test_wherever_it_is_stopped_an_index_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop it at each write and each flush in turn, once by hand and once by a full disk."""
    monkeypatch.setattr(building, "BLOCK", 2)
    first, then = ["a2", "b0", "c3"], (["a2", "b0", "c3", "d1", "e2", "f1"], ["c3", "e2"])
    for stop in (KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))):
        for wanted in then:
            for after in range(99):
                root = tmp_path / f"{type(stop).__name__}-{len(wanted)}-{after}"
                made(root, first)
                left = [after]

                def stopped(call: Any, stop: BaseException = stop, left: list[int] = left) -> Any:
                    def now(*given: Any) -> Any:
                        left[0] -= 1
                        if left[0] < 0:
                            raise stop
                        return call(*given)

                    return now

                with monkeypatch.context() as patch:
                    patch.setattr(os, "write", stopped(os.write))
                    patch.setattr(os, "fsync", stopped(os.fsync))
                    with suppress(KeyboardInterrupt, OSError):
                        made(root, wanted)
                index = read_index(root / "index", root)
                assert index is not None
                check(index, wanted if len(index.items) == len(wanted) else first)
                check(made(root, wanted), wanted)
                if left[0] >= 0:
                    break
            assert after > 5


def test_damage_is_found_and_an_index_of_another_version_is_none(tmp_path: Path) -> None:
    index = made(tmp_path, ["a2", "b0", "c3"])
    file = tmp_path / "index" / index.note.numbers["segments"].name
    file.write_bytes(file.read_bytes()[:-1] + b"\7")
    read = read_index(tmp_path / "index", tmp_path)
    assert read is not None
    assert read.damaged() == [file.name]
    note = tmp_path / "index" / "index.json"
    note.write_text(note.read_text().replace('"format": 1', '"format": 0'))
    assert read_index(tmp_path / "index", tmp_path) is None


def test_what_reads_emotions_is_kept(tmp_path: Path) -> None:
    centroids = torch.randn(2, 8).double()
    reader = EmotionReader(("joy", "fear"), heads(), "embeddings", centroids, {"audio": 0.3}, {"audio": (1,)})
    tmp_path.joinpath("index").mkdir()
    save_reader(tmp_path / "index", reader)
    assert load_reader(tmp_path / "index", heads(), "embeddings") is not None
    found = load_reader(tmp_path / "index", reader.heads, "embeddings")
    assert found is not None
    assert found.read(features(["a2"])) == reader.read(features(["a2"]))
    (tmp_path / "index" / "reader.safetensors").write_bytes(b"spoilt")
    assert load_reader(tmp_path / "index", heads(), "embeddings") is None
