"""The caches on disk keep what was committed, whatever other processes do, writers leave behind, and bytes suffer."""

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

from emoclim.cache import hdf5, open_cache
from emoclim.cache import zarr as zarr_store
from emoclim.cache.ledger import Ledger
from emoclim.errors import CacheError

path, small_chunks = cache_files.path, cache_files.small_chunks

# One writer, any number of readers


def test_second_writer_is_refused(path: Path) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append(ITEMS)
        with pytest.raises(CacheError, match="is being written by another process"):
            open_cache(path, SPEC)
        cache.append([encoded("e")])
    assert_holds(path, [*ITEMS, encoded("e")])


def test_second_writer_is_refused_after_growth(path: Path, small_chunks: None) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append([encoded(f"k{n}", 2) for n in range(50)])
        with pytest.raises(CacheError, match="is being written by another process"):
            open_cache(path, SPEC)


def test_hdf5_file_held_by_another_tool(tmp_path: Path) -> None:
    path = tmp_path / "cache.h5"
    fill(path)
    with h5py.File(path, "r+"), pytest.raises(CacheError, match="is being written by another process"):
        open_cache(path, SPEC)


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
            with pytest.raises(CacheError, match=r"keeps none of these 2 items \(No space left on device\)"):
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
    with pytest.raises(CacheError, match="is damaged: line [1234] of its ledger cannot be used"):
        open_cache(path)


def test_ledger_that_counts_more_than_there_is(path: Path, small_chunks: None) -> None:
    fill(path)
    ledger = Ledger.replay(b"", "")
    edit_ledger(path, lambda _: ledger.items_line([encoded(f"k{n}") for n in range(5)]))
    with pytest.raises(CacheError, match="its ledger counts more values than there are"):
        open_cache(path)


def test_interrupted_creation_is_taken_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = hdf5 if path.suffix == ".h5" else zarr_store
    with monkeypatch.context() as patch:
        patch.setattr(module, "header", die)
        with pytest.raises(CacheError, match="cannot be opened for writing"):
            open_cache(path, SPEC)
    assert path.exists()
    with pytest.raises(CacheError, match="no feature cache"):
        open_cache(path)
    fill(path)
    assert_holds(path, ITEMS)


def test_leftovers_of_a_replacement_are_swept(path: Path, tmp_path: Path) -> None:
    fill(path)
    orphan = path / "values" / "c.0.0.partial" if path.is_dir() else path.with_name("cache.h5.partial")
    orphan.write_bytes(b"half of it")
    open_cache(path).close()
    assert orphan.exists()
    open_cache(path, SPEC).close()
    assert not orphan.exists()


# What befalls bytes


@pytest.mark.parametrize(("table", "keys"), [("values", ["c"]), ("segments", ["a", "c"]), ("starts", ["a"])])
def test_damage_is_found_and_named(path: Path, table: str, keys: list[str]) -> None:
    fill(path)
    row = {"values": 2, "segments": 1, "starts": 0}[table]
    flip(path, table, row * (4 if table == "starts" else 4 * DIM) + 1)
    with open_cache(path) as cache, pytest.raises(CacheError, match=f"stored {table} of .*{keys[0]}"):
        cache.read(list("abcd"))


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


def test_hdf5_damage_to_one_row_spares_the_others(tmp_path: Path) -> None:
    path = tmp_path / "cache.h5"
    fill(path)
    flip(path, "values", 2 * 4 * DIM)
    with open_cache(path) as cache:
        with pytest.raises(CacheError, match=r"stored values of 1 items .*\(c\)"):
            cache.read(list("dcba"))
        assert torch.equal(cache.read(["b", "d"]).values[1], ITEMS[3].value)


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
        with pytest.raises(CacheError, match=r"stored values of 2 items .*\(k5, k4\)"):
            cache.read(["k5", "k4", "k3"])
        assert torch.equal(cache.read(["k3"]).values[0], encoded("k3").value)


def test_zarr_adds_nothing_to_a_damaged_chunk(tmp_path: Path) -> None:
    path = tmp_path / "cache.zarr"
    fill(path)
    flip(path, "values", 2)
    with open_cache(path, SPEC) as cache:
        with pytest.raises(CacheError, match="the chunk of its values that these rows would join does not match"):
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
        except CacheError:
            refused += 1
    assert refused > 20


def spread_positions(contents: dict[str, bytes], n: int) -> Iterator[tuple[str, int]]:
    """Positions spread over all bytes that are not zero."""
    positions = [(name, byte) for name, content in contents.items() for byte in np.flatnonzero(list(content)).tolist()]
    yield from positions[:: max(1, len(positions) // n)]
