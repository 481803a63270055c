"""Files that appear whole or not at all, and JSON that answers damage with one sentence."""

import math
from pathlib import Path

import pytest

from emoclim.errors import RunError
from emoclim.files import atomic, read_json, write_json


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
    with pytest.raises(RunError, match="not there"):
        read_json(tmp_path / "x.json", RunError, "train again")
    with pytest.raises(RunError, match="regular"):
        read_json(tmp_path, RunError, "train again")
