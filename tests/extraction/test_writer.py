"""Finished items on their way to a cache: when they are committed, and what ends it."""

import threading
from collections.abc import Sequence

import pytest
import torch

from emoclim.cache.items import EncodedItem
from emoclim.cache.memory import MemoryCache
from emoclim.data.features import FeatureSpec
from emoclim.errors import CacheError
from emoclim.extraction import writer as writing
from emoclim.extraction.writer import AsyncWriter
from emoclim.progress import Stopwatch


class Watched(MemoryCache):
    """Notes which thread commits what; fails if asked to."""

    def __init__(self) -> None:
        super().__init__(FeatureSpec("numbers", "text", 1, "none", {}))
        self.commits: list[list[str]] = []
        self.threads: set[int] = set()
        self.fails = False

    def append(self, items: Sequence[EncodedItem]) -> None:
        self.threads.add(threading.get_ident())
        if self.fails:
            raise CacheError("no room")
        self.commits.append([item.key for item in items])
        super().append(items)


def item(key: str) -> EncodedItem:
    return EncodedItem(key, torch.zeros(1))


@pytest.mark.parametrize(
    ("many", "pause", "seconds", "commits"),
    [
        (2, -1.0, 1e9, [["a", "b"], ["c"]]),  # as soon as there are enough
        (2, 1e9, 1e9, [["a", "b", "c"]]),  # but not too often
        (9, 1e9, -1.0, [["a"], ["b"], ["c"]]),  # fewer, after some time
    ],
)
def test_items_are_committed_when_it_is_time(
    many: int, pause: float, seconds: float, commits: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "COMMIT_ITEMS", many)
    monkeypatch.setattr(writing, "COMMIT_PAUSE", pause)
    monkeypatch.setattr(writing, "COMMIT_SECONDS", seconds)
    cache = Watched()
    with AsyncWriter(cache, Stopwatch()) as writer:
        for key in "abc":
            writer.append(item(key))
            writer.commit_in_time()
    assert cache.commits == commits
    assert len(cache.threads) == 1
    assert threading.get_ident() not in cache.threads


def test_what_is_pending_is_committed_after_an_error_too() -> None:
    cache = Watched()
    writer = AsyncWriter(cache, Stopwatch())
    writer.append(item("a"))
    writer.record_failure("b", "cut short")
    with pytest.raises(ValueError, match="elsewhere"), writer:
        raise ValueError("elsewhere")
    assert (cache.commits, cache.failures()) == ([["a"]], {"b": "cut short"})


def test_what_writing_raised_is_raised_at_the_end_at_the_latest() -> None:
    cache = Watched()
    cache.fails = True
    writer = AsyncWriter(cache, Stopwatch())
    writer.append(item("a"))
    with pytest.raises(CacheError, match="no room"), writer:
        pass


def test_an_interruption_while_a_commit_begins_commits_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "COMMIT_SECONDS", -1.0)
    cache = Watched()
    write = AsyncWriter._write

    def interrupted(self: AsyncWriter, *what: object) -> None:
        monkeypatch.setattr(AsyncWriter, "_write", write)
        write(self, *what)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(AsyncWriter, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt), AsyncWriter(cache, Stopwatch()) as writer:
        writer.append(item("a"))
    assert cache.commits == [["a"]]
