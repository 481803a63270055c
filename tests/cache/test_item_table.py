"""Items of a cache by the ids that manifests give them."""

import csv
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cache_files
import numpy as np
import pytest
import torch
from cache_files import fill
from contracts import SPEC, encoded
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emoclim.cache import (
    STATES,
    ItemStatus,
    keys_by_id,
    open_cache,
    read_item_table,
    status_columns,
    write_imported_table,
    write_item_table,
)
from emoclim.data import Texts
from emoclim.errors import CacheError

path = cache_files.path


def write_table(cache: Path, manifest: str, *rows: str) -> Path:
    table = cache.with_name(f"{cache.stem}.{manifest}.items.csv")
    table.write_text("".join(f"{row}\n" for row in ("id,state,key,reason", *rows)))
    return table


def test_ids_are_looked_up_in_the_tables_beside_the_cache(path: Path) -> None:
    fill(path)
    write_table(path, "photos", "b/1.jpg,committed,b,", "f.jpg,failed,f,too short", '"a, again.jpg",committed,a,')
    write_table(path, "more", "d,missing,,", "three,committed,c,", "b/1.jpg,committed,b,")
    with open_cache(path) as cache:
        features = cache.features(["three", "b/1.jpg", "a, again.jpg", "three", "d"])
        assert features.ids == ("three", "b/1.jpg", "a, again.jpg", "three", "d")
        assert torch.equal(features.values, cache.read(list("cbacd")).values)
        assert torch.equal(features.values[1], encoded("b").value)


def test_ids_that_are_not_there_are_counted_and_named(path: Path) -> None:
    fill(path)
    write_table(
        path, "photos", "1.jpg,committed,b,", "f.jpg,failed,f,too short", "g.jpg,missing,,", "h,committed,gone,"
    )
    with open_cache(path) as cache, pytest.raises(CacheError, match=r"4 of the 5 items .* \(f.jpg, g.jpg, h, i.jpg\)"):
        cache.features(["1.jpg", "f.jpg", "g.jpg", "h", "i.jpg"])


def test_an_id_of_two_contents_is_refused(path: Path) -> None:
    fill(path)
    write_table(path, "old", "1.jpg,committed,a,", "2.jpg,committed,b,")
    write_table(path, "new", "1.jpg,committed,c,", "2.jpg,failed,d,gone")
    with open_cache(path) as cache:
        match = r"'1.jpg' .* cache.new.items.csv and cache.old.items.csv"
        with pytest.raises(CacheError, match=match):
            cache.features(["2.jpg", "1.jpg"])
        assert torch.equal(cache.features(["2.jpg"]).values[0], encoded("b").value)


def test_an_id_of_an_import_and_of_a_manifest_is_refused(path: Path) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append([encoded("id:1"), encoded("a")])
        write_table(path, "m", "1,committed,a,")
        with pytest.raises(CacheError, match="'1' .* imported and cache.m.items"):
            cache.features(["1"])
        write_table(path, "m", "1,committed,id:1,")
        assert torch.equal(cache.features(["1"]).values[0], encoded("id:1").value)


def test_tables_of_other_caches_are_not_looked_at(path: Path) -> None:
    fill(path)
    write_table(path.with_stem("cache2"), "m", "1,committed,a,")
    path.with_name("cache.m.failures.csv").write_text("id,path,reason\n")
    with open_cache(path) as cache, pytest.raises(CacheError, match="1 of the 1 items"):
        cache.features(["1"])


HOSTILE = "'=+-@\t\r\n\x1b\x9b\\x1b0a, \""  # what spreadsheets run and terminals obey, and what such is written as


@given(text=st.text(HOSTILE))
@example(text="=cmd|' /C calc'!A0")
@example(text="\x1b]0;owned\x07")
@example(text="\\\x1b\\\\x1b")
def test_no_cell_is_run_or_obeyed_and_each_is_read_unchanged(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("table") / "cache.h5"
    statuses = [ItemStatus(text, "failed", text, text)]
    table = write_item_table(cache, "m", statuses)
    assert read_item_table(table) == statuses
    written = table.read_text().removesuffix("\n").split("\n")
    assert len(written) == 2
    assert not any(control in written[1] for control in "\t\r\x1b\x9b")
    for cell in next(csv.reader(written[1:])):
        assert not cell.startswith(("=", "+", "-", "@"))


@given(st.lists(st.tuples(st.text(HOSTILE, max_size=3), st.sampled_from(STATES), st.text(max_size=3)), max_size=9))
@settings(deadline=None)
@example([("a", "committed", "id:a"), ("é", "failed", ""), ("", "missing", "k"), ("x,y", "left out", "")])
def test_columns_are_those_of_the_rows(rows: list[Any]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoclim.cache.statuses.BLOCK", 40)
        statuses = [ItemStatus(f"{n}", "committed", f"id:{n}") for n in range(9)] + [ItemStatus(*row) for row in rows]
        table = write_item_table(Path(folder, "cache.h5"), "m", statuses)
        columns = list(status_columns(table))
        found = [row for column in columns for row in zip(*column, strict=True)]
        assert found == [status[:3] for status in statuses]
        assert len(columns) > 1


def test_a_reason_that_is_no_text_is_written(tmp_path: Path) -> None:
    table = write_item_table(tmp_path / "cache.h5", "m", [ItemStatus("a", "failed", "", "no file \udcff")])
    assert read_item_table(table)[0].reason == "no file \\udcff"


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_only_a_file_is_read_as_a_table(path: Path, what: str) -> None:
    fill(path)
    elsewhere = write_table(path.with_stem("other"), "m", "1,committed,a,")
    table = path.with_name("cache.m.items.csv")
    table.symlink_to(elsewhere) if what == "link" else os.mkfifo(table)
    with open_cache(path) as cache, pytest.raises(CacheError, match=what if what == "link" else "regular"):
        cache.features(["1"])


@pytest.mark.parametrize(
    "content", [b"", b"id,path\n", b"id,state,key,reason\n1,committed\n", b"id,state,key,reason\n\0"]
)
def test_what_is_no_table_is_told(path: Path, content: bytes) -> None:
    fill(path)
    table = write_table(path, "m")
    table.write_bytes(content)
    with pytest.raises(CacheError, match="table of items"):
        list(status_columns(table))
    with open_cache(path) as cache:
        with pytest.raises(CacheError, match=r"cache.m.items.csv"):
            cache.features(["1"])
        assert cache.features(["a"]).ids == ("a",)  # a key needs no table


ODD = ["a,b", 'a "b"', "=1", "-1", "'+1", "a\x1bb", "a\\x1b", "é", "\ufffd", "a\u2028b", "\ud800", "a\n", " a", "\\"]


@pytest.mark.parametrize("odd", ODD)
def test_the_table_of_many_imported_items_is_that_of_their_states(
    tmp_path: Path, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoclim.cache.item_table.ROWS", 16)
    ids = [f"songs/{n}.wav" for n in range(70)]
    ids[20] = odd
    there = (np.arange(70) % 5 > 0) | (np.arange(70) > 40)
    keys = keys_by_id(ids)
    assert keys == [f"id:{id_}" for id_ in ids]
    states = [
        ItemStatus(id_, "committed" if held else "missing", key)
        for id_, held, key in zip(ids, there, keys, strict=True)
    ]
    write_imported_table(tmp_path / "x.h5", "many", Texts.of(ids), there)
    plain = write_item_table(tmp_path / "x.h5", "plain", states)
    assert (tmp_path / "x.many.items.csv").read_bytes() == plain.read_bytes()
