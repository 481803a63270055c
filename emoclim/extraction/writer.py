"""Commit finished items to a cache in a thread of its own, while the next are encoded. Used by `extract`.

A kill costs two commits at the most: the one that is being written, and the one that is being collected.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from emoclim.cache import EncodedItem, FeatureCache
from emoclim.progress import Stopwatch, uninterrupted

COMMIT_ITEMS = 256  # are committed as soon as the pause is over, fewer after some time
COMMIT_PAUSE, COMMIT_SECONDS = 1.0, 10.0


class AsyncWriter:
    """Put items, in order, and failures into a cache; one commit is written at a time, and the next waits for it.

    Leaving its block commits what is pending, also after an error, and raises what writing raised.
    """

    def __init__(self, cache: FeatureCache, watch: Stopwatch) -> None:
        self._cache, self._watch = cache, watch
        self._pending: list[EncodedItem] = []
        self._since = time.monotonic()
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted():
            try:
                self._commit()
                self._wait()
            finally:
                self._thread.shutdown()

    def append(self, item: EncodedItem) -> None:
        """Add a finished item; commit what is pending, if it is time."""
        self._pending.append(item)
        self.commit_in_time()

    def commit_in_time(self) -> None:
        """Commit what is pending, if it is time; call it now and then, for the next item may take long."""
        if time.monotonic() - self._since > (COMMIT_PAUSE if len(self._pending) >= COMMIT_ITEMS else COMMIT_SECONDS):
            self._commit()

    def record_failure(self, key: str, reason: str) -> None:
        """Record for good why a content cannot be encoded."""
        self._write(self._cache.record_failure, key, reason)

    def _commit(self) -> None:
        items, self._pending, self._since = self._pending, [], time.monotonic()
        if items:
            self._write(self._cache.append, items)

    def _write(self, put: Callable[..., None], *what: Any) -> None:
        self._wait()
        self._running = self._thread.submit(self._timed, put, *what)

    def _timed(self, put: Callable[..., None], *what: Any) -> None:
        with self._watch.time("write"):
            put(*what)

    def _wait(self) -> None:
        """Raise what the thread raised, once."""
        if self._running is not None:
            with self._watch.time("blocked"):
                error = self._running.exception()
            self._running = None
            if error is not None:
                raise error
