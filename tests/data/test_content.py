"""Content keys: what they depend on, and the memo that spares rereading."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emoclim.data import content
from emoclim.data.content import ContentKeys, read_fingerprint
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
    for text in (f'{{"{path}": [2, {path.stat().st_mtime_ns}, "wrong"]}}', "no json", "[]", '{"a": 5}'):
        memo.write_text(text)
        fresh = ContentKeys(memo, trust="wrong" not in text)
        assert fresh(Item("x", path)) == key
        fresh.save()
        assert key in memo.read_text()


def test_only_a_file_of_its_own_is_a_memo(tmp_path: Path) -> None:
    path, memo, other = tmp_path / "song", tmp_path / "memo.json", tmp_path / "other"
    path.write_text("la")
    forged = f'{{"{path}": [2, {path.stat().st_mtime_ns}, "wrong"]}}'
    other.write_text(forged)
    for make in (lambda: os.mkfifo(memo), lambda: memo.symlink_to(other), lambda: memo.write_text("[" * 100_000)):
        memo.unlink(missing_ok=True)
        make()
        keys = ContentKeys(memo)
        key = keys(Item("x", path))
        assert key == ContentKeys()(Item("x", path))
        keys.save()
        assert key in memo.read_text()
    assert other.read_text() == forged


def test_a_memo_that_cannot_be_kept_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "song").write_text("la")
    keys = ContentKeys(tmp_path / "song" / "memo.json")
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
