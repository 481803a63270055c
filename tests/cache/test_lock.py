"""Who writes a cache, what becomes of it when that process dies or its disk is full, and what the others are told."""

import errno
import fcntl
import json
import logging
import os
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cache_files
import h5py
import pytest
from cache_files import ITEMS, assert_holds, files, fill, forked, kill
from contracts import SPEC, encoded
from soaking import rounds, soak

from emoclim.cache import (
    CacheNote,
    EncodedItem,
    FeatureCache,
    ItemStatus,
    failures_path,
    item_table_path,
    open_cache,
    write_failures,
    write_item_table,
)
from emoclim.cache.lock import Writer, lock_file, who_writes
from emoclim.data import ContentKeys, Item
from emoclim.errors import CacheError

path, small_chunks = cache_files.path, cache_files.small_chunks
HELD: list[FeatureCache] = []  # or they would be closed when they are forgotten
MANY = [encoded(f"k{n}", n % 4) for n in range(400)]


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no locks."""

    def refuse(*args: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)


def left_by_a_writer_that_was_killed(path: Path) -> int:
    """A cache with two items whose writer could not close it; its number."""

    def write() -> None:
        HELD.append(cache := open_cache(path, SPEC))
        cache.append(ITEMS[:2])

    kill(pid := forked(write))
    return pid


def sign(path: Path, text: str) -> None:
    """Leave something where writers say who they are."""
    lock_file(path, ".writer").write_text(text)


# One writer, which the others can name


def test_second_writer_is_told_who_is_the_first(path: Path) -> None:
    def write() -> None:
        HELD.append(cache := open_cache(path, SPEC))
        cache.append(ITEMS)

    pid = forked(write)
    match = rf"{path.name} is being written by process {pid} on host {platform.node()} since 20\d\d-.*stop it there$"
    with pytest.raises(CacheError, match=match):
        open_cache(path, SPEC)
    assert str(who_writes(path)).startswith(f"process {pid} on host")
    assert_holds(path, ITEMS)  # readers are let in
    kill(pid)


@pytest.mark.parametrize("n", [0, 1, 50])
def test_second_writer_is_refused_before_and_after_growth(path: Path, small_chunks: None, n: int) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append([encoded(f"k{i}", 2) for i in range(n)])
        with pytest.raises(CacheError, match=f"process {os.getpid()}"):
            open_cache(path, SPEC)
        cache.append(ITEMS)
    with open_cache(path, SPEC) as cache:
        assert len(cache) == n + len(ITEMS)


def test_writer_says_who_it_is_while_it_writes(path: Path, tmp_path: Path) -> None:
    assert who_writes(path) is None
    with open_cache(path, SPEC) as cache:
        cache.append(ITEMS)
        said = json.loads(lock_file(path, ".writer").read_text())
        assert (said["host"], said["pid"]) == (platform.node(), os.getpid())
        assert who_writes(path) == Writer(**said)
    assert who_writes(path) is None
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_keeps_nothing_leaves_nothing(path: Path, tmp_path: Path) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append([])
        with pytest.raises(CacheError, match="key is empty"):
            cache.append([encoded("")])
        assert (cache.failures(), cache.read([]).ids) == ({}, ())
    assert list(tmp_path.iterdir()) == []
    with open_cache(path, SPEC) as cache:
        cache.record_failure("a", "too short")
    with open_cache(path) as cache:
        assert cache.failures() == {"a": "too short"}


def test_an_empty_folder_may_become_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "cache.zarr"
    path.mkdir()
    fill(path)
    assert_holds(path, ITEMS)


def test_hdf5_file_may_be_read_but_not_written_by_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "cache.h5"

    def other_program(code: str) -> str:
        code = f"import h5py; {code}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    with open_cache(path, SPEC) as cache:
        cache.append(MANY[:20])
        assert (
            other_program(f"print(h5py.File({str(path)!r})['values'][10].tolist())") == f"{MANY[10].value.tolist()}\n"
        )
        assert "BlockingIOError" in other_program(f"h5py.File({str(path)!r}, 'r+')")
        cache.append(MANY[20:40])
    assert_holds(path, MANY[:40])


def test_hdf5_file_held_by_another_program_that_writes(tmp_path: Path) -> None:
    path = tmp_path / "cache.h5"
    fill(path)
    with h5py.File(path, "r+"), pytest.raises(CacheError, match="another program"):
        open_cache(path, SPEC)
    assert list(tmp_path.iterdir()) == [path]


# Writers that die


def test_cache_of_a_killed_writer_is_taken_over(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pid = left_by_a_writer_that_was_killed(path)
    assert lock_file(path, ".writer").exists()
    assert who_writes(path) is None
    assert_holds(path, ITEMS[:2])
    with open_cache(path, SPEC) as cache:
        [told] = caplog.record_tuples
        assert told[:2] == ("emoclim.cache.lock", logging.WARNING)
        assert f"was left open by process {pid} on host {platform.node()} since 20" in told[2]
        cache.append(ITEMS[2:])
    assert_holds(path, ITEMS)
    assert list(tmp_path.iterdir()) == [path]


def test_process_forked_from_a_killed_writer_keeps_no_lock(path: Path) -> None:
    given, taken = os.pipe()

    def write() -> None:
        HELD.append(cache := open_cache(path, SPEC))
        cache.append(ITEMS[:2])
        os.write(taken, b"%8d" % forked(lambda: None))

    pid = forked(write)
    sleeper = int(os.read(given, 8))
    os.close(given)
    os.close(taken)
    kill(pid)
    os.kill(sleeper, 0)  # it is there
    try:
        fill_rest = open_cache(path, SPEC)
        fill_rest.append(ITEMS[2:])
        fill_rest.close()
    finally:
        os.kill(sleeper, signal.SIGKILL)
    assert_holds(path, ITEMS)


def test_forked_process_neither_writes_nor_unlocks(path: Path) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append(ITEMS[:2])

        def misuse() -> None:
            assert list(cache) == ["a", "b"]
            with pytest.raises(CacheError, match="fork"):
                cache.append(ITEMS[2:])
            with pytest.raises(CacheError, match="fork"):
                cache.record_failure("f", "too short")
            cache.close()

        kill(forked(misuse))
        with pytest.raises(CacheError, match=f"process {os.getpid()}"):
            open_cache(path, SPEC)
        cache.append(ITEMS[2:])
    assert_holds(path, ITEMS)


@pytest.mark.parametrize("text", ["", "{", '"nobody"', '{"pid": "x"}'])
def test_torn_word_of_a_writer_that_died_does_not_matter(path: Path, tmp_path: Path, text: str) -> None:
    fill(path, ITEMS)
    sign(path, text)
    assert who_writes(path) is None
    open_cache(path, SPEC).close()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".lock", ".writer", ".partial", ".json", ".items.csv", ".failures.csv", "memo"])
def test_nothing_is_written_through_a_link(path: Path, tmp_path: Path, suffix: str) -> None:
    other = tmp_path / "other"
    other.write_text("not ours")
    tables = {".items.csv": item_table_path(path, "m"), ".failures.csv": failures_path(path, "m")}
    tables["memo"] = tmp_path / "content.sqlite"
    tables.get(suffix, lock_file(path, suffix)).symlink_to(other)
    (tmp_path / "file.txt").write_text("glad")
    item = Item("a", tmp_path / "file.txt")

    def write() -> None:
        fill(path)
        CacheNote(path, SPEC, None, {}).save()
        write_item_table(path, "m", [ItemStatus("a", "failed", "", "x")])
        write_failures(path, "m", [ItemStatus("a", "failed", "", "x")], [item])
        keys = ContentKeys(tmp_path / "content.sqlite")
        keys(item)
        keys.save()

    if suffix == ".lock":
        with pytest.raises(CacheError, match="cannot be opened for writing"):
            write()
    else:
        write()
        assert_holds(path, ITEMS)
    assert other.read_text() == "not ours"


@pytest.mark.parametrize("place", ["link", "folder"])
def test_a_lock_that_nobody_can_hold_is_not_believed(path: Path, place: str) -> None:
    fill(path)
    with open_cache(path, SPEC):
        said = lock_file(path, ".writer").read_text()
        assert who_writes(path) is not None
    sign(path, said)
    lock = lock_file(path, ".lock")
    lock.mkdir() if place == "folder" else lock.symlink_to(path)
    assert who_writes(path) is None


@pytest.mark.parametrize("pid", [2**70, -1, 0])
def test_a_writer_of_an_impossible_number_is_told_or_not(path: Path, pid: int) -> None:
    fill(path)
    with open_cache(path, SPEC):
        said = json.loads(lock_file(path, ".writer").read_text())
        sign(path, json.dumps(said | {"pid": pid}))
        assert str(pid) in str(who_writes(path))
        with pytest.raises(CacheError, match=f"process {pid}"):
            open_cache(path, SPEC)
    sign(path, json.dumps(said | {"pid": pid}))
    assert who_writes(path) is None


# Where the file system knows no locks


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_second_writer_is_refused(path: Path, tmp_path: Path) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append(ITEMS)
        match = rf"written by process {os.getpid()} on .* if that run is dead, delete .*{path.name}.softlock$"
        with pytest.raises(CacheError, match=match):
            open_cache(path, SPEC)
        cache.append([encoded("e")])
    assert_holds(path, [*ITEMS, encoded("e")])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_killed_writer_is_recognised(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pid = left_by_a_writer_that_was_killed(path)
    fill_up(path, ITEMS)
    assert f"was left open by process {pid}" in caplog.text
    assert_holds(path, ITEMS)
    assert list(tmp_path.iterdir()) == [path]


def soft_lock(path: Path) -> list[str]:
    """Number, host and start of this process, as it would hold a cache where there are no locks."""
    with open_cache(path, SPEC):
        return lock_file(path, ".softlock").read_text().splitlines()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_number_that_was_given_anew_is_recognised(path: Path, tmp_path: Path) -> None:
    fill(path, ITEMS)
    pid, host, start = soft_lock(path)
    lock_file(path, ".softlock").write_text(f"{pid}\n{host}\n{int(start) + 1}\n")
    open_cache(path, SPEC).close()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("text", ["1\nelsewhere\n1\n", "{"])
def test_without_locks_what_cannot_be_known_is_left_to_the_user(path: Path, text: str) -> None:
    fill(path, ITEMS)
    lock_file(path, ".softlock").write_text(text)
    with pytest.raises(CacheError, match=r"\.softlock$"):
        open_cache(path, SPEC)
    lock_file(path, ".softlock").unlink()
    open_cache(path, SPEC).close()


# Disks that are full, or let nobody write


def append_until_full(path: Path, reason: str, make_room: Callable[[], object]) -> None:
    """Append many items, make room when there is none left, and go on."""

    def append_rest(cache: FeatureCache) -> None:
        for first in range(len(cache), len(MANY), 10):
            cache.append(MANY[first : first + 10])

    with open_cache(path, SPEC) as cache:
        with pytest.raises(CacheError, match=rf"none of these 10 items \({reason}\)"):
            append_rest(cache)
        kept = len(cache)
        assert 0 < kept < len(MANY)
        with pytest.raises(CacheError, match="keeps none of these"):
            cache.append(MANY[kept:])
        assert_holds(path, MANY[:kept])
        make_room()
        append_rest(cache)


def test_file_that_must_not_grow(path: Path, tmp_path: Path, small_chunks: None) -> None:
    def write() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**15 if path.suffix == ".h5" else 2**13, most))
        append_until_full(path, "File too large", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))

    kill(forked(write))
    assert_holds(path, MANY)
    open_cache(path, SPEC).close()
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only the superuser, if even that, can make a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_disk_that_is_full(small_disk: Path, path: Path, small_chunks: None) -> None:
    path = small_disk / path.name
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2**22 - 2**17))
    told = r": \d+ bytes are needed to make a longer copy, and \d+ are free" if path.suffix == ".h5" else ""
    append_until_full(path, f"No space left on device{told}", ballast.unlink)
    assert_holds(path, MANY)
    assert list(small_disk.iterdir()) == [path]


def test_disk_that_is_full_from_the_beginning(small_disk: Path, path: Path) -> None:
    path = small_disk / path.name
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(bytes(2**23))
    with pytest.raises(CacheError, match="No space left on device"):
        fill(path)
    assert [found.name for found in small_disk.iterdir()] == ["ballast"]


def test_disk_that_is_read_only(small_disk: Path, path: Path) -> None:
    path = small_disk / path.name
    fill(path)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = files(path)
    assert_holds(path, ITEMS)
    with pytest.raises(CacheError, match="Read-only file system"):
        open_cache(path, SPEC)
    assert files(path) == before


# Killed at any moment


@soak
def test_extraction_survives_being_killed(tmp_path: Path) -> None:
    kills = rounds(5)
    script = Path(__file__).parents[2] / "benchmarks" / "cache_torture.py"
    found = tmp_path / "found.json"
    options = ["--kills", str(kills), "--items", "80", "--seed", "0", "--folder", str(tmp_path)]
    command = [sys.executable, str(script), "--json", str(found), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(found.read_text())["details"]
    for tally in result["formats"].values():
        assert tally["kills"] == kills, done.stdout
        assert (tally["refused"], tally["differences"]) == (0, 0), done.stdout
        assert tally["most_lost"] <= 2 * result["commit_unit"]


def fill_up(path: Path, items: list[EncodedItem]) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append([item for item in items if item.key not in cache])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_where_a_disk_takes_nothing_nobody_is_told_to_delete_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_path: Path) -> None:
        raise OSError(number, os.strerror(number))

    fill(path := tmp_path / "text-letters.h5")
    monkeypatch.setattr("emoclim.cache.opening.WriterLock", refuse)
    with pytest.raises(CacheError, match="cannot be opened for writing") as told:
        open_cache(path, SPEC)
    assert "delete" not in str(told.value)
