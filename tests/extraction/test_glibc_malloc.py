"""Memory that is kept between batches, and given back after the last."""

import resource
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from emoclim.extraction import glibc_malloc
from emoclim.extraction.glibc_malloc import give_back_freed_memory, keep_freed_memory, trim_periodically

BLOCK = 2**26  # bytes
PAGE = resource.getpagesize()
STATUS = Path("/proc/self/statm")


class Library:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def mallopt(self, name: int, value: int) -> int:
        self.asked.append((name, value))
        return 1

    def malloc_trim(self, left: int) -> int:
        self.asked.append((left,))
        return 1


def test_what_is_set_is_set_back_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(glibc_malloc, "_glibc", lambda: library)
    with pytest.raises(ValueError, match="inside"), keep_freed_memory(torch.device("cpu")):
        raise ValueError("inside")
    assert library.asked[:2] == [(-4, 0), (-1, 2**31 - 1)]
    assert library.asked[2:] == [(-4, 65_536), (-3, 2**25), (-1, 2**26), (0,)]


def test_nothing_is_changed_for_a_gpu_or_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(glibc_malloc, "_glibc", lambda: library)
    with keep_freed_memory(torch.device("cuda")):
        pass
    monkeypatch.setattr(glibc_malloc, "_glibc", lambda: None)
    with keep_freed_memory(torch.device("cpu")):
        pass
    assert library.asked == []


@pytest.mark.parametrize(("interval", "times"), [(1e9, 1), (-1.0, 3)])
def test_some_is_given_back_between_things_when_it_is_time_and_at_the_end(
    interval: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setattr(glibc_malloc, "_glibc", lambda: library)
    assert list(trim_periodically("ab", interval)) == ["a", "b"]
    assert library.asked == times * [(0,)]


def test_a_forked_process_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(glibc_malloc, "_glibc", lambda: library)
    give_back_freed_memory()
    assert library.asked == [(-4, 65_536), (-3, 2**25), (-1, 2**26), (0,)]


@pytest.mark.skipif(glibc_malloc._glibc() is None or not STATUS.exists(), reason="needs glibc and Linux")
def test_freed_memory_stays_within_the_block_and_goes_after_it() -> None:
    """In a process of its own: what a library of other tests took at the end of the heap would keep all there."""
    with get_context("spawn").Pool(1) as pool:
        kept, given_back = pool.apply(measure)
    assert kept > 0.9 * BLOCK
    assert given_back > 0.9 * BLOCK


def measure() -> tuple[int, int]:
    """Count the bytes of a freed block that are kept within the block, and given back after it."""
    before = resident_pages()
    with keep_freed_memory(torch.device("cpu")):
        torch.ones(BLOCK, dtype=torch.uint8)
        kept = resident_pages() - before
    return kept * PAGE, (before + kept - resident_pages()) * PAGE


def resident_pages() -> int:
    return int(STATUS.read_text().split()[1])
