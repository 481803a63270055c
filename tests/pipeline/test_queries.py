"""Queries: what a path stands for, and which items of a library are equal to a file."""

import os
from pathlib import Path

import pytest

from emoclim.data.content import ContentKeys
from emoclim.data.items.known_files import Fingerprint
from emoclim.data.manifest import Item
from emoclim.errors import ConfigError, ManifestError
from emoclim.index.items import NONE, Entry, file_state, read_items, write_items
from emoclim.pipeline.searching.queries import CopyFinder, list_queries, modality_of
from emoclim.pipeline.searching.query_kinds import Blend, Point, file_or_words


def finder(folder: Path, items: list[Item], *, imported: bool = False) -> CopyFinder:
    """Make a table of items, with what is known of their content if their features are not imported."""
    entries = []
    for item in items:
        size, _ = file_state(item.path) if item.path else (NONE, NONE)
        known = "" if imported or (item.path and size == NONE) else ContentKeys()(item).partition("@")[0]
        entries.append(Entry(item, "", Fingerprint(size, NONE, known)))
    write_items(folder / "items.arrow", entries, folder)
    return CopyFinder(read_items(folder / "items.arrow", folder), ContentKeys())


@pytest.mark.parametrize("imported", [False, True])
def test_copies_are_found_by_content_whatever_their_name_or_part(tmp_path: Path, imported: bool) -> None:
    files = {name: tmp_path / name for name in ("asked.wav", "twin.wav", "other.wav", "longer.wav")}
    for name, path in files.items():
        path.write_bytes({"other.wav": b"xxxx", "longer.wav": b"asked"}.get(name, b"aske"))
    items = [Item(name, path) for name, path in files.items()]
    items += [Item("part", files["twin.wav"], start=1.0, duration=2.0), Item("gone", tmp_path / "gone.wav")]
    copies = finder(tmp_path, items, imported=imported)
    assert copies.find_rows(files["asked.wav"]) == [0, 1, 4]
    assert copies.find_rows(files["longer.wav"]) == [3]


def test_a_text_is_equal_to_the_file_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text("a sunny day", encoding="utf-8")
    copies = finder(tmp_path, [Item("1", text="a sunny day"), Item("2", text="a rainy day")])
    assert copies.find_rows(tmp_path / "poem.txt") == [0]


def test_a_query_without_a_file_is_known_by_its_path(tmp_path: Path) -> None:
    copies = finder(tmp_path, [Item("a", tmp_path / "a.jpg"), Item("b", tmp_path / "b.jpg")])
    assert copies.find_rows(tmp_path / "deep" / ".." / "a.jpg") == [0]


def test_a_folder_stands_for_what_lies_in_it_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    for name in ("b.JPG", "deep/a.flac", "notes.md"):
        (tmp_path / name).write_bytes(b"")
    assert list_queries(tmp_path, ("image", "audio")) == [tmp_path / "b.JPG", tmp_path / "deep" / "a.flac"]
    with pytest.raises(ManifestError, match="holds no text"):
        list_queries(tmp_path, ("text",))
    assert list_queries(tmp_path / "gone.jpg", ("image",)) == [tmp_path / "gone.jpg"]
    assert modality_of(Path("x.JPG"), ("audio", "image")) == "image"


def test_a_folder_that_cannot_be_listed_is_one_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> list[str]:
        raise PermissionError(13, os.strerror(13), str(tmp_path))

    monkeypatch.setattr("emoclim.pipeline.searching.queries.list_files", refuse)
    with pytest.raises(ManifestError, match="cannot be listed .Permission denied"):
        list_queries(tmp_path, ("image",))


def test_a_value_is_a_file_where_one_is_there_or_is_meant(tmp_path: Path) -> None:
    (tmp_path / "rain").write_bytes(b"")
    assert file_or_words(str(tmp_path / "rain")) == tmp_path / "rain"
    assert file_or_words("rian.wav") == Path("rian.wav")  # a slip is told, and not searched for as words
    assert file_or_words("rain") == "rain"
    assert file_or_words("so. much " * 99) == "so. much " * 99  # longer than names may be


@pytest.mark.parametrize("wrong", [(2, 0), (0, float("nan")), (-1.01, 1)])
def test_a_point_lies_in_the_plane(wrong: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="from -1 to 1"):
        Point(*wrong)


def test_a_blend_asks_for_something() -> None:
    with pytest.raises(ConfigError):
        Blend((), ("voices",))
