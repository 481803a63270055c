"""Numbers of what belongs together, of rows and of columns, against numbers by name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emoclim.cache.ledger import keys
from emoclim.data import Item, partners_of, read_manifest
from emoclim.data.items import reading
from emoclim.data.items.columns import ItemColumns
from emoclim.pipeline.splits import PairNumbers

N = 300
SIGNS = ["", "a", "ab", " b ", "é", "e\u0301", "\uffff", "\U0001f600"]  # in no order


def names(seed: int, what: str) -> list[str]:
    draw = np.random.default_rng(seed)
    return [f"{SIGNS[n % len(SIGNS)]}{what}{m}" for n, m in enumerate(draw.permutation(N))]


def items_of(folder: Path, seed: int, pairs: list[str] | None) -> Any:
    columns = {"path": names(seed, "id")} | ({} if pairs is None else {"pair": pairs})
    pq.write_table(pa.table(columns), folder / f"{seed}.parquet")
    return read_manifest(folder / f"{seed}.parquet", "image", need_files=False).items


@pytest.mark.parametrize("newest", [10, 1 << 16])
@pytest.mark.parametrize("large", [(True, True), (True, False), (False, False)])
def test_numbers_are_those_by_name(
    large: tuple[bool, bool], newest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "NEWEST", newest)
    monkeypatch.setattr(keys, "BLOCK", newest)
    monkeypatch.setattr(reading, "BLOCK", 64)
    given = [name if n % 3 else "" for n, name in enumerate(names(3, "pair"))], names(4, "pair"), None
    every: list[Any] = []
    for seed, pairs in enumerate(given):
        monkeypatch.setattr(reading, "LARGE", 1 if large[seed % 2] else N + 1)
        every.append(items_of(tmp_path, seed, pairs))
        assert isinstance(every[-1], ItemColumns) is large[seed % 2]
    every.append((Item("\ud800", text="a lone surrogate"), Item("b", text="b", pair="\udfff"), every[0][7]))
    plain = [[item.pair or item.id for item in items] for items in every]
    places = {name: place for place, name in enumerate(sorted(set().union(*plain)))}
    numbers = PairNumbers(SimpleNamespace(manifest=SimpleNamespace(items=items)) for items in every)  # type: ignore[misc]
    for items, own in zip(every, plain, strict=True):
        assert list(partners_of(items)) == own
        assert numbers.of(partners_of(items)).tolist() == [places[name] for name in own]
        assert numbers.of(partners_of(items[1:3])).tolist() == [places[name] for name in own[1:3]]


def test_ids_may_lack_at_the_end_of_a_large_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE", 1)
    pq.write_table(pa.table({"path": ["a.png", "b.png"], "id": ["a", None]}), tmp_path / "m.parquet")
    assert [item.id for item in read_manifest(tmp_path / "m.parquet", "image", need_files=False).items] == [
        "a",
        "b.png",
    ]
