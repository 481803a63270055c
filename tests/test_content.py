"""Content keys: what they depend on, and the memo that spares rereading."""

import os
from pathlib import Path

import pytest

from emoclim.data import content
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item
from emoclim.errors import DecodeError


def test_keys_follow_the_bytes_and_not_the_path(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).write_text(text)
    a, b, c = (ContentKeys()(Item(name, tmp_path / name)) for name in "abc")
    assert a == b
    assert a != c


def test_parts_of_a_file_have_keys_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "song"
    path.write_text("la")
    keys = {ContentKeys()(Item("x", path, start=start)) for start in (None, 0.0, 1.5)}
    assert len(keys) == 3


def test_text_is_content_too() -> None:
    assert ContentKeys()(Item("x", text="joy")) != ContentKeys()(Item("x", text="fear"))


def test_the_memo_spares_rereading_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memo = tmp_path / "song", tmp_path / "memo.json"
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


def test_a_memo_that_is_not_trusted_or_spoilt_is_made_again(tmp_path: Path) -> None:
    path, memo = tmp_path / "song", tmp_path / "memo.json"
    path.write_text("la")
    key = ContentKeys()(Item("x", path))
    for text in (f'{{"{path}": [2, {path.stat().st_mtime_ns}, "wrong"]}}', "no json"):
        memo.write_text(text)
        distrustful = ContentKeys(memo, trust=False)
        assert distrustful(Item("x", path)) == key
        distrustful.save()
        assert key in memo.read_text()


@pytest.mark.parametrize(
    ("name", "message"), [("gone", "the file is missing"), ("folder", "this is a folder"), ("pipe", "a pipe")]
)
def test_what_is_no_file_is_told(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DecodeError, match=message):
        ContentKeys()(Item("x", tmp_path / name))
