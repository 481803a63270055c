"""The table of a library's items: what it keeps of each, which files changed, and which items filters choose."""

import os
from pathlib import Path

import numpy as np
import pytest

from emoclim.data import Fingerprint, Item
from emoclim.errors import ConfigError
from emoclim.index.filters import Filters, parse_filters
from emoclim.index.items import NOTHING, Entry, ItemTable, file_state, read_items, write_items
from emoclim.index.selecting import select

FILES = {"jazz/a.flac": 10.0, "jazz/live/b.MP3": 200.0, "jazzy/c.flac": 0.0, "d.ogg": 60.0}


@pytest.fixture
def table(tmp_path: Path) -> ItemTable:
    """Four files, one of them of unknown length, one elsewhere, and a text."""
    for name in FILES:
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / name).write_bytes(b"x" * len(name))
    (tmp_path / "e.flac").write_bytes(b"")
    items = [Item(name, tmp_path / "music" / name) for name in FILES]
    items += [Item("é", tmp_path / "e.flac", start=1.5, duration=2.0, label="joy"), Item("poem", text="a sunny day")]
    lengths = [*FILES.values(), 2.0, 0.0]
    states = [Fingerprint(*file_state(item.path), "0f" * 16) if item.path else NOTHING for item in items]
    facts = zip(items, states, lengths, strict=True)
    entries = [Entry(item, f"key {item.id}", state, length) for item, state, length in facts]
    write_items(tmp_path / "items.arrow", entries, tmp_path / "music")
    read = read_items(tmp_path / "items.arrow", tmp_path / "music")
    assert [read.item(row) for row in range(len(read))] == items
    return read


def test_columns_are_sequences(table: ItemTable, tmp_path: Path) -> None:
    ids = [*FILES, "é", "poem"]
    assert list(table.ids) == ids
    assert (table.ids[-1], list(table.ids[1:3]), "é" in table.ids) == ("poem", ids[1:3], True)
    assert table.ids == ids
    assert table.ids == read_items(tmp_path / "items.arrow", tmp_path).ids
    assert table.ids != [*ids[:-1], "rhyme"]
    assert (table.formats, table.folders[-3:]) == (["flac", "mp3", "ogg"], ["jazz", "jazz/live", "jazzy"])
    assert table.key(1) == "key jazz/live/b.MP3"


def test_a_file_that_changed_or_is_gone_is_found(table: ItemTable) -> None:
    assert table.changed_file() is None
    file = table.root / "jazz" / "a.flac"
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert table.changed_file() == file
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert table.changed_file() is None
    (table.root / "d.ogg").unlink()
    assert table.changed_file() == table.root / "d.ogg"


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (["folder=jazz"], [0, 1]),
        (["folder=/jazz/live/"], [1]),
        (["format=flac"], [0, 2, 4]),
        (["format=.mp3", "format=OGG"], [1, 3]),
        (["seconds=10:60"], [0, 3]),
        (["seconds=:60"], [0, 3, 4]),
        (["seconds=60:"], [1, 3]),
        (["emotion=joy"], [0, 5]),
        (["folder=jazz", "emotion=joy", "format=flac"], [0]),
        (["folder=jazz/live", "format=ogg"], []),
    ],
)
def test_filters_choose_items(table: ItemTable, given: list[str], rows: list[int]) -> None:
    only = parse_filters(given)
    assert only is not None
    joyful = np.array([True, False, False, False, False, True])
    assert select(only, table, "music", {"joy": joyful}.__getitem__).nonzero()[0].tolist() == rows


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["folder=rock"], "'rock'; there are: .*jazz, jazz/live, jazzy"),
        (["format=wav"], "'wav'; there are: flac, mp3, ogg"),
        (["seconds=5"], "no range"),
        (["seconds=a:b"], "no range"),
        (["seconds=9:1"], "no range"),
        (["seconds=nan:1"], "no range"),
        (["folder=jazz", "folder=rock"], "twice"),
        (["folder="], "write one of"),
        (["mood=joy"], "write one of"),
    ],
)
def test_what_no_item_is_and_what_cannot_be_asked_is_told(table: ItemTable, given: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        select(parse_filters(given) or Filters(), table, "music", {}.__getitem__)


def test_each_folder_that_is_listed_can_be_asked_for(table: ItemTable) -> None:
    assert [table.folder(row) for row in range(6)] == ["jazz", "jazz/live", "jazzy", "", str(table.root.parent), ""]
    assert [table.length(row) for row in range(6)] == [10, 200, None, 60, 2, None]
    for folder in table.folders:
        chosen = select(Filters(folder=folder), table, "music", {}.__getitem__)
        assert {folder} <= {table.folder(row) for row in np.flatnonzero(chosen)}


def test_nothing_is_asked_by_no_filters() -> None:
    assert parse_filters([]) is None
    with pytest.raises(ConfigError, match="no range"):
        Filters(seconds=(2, 1))
