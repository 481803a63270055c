"""Report progress through `track`, add up the time of each kind of work, and put off Ctrl-C for a block."""

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Wraps an iterable and shows how far it is; `rich.progress.track` is one."""

    def __call__(self, sequence: Iterable[T], description: str = ..., total: float | None = ...) -> Iterable[T]:
        """Yield what `sequence` does, `total` things if that is known."""


def silent(sequence: Iterable[T], *_: object, **_options: object) -> Iterable[T]:
    """Track nothing."""
    return sequence


class Stopwatch:
    """Adds up the seconds of each kind of work."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, kind: str) -> Iterator[None]:
        """Count the time spent in the block."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[kind] += time.perf_counter() - begun

    def each(self, sequence: Iterable[T], kind: str) -> Iterator[T]:
        """Yield what `sequence` does, and count the time it takes to come."""
        iterator = iter(sequence)
        while True:
            with self.time(kind):
                try:
                    value = next(iterator)
                except StopIteration:
                    return
            yield value


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C that comes during the block wait for its end, where it does what it would have done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # a signal never comes here
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)
