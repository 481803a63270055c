"""Files that appear whole or not at all, and JSON that answers damage with one sentence."""

import math
import os
from pathlib import Path
from typing import Any

import pytest

from emoclim.errors import ConfigError, RunError
from emoclim.files import atomic, open_regular, read_json, read_toml, remove, require_memory, write_json


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "scores.txt"
    with atomic(target) as partial:
        partial.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(target) as partial:
        partial.write_text("half")
        assert target.read_text() == "old"
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["scores.txt"]


def test_a_folder_appears_with_all_its_files_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), atomic(target) as partial:
        (partial / "below").mkdir(parents=True)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with atomic(target) as partial:
        (partial / "below").mkdir(parents=True)
        (partial / "below" / "x").write_text("1")
    assert (target / "below" / "x").read_text() == "1"


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    with atomic(tmp_path / "x") as one, atomic(tmp_path / "x") as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert (tmp_path / "x").read_text() == "1"  # the outer one was finished last


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1, 0.1, None, "ä"]})
    assert read_json(tmp_path / "x.json", RunError, "train again") == {"a": [1, 0.1, None, "ä"]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": math.nan})
    assert read_json(tmp_path / "x.json", RunError, "train again")["a"][0] == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b'{"a": "\xff"}', b"[1]", b'{"a": NaN}', b"\x00" * 64], ids=range(7)
)
def test_damaged_json_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match="train again") as caught:
        read_json(path, RunError, "train again", dict[str, int])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_of_other_types_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": {"b": "c"}}')
    with pytest.raises(RunError, match=r"a\.b"):
        read_json(path, RunError, "train again", dict[str, dict[str, int]])


def test_json_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file"):
        read_json(tmp_path / "x.json", RunError, "train again")
    with pytest.raises(RunError, match="regular"):
        read_json(tmp_path, RunError, "train again")


@pytest.mark.parametrize(
    "content",
    [b"x = 1\ny", b"x = " + b"[" * 5_000, b"x" + b".x" * 5_000 + b" = 1", b"x = '\xff'", b"x = " + b"1" * 5_000],
    ids=["damaged", "brackets", "dots", "bytes", "digits"],
)
def test_a_toml_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(RunError, match="write it anew") as caught:
        read_toml(path, RunError, "write it anew", dict[str, Any])
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_byte_order_mark_is_no_part_of_a_toml_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfx = 1")
    assert read_toml(tmp_path / "x.toml", RunError, "write it anew", dict[str, int]) == {"x": 1}


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="regular|directory"):
            open_regular(path)
        with pytest.raises(RunError, match="train again"):
            read_json(path, RunError, "train again")
    (tmp_path / "file").write_bytes(b"content")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"


def test_a_file_may_take_memory_in_proportion_to_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(100))
    require_memory(path, 250_000_000, RunError)
    with pytest.raises(RunError, match=r"data\.bin of 100 bytes says that it holds 4\.4 GB.* EMOCLIM_MEMORY_LIMIT=5"):
        require_memory(path, 4_400_000_000, RunError)
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "5")
    require_memory(path, 4_400_000_000, RunError)
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "0")
    require_memory(path, 1600, RunError)
    for place in (path, tmp_path):
        with pytest.raises(RunError):
            require_memory(place, 1601, RunError)
    for value in ("much", "-1", "nan"):
        monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", value)
        with pytest.raises(ConfigError, match="a number of GB"):
            require_memory(path, 1, RunError)


def test_no_link_is_followed_to_a_file_of_ours(tmp_path: Path) -> None:
    write_json(tmp_path / "file", {"a": 1})
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read()
    with pytest.raises(OSError, match="link"):
        open_regular(tmp_path / "link", follow=False)
    with pytest.raises(RunError, match="link"):
        read_json(tmp_path / "link", RunError, "train again")


def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr("os.rmdir", refuse)
        remove(tmp_path / "folder")
    remove(tmp_path / "folder")
    remove(tmp_path / "folder")  # it is gone
    assert not (tmp_path / "folder").exists()


def test_an_error_is_told_though_what_was_written_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.rmdir", refuse)
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "folder") as partial:
        partial.mkdir()
        raise ZeroDivisionError


def refuse(*_: object, **__: object) -> None:
    raise PermissionError


def test_holes_of_a_file_are_not_taken_for_its_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"{}")
    os.truncate(tmp_path / "file", 2**40)
    with pytest.raises(RunError, match=r"1\.1e\+03 GB"):
        read_json(tmp_path / "file", RunError, "train again")
