"""Large tables as columns against the same tables row by row."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emoclim.data import splits
from emoclim.data.grouping import annotated_items
from emoclim.data.items import columns, reading
from emoclim.data.items.columns import ItemColumns, columns_of, ids_of, select_items, values_of
from emoclim.data.manifest import Manifest, read_manifest
from emoclim.data.splits import with_splits
from emoclim.errors import ManifestError

N = 500


def cells(**changed: Any) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {
        "path": [f"songs/{n % 7}/é {n}.wav" for n in range(N)],
        "label": [["happy ", "sad", "", None, "fou\u0301", "fo\u00fa"][n] for n in draw.integers(6, size=N)],
        "split": [["train", "val", "test", " train"][n] for n in np.arange(N) % 20 // 5],
        "tags": [["a|b", " a | b", "c|", "", None][n] for n in draw.integers(5, size=N)],
        "group": [f"g{n % 20}" if n % 3 else None for n in range(N)],
        "pair": [f" p{n}" if n % 5 else "" for n in range(N)],
        **changed,
    }


def read_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], **how: bool
) -> tuple[Manifest, Manifest]:
    pq.write_table(
        pa.table({name: column for name, column in given.items() if column is not None}), folder / "m.parquet"
    )
    plain = read_manifest(folder / "m.parquet", "audio", need_files=False, **how)
    monkeypatch.setattr(reading, "LARGE", 1)
    monkeypatch.setattr(reading, "BLOCK", 64)
    monkeypatch.setattr(columns, "BLOCK", 64)
    return plain, read_manifest(folder / "m.parquet", "audio", need_files=False, **how)


CASES: dict[str, dict[str, Any]] = {
    "all": {},
    "ids": {"id": [f" item {n}" if n % 4 else None for n in range(N)]},
    "an id lacks at the end": {"id": [*map(str, range(N - 1)), None]},
    "few": {"label": None, "split": None, "tags": None, "group": None, "pair": None},
    "dictionaries": {"label": pa.array([f"l{n % 3}" for n in range(N)]).dictionary_encode()},
    "large": {"path": pa.array([f"{n}.wav" for n in range(N)], pa.large_string())},
    "quotes": {"path": [f"{n}.wav" if n < 99 else f'{n} "x" \\ \x7f.wav' for n in range(N)]},
    "bare": {"pair": [f"p{n}" if n % 5 else None for n in range(N)], "group": [f"g{n}" for n in range(N)]},
    "accents": {"pair": [("fou\u0301{}", "fo\u00fa{}")[n % 2].format(n // 2) for n in range(N)]},
    "slashes of an address": {"path": [f"https:{'/' * (n % 4 or 3)}h.org/{n}.wav" for n in range(N)]},
    "an address alone": {"path": ["ab:/", *(f"{n}.wav" for n in range(1, N))]},
    "a line end in an address": {"path": ["https://h.org/a\n?token=b", *(f"{n}.wav" for n in range(1, N))]},
    "a sign of our own": {"path": ["https://h.org/\x1fa.wav", *(f"{n}.wav" for n in range(1, N))]},
    "capitals": {"label": None, " Label ": [f"l{n % 3}" for n in range(N)]},
}


@pytest.mark.parametrize("unlabelled", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_columns_hold_what_rows_do(
    tmp_path: Path, case: str, unlabelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, large = read_both(tmp_path, monkeypatch, cells(**CASES[case]), unlabelled=unlabelled)
    assert isinstance(plain.items, tuple)
    assert isinstance(large.items, ItemColumns)
    assert tuple(large.items) == plain.items
    assert (len(large.items), large.items[3], large.items[-1]) == (N, plain.items[3], plain.items[-1])
    assert tuple(large.items[5:90:7]) == plain.items[5:90:7]
    assert tuple(pickle.loads(pickle.dumps(large.items))) == plain.items
    assert (large.digest(), large.notes) == (plain.digest(), plain.notes)
    assert ids_of(large.items) == ids_of(plain.items)
    for name in ("label", "tags", "split", "group", "pair", "numbers"):
        assert list(values_of(large.items, name)) == list(values_of(plain.items, name))
        assert values_of(large.items, name).counts() == values_of(plain.items, name).counts()
        assert list(columns_of(large.items, [name, "id"])) == list(columns_of(plain.items, [name, "id"]))
    chosen = np.arange(N) % 3 == 1
    assert list(select_items(large.items, chosen)) == select_items(plain.items, chosen) == list(plain.items[1::3])
    assert list(annotated_items(large.items)) == list(annotated_items(plain.items))


@pytest.mark.parametrize("case", [{}, {"split": None}, {"split": None, "label": None, "pair": None}])
@pytest.mark.parametrize("every", [False, True])
def test_splits_are_those_of_rows(
    tmp_path: Path, case: dict[str, None], every: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, large = read_both(tmp_path, monkeypatch, cells(**case, group=None))
    placed = [with_splits(one, 7, lambda item: item.id, every=every, keep=False) for one in (plain, large)]
    assert tuple(placed[1].items) == tuple(placed[0].items)


KEPT: dict[str, Callable[[str], str]] = {
    "as written": lambda table: table,
    "more": lambda table: table.replace("\n", "\nanother.wav,test\n", 1),
    "of all": lambda table: table + "".join(f"{path},test\n" for path in cells()["path"] if f"{path}," not in table),
    "unsorted": lambda table: "\n".join([*reversed(table.splitlines()[1:]), ""]).join(["id,split\n", ""]),
    "fewer": lambda table: table.rpartition("songs")[0],
    "quoted": lambda table: table.replace(",train", ',"train"'),
    "spaced": lambda table: table.replace(",", " , "),
    "no split": lambda table: table.replace(",test", ",rest"),
    "twice": lambda table: table + table.splitlines()[-1] + "\n",
    "moved": lambda table: table.replace(",train", ",val", 1),
    "header alone": lambda table: "id,split\n",
    "null characters": lambda table: table + "a\0,test\n",
    "cells astray": lambda table: table.replace(",train\n", "\ntrain,train,train,", 1),
}


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize("case", KEPT)
@pytest.mark.parametrize("grouped", [False, True])
def test_splits_that_are_kept_are_those_of_rows(
    tmp_path: Path, case: str, seed: int | None, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {} if grouped else {"group": None}
    plain, large = read_both(tmp_path, monkeypatch, cells(split=None, pair=None, **groups))
    with_splits(plain, 7, lambda item: item.id)
    kept = tmp_path / "m.splits.csv"
    table = KEPT[case](kept.read_text())
    found: list[Any] = []
    for one in (plain, large):
        kept.write_text(table)
        try:
            placed = with_splits(one, seed, lambda item: item.id)
            found.append((tuple(placed.items), placed.notes, kept.read_text()))
        except ManifestError as error:
            found.append(str(error))
    assert found[0] == found[1]
    if case == "as written":
        monkeypatch.setattr(splits, "assign_splits", lambda *_: pytest.fail("rows were looked at"))
        assert values_of(with_splits(large, seed).items, "split").counts().keys() - {None} == {"train", "val", "test"}


@pytest.mark.parametrize(
    "changed",
    [
        {"path": ["a.wav"] * N},
        {"path": ["", *(f"{n}.wav" for n in range(N - 1))]},
        {"id": [f"x{n % 400}" for n in range(N)]},
        {"split": ["training"] * N},
        {"split": [("train", "test")[n // 20 % 2] for n in range(N)]},
    ],
)
def test_what_is_wrong_is_told_as_of_rows(
    tmp_path: Path, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ManifestError) as plain:
        read_both(tmp_path, monkeypatch, cells(**changed))
    monkeypatch.setattr(reading, "LARGE", 1)
    with pytest.raises(ManifestError) as large:
        read_manifest(tmp_path / "m.parquet", "audio", need_files=False)
    assert str(large.value) == str(plain.value)


@pytest.mark.parametrize(
    "column",
    [
        {"start": [1.0] * N},
        {"valence": [0.5] * N, "arousal": [0.5] * N},
        {"tempo": [90] * N},
        {"title": ["x"] * N},
        {"tags": [["a", "b"]] * N},
    ],
)
def test_other_columns_are_read_row_by_row(
    tmp_path: Path, column: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, large = read_both(tmp_path, monkeypatch, cells(**column, group=None))
    assert large.items == plain.items
    assert (large.digest(), large.notes) == (plain.digest(), plain.notes)


def test_missing_files_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here.wav").touch()
    there = ["here.wav", "here.wav/", str(tmp_path / "here.wav"), "https://host/far.wav", "s3://bucket/far.wav"]
    pq.write_table(pa.table({"path": [*there, "gone.wav", "C:/gone.wav"]}), tmp_path / "m.parquet")
    plain = read_manifest(tmp_path / "m.parquet", "audio").notes
    monkeypatch.setattr(reading, "LARGE", 1)
    assert read_manifest(tmp_path / "m.parquet", "audio").notes == plain
    assert plain == ("2 of 7 files are missing: gone.wav, C:/gone.wav",)
