"""The caches on disk keep what was committed, whatever other processes do, writers leave behind, and bytes suffer."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cache_files
import h5py
import numpy as np
import pytest
import torch
from cache_files import (
    ITEMS,
    STORES,
    assert_holds,
    assert_same,
    die,
    edit_ledger,
    files,
    fill,
    ledger_text,
)
from contracts import DIM, SPEC, encoded

from emoclim.cache import open_cache
from emoclim.cache.formats import hdf5
from emoclim.cache.formats import zarr as zarr_store
from emoclim.cache.items import NewRows
from emoclim.cache.memory import MemoryCache
from emoclim.data.features import FeatureSpec
from emoclim.errors import CacheError

path, small_chunks = cache_files.path, cache_files.small_chunks

# One writer, any number of readers


def test_writer_comes_while_another_reads(path: Path, small_chunks: None) -> None:
    fill(path)
    with open_cache(path) as reader, open_cache(path, SPEC) as writer:
        before = reader.read(list("abcd"))
        writer.append([encoded(f"k{n}", 3) for n in range(50)])
        assert_same(reader.read(list("abcd")), before)
        assert len(writer.keys()) == 54


def test_reader_sees_what_was_committed_when_it_came(path: Path, small_chunks: None) -> None:
    with open_cache(path, SPEC) as writer:
        writer.append(ITEMS)
        with open_cache(path) as reader:
            before = reader.read(list("abcd"))
            writer.append([encoded(f"k{n}", 3) for n in range(50)])
            assert reader.keys() == frozenset("abcd")
            assert_same(reader.read(list("abcd")), before)
            with open_cache(path) as later:
                assert len(later.keys()) == 54
        assert_same(writer.read(list("abcd")), before)


def test_hdf5_structures_are_never_altered_in_place(tmp_path: Path) -> None:
    path = tmp_path / "cache.h5"
    fill(path)
    before = np.frombuffer(path.read_bytes(), np.uint8)
    with open_cache(path, SPEC) as cache:
        cache.append([encoded("e", 3), encoded("g")])
        cache.record_failure("h", "too short")
    after = np.frombuffer(path.read_bytes(), np.uint8)
    assert len(after) == len(before)
    changed = after != before
    assert changed.any()
    with h5py.File(path) as file:
        for table in file.values():
            for n in range(table.id.get_num_chunks()):
                chunk = table.id.get_chunk_info(n)
                changed[chunk.byte_offset : chunk.byte_offset + chunk.size] = False
    assert not changed.any()


def test_hdf5_link_stays_a_link(tmp_path: Path, small_chunks: None) -> None:
    (tmp_path / "large").mkdir()
    path, target = tmp_path / "cache.h5", tmp_path / "large" / "disk.h5"
    path.symlink_to(target)
    fill(path, [encoded(f"k{n}", 2) for n in range(20)])
    assert path.is_symlink()
    assert_holds(target, [encoded(f"k{n}", 2) for n in range(20)])


# What a writer that died leaves behind


@pytest.mark.parametrize("where", ["write", "write_line"])
def test_failed_append_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    fill(path)
    with open_cache(path, SPEC) as cache:
        with monkeypatch.context() as patch:
            patch.setattr(STORES[path.suffix], where, die)
            with pytest.raises(CacheError, match=r"none of these 2 items \(No space left"):
                cache.append([encoded("x", 9), encoded("y")])
        assert cache.keys() == frozenset("abcd")
        cache.append([encoded("x", 1), encoded("y", 2)])
    assert_holds(path, [*ITEMS, encoded("x", 1), encoded("y", 2)])


def test_rows_without_a_line_are_written_over(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_chunks: None
) -> None:
    fill(path)
    with monkeypatch.context() as patch:
        patch.setattr(STORES[path.suffix], "write_line", die)
        with suppress(CacheError), open_cache(path, SPEC) as cache:
            cache.append([encoded(f"lost{n}", 3) for n in range(30)])
    assert_holds(path, ITEMS)
    more = [encoded("e", 1), encoded("g", 2)]
    with open_cache(path, SPEC) as cache:
        cache.append(more)
    assert_holds(path, [*ITEMS, *more])


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_torn_last_line_counts_for_nothing(path: Path, kept: int) -> None:
    fill(path)
    whole = ledger_text(path)
    start = whole[:-1].rindex(b"\n") + 1  # of the last line
    edit_ledger(path, lambda text: text[:start] + text[start:][:kept])
    assert_holds(path, ITEMS[:2])
    with open_cache(path, SPEC) as cache:
        assert cache.failures() == {"f": "too short"}
        cache.append(ITEMS[2:])
    assert ledger_text(path) == whole
    assert_holds(path, ITEMS)


@pytest.mark.parametrize("line", [0, 1])
@pytest.mark.parametrize("edit", [lambda line: line.replace(b"0", b"1"), lambda _: b""])
def test_unsound_line_before_the_last(path: Path, line: int, edit: Callable[[bytes], bytes]) -> None:
    fill(path)
    with open_cache(path, SPEC) as cache:
        cache.append([encoded("e")])

    def spoil(text: bytes) -> bytes:
        lines = text.splitlines(keepends=True)
        lines[line * 2] = edit(lines[line * 2])
        return b"".join(lines)

    edit_ledger(path, spoil)
    with pytest.raises(CacheError, match="line [1234] of its ledger"):
        open_cache(path)


def spoil_last_lines(path: Path, count: int) -> None:
    """Change one byte within each of the last lines of the ledger."""

    def spoil(text: bytes) -> bytes:
        lines = text.splitlines(keepends=True)
        spoilt = [line[:20] + bytes([line[20] ^ 1]) + line[21:] for line in lines[-count:]]
        return b"".join([*lines[:-count], *spoilt])

    edit_ledger(path, spoil)


@pytest.mark.parametrize("spec", [None, SPEC])
@pytest.mark.parametrize("count", [2, 3])
def test_several_unsound_lines_at_the_end_are_damage(path: Path, spec: FeatureSpec | None, count: int) -> None:
    fill(path)
    spoil_last_lines(path, count)
    before = files(path)
    with pytest.raises(CacheError, match=f"line {4 - count} of its ledger"):
        open_cache(path, spec)
    assert files(path) == before


def test_a_spoilt_last_line_is_told_and_a_writer_warns(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path)
    with open_cache(path) as cache:
        assert cache.problems() == ()
    spoil_last_lines(path, 1)
    assert_holds(path, ITEMS[:2])
    with open_cache(path) as cache:
        (told,) = cache.problems()
        assert "extract again" in told
    assert caplog.record_tuples == []
    with open_cache(path, SPEC) as cache:
        ((_, level, told),) = caplog.record_tuples
        assert level == logging.WARNING
        assert f"last commit of cache {path}" in told
        cache.append(ITEMS[2:])
    assert_holds(path, ITEMS)
    with open_cache(path) as cache:
        assert cache.problems() == ()


def test_any_flipped_bit_of_the_ledger_is_told(path: Path) -> None:
    fill(path)
    text = ledger_text(path)
    for byte in [*range(0, len(text), 5), *(n for n, letter in enumerate(text) if letter == ord("\n"))]:
        spoilt = bytearray(text)
        spoilt[byte] ^= 1 << byte % 8
        edit_ledger(path, lambda _, spoilt=spoilt: bytes(spoilt))
        with suppress(CacheError), open_cache(path) as cache:
            assert cache.problems(), byte


def test_ledger_that_counts_more_than_there_is(path: Path, small_chunks: None) -> None:
    fill(path)
    items = [encoded(f"k{n}") for n in range(5)]
    edit_ledger(path, lambda _: NewRows.of_items(items).commit().line((0, 0)))
    with pytest.raises(CacheError, match="more values"):
        open_cache(path)


def test_failed_creation_leaves_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, open_cache(path, SPEC) as cache:
        patch.setattr(hdf5 if path.suffix == ".h5" else zarr_store, "header", die)
        with pytest.raises(CacheError, match=r"none of these 4 items \(No space left"):
            cache.append(ITEMS)
        assert not path.exists()
        patch.undo()
        cache.append(ITEMS)
    assert list(tmp_path.iterdir()) == [path]
    assert_holds(path, ITEMS)


def test_leftovers_of_a_writer_that_died_are_swept(path: Path, tmp_path: Path) -> None:
    fill(path)
    inside = path / "values" / "c.0.0.partial"
    orphans = [path.with_name(f"{path.name}.partial"), *([inside] if path.is_dir() else [])]
    for orphan in orphans:
        orphan.write_bytes(b"half of it")
    open_cache(path).close()
    assert all(orphan.exists() for orphan in orphans)
    open_cache(path, SPEC).close()
    assert not any(orphan.exists() for orphan in orphans)
    assert_holds(path, ITEMS)


def test_leftovers_of_a_creation_are_swept(path: Path, tmp_path: Path) -> None:
    fill(path)
    path.rename(path.with_name(f"{path.name}.partial"))
    open_cache(path, SPEC).close()
    assert list(tmp_path.iterdir()) == []


# What befalls bytes


@pytest.mark.parametrize(("table", "row", "key"), [("values", 2, "c"), ("segments", 1, "a"), ("starts", 3, "c")])
def test_damage_is_found_and_named(path: Path, table: str, row: int, key: str) -> None:
    fill(path)
    flip(path, table, row * (4 if table == "starts" else 4 * DIM) + 1)
    others = [item for item in ITEMS if item.key != key]
    with open_cache(path) as cache:
        truth = MemoryCache(SPEC)
        truth.append(others)
        keys = [item.key for item in others]
        assert_same(cache.read(keys), truth.read(keys))
        with pytest.raises(CacheError, match=rf"1 items .*\({key}\)"):
            cache.read(list("dcba"))
        assert cache.read(list("dcba"), verify=False).ids == tuple("dcba")


def test_damage_is_told_by_the_ids_of_tables_with_the_way_to_mend_it(path: Path) -> None:
    fill(path)
    path.with_name(f"{path.stem}.music.items.csv").write_text("id,state,key,reason\nsong 3.mp3,committed,c,\n")
    path.with_name(f"{path.stem}.spoilt.items.csv").write_text("something else")
    flip(path, "values", 2 * 4 * DIM + 1)
    match = rf"\(song 3.mp3\); .*: emoclim cache verify {path} --repair$"
    with open_cache(path) as cache, pytest.raises(CacheError, match=match):
        cache.read(list("abcd"))


def test_any_flipped_byte_of_two_hundred_items_is_found_and_named(path: Path) -> None:
    generator = np.random.default_rng(0)
    items = [encoded(f"k{n}", n % 3) for n in range(200)]
    keys = [item.key for item in items]
    fill(path, items)
    owners = np.arange(200).repeat([n % 3 for n in range(200)])
    for table, width in (("values", DIM), ("segments", DIM), ("starts", 1)):
        rows = 200 if table == "values" else len(owners)
        for byte in generator.choice(rows * width * 4, 20, replace=False).tolist():
            row = byte // (width * 4)
            flip(path, table, byte)
            name = keys[row if table == "values" else owners[row]]
            with open_cache(path) as cache, pytest.raises(CacheError, match=rf"1 items .* \({name}\)"):
                cache.read(keys)
            flip(path, table, byte)
    assert_holds(path, items)


def flip(path: Path, table: str, byte: int) -> None:
    """Flip one bit of one byte of the first chunk of a table."""
    file, offset = path / table / "c.0.0", 0
    if table == "starts":
        file = path / table / "c.0"
    if path.suffix == ".h5":
        file = path
        with h5py.File(path) as opened:
            offset = opened[table].id.get_chunk_info(0).byte_offset
    content = bytearray(file.read_bytes())
    content[offset + byte] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "foreign"])
def test_zarr_chunk_that_is_not_what_was_written(tmp_path: Path, damage: str, small_chunks: None) -> None:
    path = tmp_path / "cache.zarr"
    fill(path, [encoded(f"k{n}") for n in range(6)])
    chunk = path / "values" / "c.1.0"
    content = {"empty": b"", "short": chunk.read_bytes()[:17], "foreign": bytes(4 * 4 * DIM + 4)}
    chunk.unlink()
    if damage != "missing":
        chunk.write_bytes(content[damage])
    with open_cache(path) as cache:
        for verify in (True, False) if damage != "foreign" else (True,):
            with pytest.raises(CacheError, match=r"stored features of 2 items .*\(k5, k4\)"):
                cache.read(["k5", "k4", "k3"], verify=verify)
        assert torch.equal(cache.read(["k3"]).values[0], encoded("k3").value)


def test_zarr_adds_nothing_to_a_damaged_chunk(tmp_path: Path) -> None:
    path = tmp_path / "cache.zarr"
    fill(path)
    flip(path, "values", 2)
    with open_cache(path, SPEC) as cache:
        with pytest.raises(CacheError, match="chunk of its values"):
            cache.append([encoded("e")])
        assert cache.keys() == frozenset("abcd")


def test_no_flipped_byte_gives_other_numbers(path: Path, tmp_path: Path, small_chunks: None) -> None:
    fill(path)
    keys = [item.key for item in ITEMS]
    with open_cache(path) as cache:
        truth = cache.read(keys)
    victim = tmp_path / "victim" / path.name
    refused = 0
    for n, (name, byte) in enumerate(spread_positions(files(path), 200)):
        shutil.rmtree(victim.parent, ignore_errors=True)
        victim.parent.mkdir()
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, victim)
        content = bytearray((victim.parent / name).read_bytes())
        content[byte] ^= 1 << n % 8
        (victim.parent / name).write_bytes(content)
        try:
            with open_cache(victim) as cache:
                held = [key for key in keys if key in cache.keys()]
                found = cache.read(held)
                assert torch.equal(found.values, truth.values[: len(held)])
                if held == keys:
                    assert_same(found, truth)
                else:
                    assert cache.problems(), (name, byte)
        except CacheError:
            refused += 1
    assert refused > 20


def spread_positions(contents: dict[str, bytes], n: int) -> Iterator[tuple[str, int]]:
    """Positions spread over all bytes that are not zero."""
    positions = [(name, byte) for name, content in contents.items() for byte in np.flatnonzero(list(content)).tolist()]
    yield from positions[:: max(1, len(positions) // n)]
