"""Report progress on a terminal or in a log, add up the time of each kind of work, and put off Ctrl-C for a block."""

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sized
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


def track_by_lines(
    sequence: Iterable[T],
    description: str = "",
    total: float | None = None,
    *,
    tell: Callable[[str], None],
    first: float = 1.0,
    every: float = 30.0,
) -> Iterator[T]:
    """Yield what `sequence` does, and tell in lines how far it is: after the `first` second, then `every` so many."""
    total = len(sequence) if total is None and isinstance(sequence, Sized) else total
    begun, done, ended = time.monotonic(), 0, threading.Event()

    def tell_on() -> None:  # by a thread of its own: one recording may take minutes
        wait = first
        while not ended.wait(wait):
            tell(_how_far(description, done, total, time.monotonic() - begun))
            wait = every

    teller = threading.Thread(target=tell_on, daemon=True)
    teller.start()
    try:
        for value in sequence:
            yield value
            done += 1
    finally:
        ended.set()
        teller.join()


def _how_far(description: str, done: int, total: float | None, seconds: float) -> str:
    of_all = "" if total is None else f" of {total:.0f}"
    left = f", about {in_words(seconds / done * (total - done))} to go" if total and done else ""
    return f"{description}: {f'{done}{of_all}, ' if done or total else ''}{in_words(seconds)}{left}"


def in_words(seconds: float) -> str:
    """``"45 s"``, ``"12 min"`` or ``"3.4 h"``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


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
    """Delay SIGINT until the block ends."""
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
