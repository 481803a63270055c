"""Content keys: what they depend on, and the memo that spares rereading."""

import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emoclim.data import content
from emoclim.data.content import ContentKeys, read_fingerprint
from emoclim.data.items import known_files
from emoclim.data.items.known_files import Fingerprint
from emoclim.data.manifest import Item
from emoclim.data.media import checks, sound
from emoclim.data.media.images import image
from emoclim.errors import DecodeError, PassingError


def test_keys_follow_the_bytes_and_not_the_path(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).write_text(text)
    a, b, c = (ContentKeys()(Item(name, tmp_path / name)) for name in "abc")
    assert a == b
    assert a != c


def test_parts_of_a_file_have_keys_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "song"
    path.write_text("la")
    parts = ((None, None), (0.0, None), (1000.001, None), (1000.002, None), (None, 0.0), (None, 2.0))
    keys = {ContentKeys()(Item("x", path, start=start, duration=duration)) for start, duration in parts}
    assert len(keys) == len(parts)
    assert ContentKeys()(Item("x", path, start=0.0, duration=2.0)) in keys


def test_text_is_content_too() -> None:
    assert ContentKeys()(Item("x", text="joy")) != ContentKeys()(Item("x", text="fear"))


def test_the_memo_spares_rereading_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memo = tmp_path / "song", tmp_path / "memo.sqlite"
    path.write_text("la")
    first = ContentKeys(memo)
    key = first(Item("x", path))
    first.save()
    monkeypatch.setattr(content, "hash_bytes", lambda path: pytest.fail("read again"))
    assert ContentKeys(memo)(Item("x", path)) == key
    monkeypatch.undo()
    path.write_text("lo")
    os.utime(path, ns=(0, 0))
    assert ContentKeys(memo)(Item("x", path)) != key


def test_a_file_of_a_date_that_no_memo_holds_is_read_again(tmp_path: Path) -> None:
    memo = tmp_path / "memo.sqlite"
    keys, items = ContentKeys(memo), [Item(name, tmp_path / name) for name in ("song", "dated beyond 2262")]
    for item, changed in zip(items, (1, 2**63), strict=True):
        (tmp_path / item.id).write_text(item.id)
        keys.learn(item, Fingerprint(9, changed, item.id))
    keys.save()
    assert list(kept(memo)) == [str(tmp_path / "song")]


def kept(memo: Path) -> dict[str, tuple[int, int, str]]:
    """What a memo holds, by the name of a file."""
    with closing(sqlite3.connect(memo)) as opened:
        return {os.fsdecode(name): tuple(row) for name, *row in opened.execute("SELECT * FROM files")}


def write_memo(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path)) as memo:
        memo.execute("CREATE TABLE files (name BLOB PRIMARY KEY, size, changed, digest) WITHOUT ROWID")
        memo.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", rows)
        memo.commit()


def forged(path: Path) -> tuple[Any, ...]:
    return os.fsencode(path), 2, path.stat().st_mtime_ns, "wrong"


@pytest.mark.parametrize("whole", [100, 0])
@pytest.mark.parametrize("how", ["untrusted", "no database", "other tables", "other columns", "of other kinds", "torn"])
def test_a_memo_that_is_not_trusted_or_spoilt_is_made_again(
    tmp_path: Path, how: str, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "READ_WHOLE", whole)
    path, memo = tmp_path / "song", tmp_path / "memo.sqlite"
    path.write_text("la")
    key = ContentKeys()(Item("x", path))
    if how == "no database":
        memo.write_text("no database at all" * 100)
    elif how in ("other tables", "other columns"):
        with closing(sqlite3.connect(memo)) as opened:
            opened.execute(f"CREATE TABLE {'files' if how == 'other columns' else 'others'} (a, b)")
    else:
        name, size, changed, digest = forged(path)
        kinds = (name, "2", None, 5) if how == "of other kinds" else (name, size, changed, digest)
        write_memo(memo, [kinds, *((f"{n}".encode(), 1, 1, "x" * 99) for n in range(300))])
        if how == "torn":
            memo.write_bytes(memo.read_bytes()[:5000])
    fresh = ContentKeys(memo, trust=how != "untrusted")
    assert fresh(Item("x", path)) == key
    fresh.save()
    assert kept(memo)[str(path)][2] == key
    assert list(tmp_path.iterdir()) in ([path, memo], [memo, path])


def test_what_a_killed_writer_left_half_done_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memo, written = tmp_path / "song", tmp_path / "memo.sqlite", tmp_path / "written.sqlite"
    path.write_text("la")
    keys = ContentKeys(written)
    key = keys(Item("x", path))
    keys.save()
    with closing(sqlite3.connect(written)) as killed:
        killed.execute("PRAGMA cache_size = 1")
        killed.execute("UPDATE files SET digest = 'half done'")
        killed.executemany("INSERT INTO files VALUES (?, 1, 1, 'x')", [(b"%d" % n * 99,) for n in range(999)])
        shutil.copy(written, memo)
        shutil.copy(f"{written}-journal", f"{memo}-journal")
    assert b"half done" in memo.read_bytes()
    monkeypatch.setattr(content, "hash_bytes", lambda path: pytest.fail("read again"))
    assert ContentKeys(memo)(Item("x", path)) == key
    assert len(kept(memo)) == 1


def test_what_earlier_versions_kept_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other, memo = tmp_path / "song", tmp_path / "other", tmp_path / "memo.sqlite"
    path.write_text("la")
    other.write_text("lo")
    known = {str(path): [2, path.stat().st_mtime_ns, "known before"]}
    (tmp_path / "memo.json").write_text(json.dumps(known))
    assert ContentKeys(memo)(Item("x", path)) == "known before"
    untrusting = ContentKeys(memo, trust=False)
    untrusting(Item("y", other))
    untrusting.save()
    assert not (tmp_path / "memo.json").exists()
    monkeypatch.setattr(content, "hash_bytes", lambda path: pytest.fail("read again"))
    for one in (ContentKeys(memo), pickle.loads(pickle.dumps(ContentKeys(memo)))):
        assert one(Item("x", path)) == "known before"
        assert one(Item("y", other)) == ContentKeys(memo)(Item("y", other))
    (tmp_path / "memo.json").write_text("spoilt")
    assert ContentKeys(memo)(Item("x", path)) == "known before"


@pytest.mark.parametrize("whole", [100, 4, 0])
def test_a_large_memo_is_asked_and_written_part_by_part(
    tmp_path: Path, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "READ_WHOLE", whole)
    items = [Item(str(n), tmp_path / f"{n}") for n in range(12)]
    for item in items:
        Path(str(item.path)).write_text(item.id)
    memo = tmp_path / "memo.sqlite"
    first = ContentKeys(memo)
    keys = [first(item) for item in items]
    first.save()
    assert len(kept(memo)) == 12
    assert len(first._memo._known) <= whole  # not all of what was learnt stays in memory
    monkeypatch.setattr(content, "hash_bytes", lambda path: pytest.fail("read again"))
    again = ContentKeys(memo)
    assert [again(item) for item in items] == [first(item) for item in items] == keys


def test_only_a_file_of_its_own_is_a_memo(tmp_path: Path) -> None:
    path, memo, other = tmp_path / "song", tmp_path / "memo.sqlite", tmp_path / "other"
    path.write_text("la")
    write_memo(other, [forged(path)])
    before = other.read_bytes()
    for make in (lambda: os.mkfifo(memo), lambda: memo.symlink_to(other)):
        memo.unlink(missing_ok=True)
        make()
        keys = ContentKeys(memo)
        key = keys(Item("x", path))
        assert key == ContentKeys()(Item("x", path))
        keys.save()
        assert kept(memo)[str(path)][2] == key
    assert other.read_bytes() == before


def test_a_memo_that_cannot_be_kept_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "song").write_text("la")
    keys = ContentKeys(tmp_path / "song" / "memo.sqlite")
    keys(Item("x", tmp_path / "song"))
    keys.save()
    assert "cannot be kept" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"), [("gone", "the file is missing"), ("folder", "this is a folder"), ("pipe", "a pipe")]
)
def test_what_is_no_file_is_told(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DecodeError, match=message):
        ContentKeys()(Item("x", tmp_path / name))


@pytest.mark.parametrize(
    ("module", "look", "read"),
    [
        (checks, "stat_file", checks.check_file),
        (image, "check_file", image.read_image),
        (sound, "check_file", lambda item: sound.open_sound(item).__enter__()),
        (content, "stat_file", read_fingerprint),
    ],
    ids=["check", "image", "sound", "content"],
)
def test_a_device_that_takes_the_place_of_a_file_meanwhile_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, look: str, read: Callable[[Item], Any]
) -> None:
    path = tmp_path / "item"
    path.write_bytes(b"RIFF" + bytes(100))
    looked = getattr(module, look)

    def look_and_swap(it: Any) -> Any:
        found = looked(it)
        path.unlink()
        path.symlink_to("/dev/null")
        return found

    monkeypatch.setattr(module, look, look_and_swap)
    with pytest.raises(PassingError, match="no regular file"):
        read(Item("x", path))
