"""Open libraries one after the other in a thread, and tell how far that is. Used by the service.

Invariants: one job computes at a time, in the order in which they came; a job that fails or is cancelled leaves the
others and the service as they were; what it had encoded is kept, and the next job goes on from it.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from emoclim.encoders import flushed_denormals
from emoclim.errors import EmoclimError, on_one_line, user_message
from emoclim.progress import Track

T = TypeVar("T")
State = Literal["waiting", "running", "done", "failed", "cancelled"]
MAX_WAITING = 20  # jobs
MAX_ENDED = 100  # whose result is kept
PATIENCE = 20.0  # seconds that the end of the service waits for a job to stop

log = logging.getLogger(__name__)


class Cancelled(EmoclimError):
    """A job was cancelled."""


class TooManyJobs(EmoclimError):
    """More libraries wait to be opened than are let wait."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What of a library is not as it was when it was opened before: ids of items."""

    new: Sequence[str] = ()
    changed: Sequence[str] = ()
    gone: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job."""

    library: str  # id in the service
    problems: Sequence[str] = ()  # what could not be encoded and what may not be as was meant, a sentence each
    left_out: Mapping[str, str] = field(default_factory=dict)  # files that are no items, and why
    changes: Changes = Changes()


OpenLibrary = Callable[[str, Track], Outcome]


class _Step(NamedTuple):
    """How far a step is."""

    name: str = ""
    done: int = 0
    total: float | None = None
    begun: float = 0.0  # by the monotonic clock

    def seconds_left(self) -> float | None:
        if not self.done or not self.total:
            return None
        return max(0.0, (time.monotonic() - self.begun) / self.done * (self.total - self.done))


class Job:
    """A library that is opened, is to be, or was."""

    def __init__(self, path: str) -> None:
        self.id, self.path = secrets.token_hex(8), path
        self.state: State = "waiting"
        self.ended = threading.Event()
        self._step = _Step()  # replaced as a whole, so that other threads see one that is whole
        self._opened: Outcome | None = None
        self._error: dict[str, str] | None = None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Have it stop before its next item; no effect on one that has ended."""
        self._cancelled.set()

    def track(self, sequence: Iterable[T], description: str = "", total: float | None = None) -> Iterator[T]:
        """Yield what `sequence` does, and note how far it is; raise :class:`Cancelled` once it is cancelled."""
        total = len(sequence) if total is None and isinstance(sequence, Sized) else total
        begun = time.monotonic()
        self._step = _Step(description, 0, total, begun)
        for done, value in enumerate(sequence, start=1):
            self.require_wanted()
            yield value
            self._step = _Step(description, done, total, begun)

    def require_wanted(self) -> None:
        """Raise :class:`Cancelled` if it is."""
        if self._cancelled.is_set():
            raise Cancelled("cancelled; what was encoded is kept, and the next time goes on from it")

    def run(self, open_library: OpenLibrary) -> None:
        """Open the library, and keep what came of it; raises nothing."""
        self.state = "running"
        try:
            self.require_wanted()
            with flushed_denormals():
                self._opened = open_library(self.path, self.track)
            self.state = "done"
        except Exception as error:
            if (told := user_message(error)) is None:
                log.exception("opening %s failed", on_one_line(self.path))
                told = f"{self.path} could not be opened, by a fault of the program; where it was started tells more"
            self._error = {"type": type(error).__name__, "message": told}
            self.state = "cancelled" if isinstance(error, Cancelled) else "failed"
        finally:
            self.ended.set()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        step, opened = self._step, self._opened
        return {
            "id": self.id,
            "path": self.path,
            "state": self.state,
            "step": step.name,
            "done": step.done,
            "total": step.total,
            "seconds_left": step.seconds_left() if self.state == "running" else None,
            "problems": list(opened.problems) if opened else [],
            "left_out": dict(opened.left_out) if opened else {},
            "changes": asdict(opened.changes if opened else Changes()),
            "error": self._error,
            "library": opened.library if opened else None,
        }


class Jobs:
    """Opens libraries in a thread of its own, from when the first is asked for until `close`."""

    def __init__(self, open_library: OpenLibrary) -> None:
        self._open_library = open_library
        self._jobs: dict[str, Job] = {}  # by id, in the order in which they came
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, path: str) -> Job:
        """Have a library opened, or opened anew; one that waits or is on its way already is not begun twice."""
        with self._lock:
            pending = [job for job in self._jobs.values() if not job.ended.is_set()]
            if same := next((job for job in pending if job.path == path), None):
                return same
            if self._closed or len(pending) > MAX_WAITING:
                raise TooManyJobs(f"{len(pending)} libraries wait to be opened; ask again when some are")
            for ended in [job for job in self._jobs.values() if job.ended.is_set()][:-MAX_ENDED]:
                del self._jobs[ended.id]
            job = Job(path)
            self._jobs[job.id] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="libraries", daemon=True)
                self._thread.start()
        self._waiting.put(job)
        return job

    def find(self, job: str) -> Job | None:
        """Return a job by its id; None where there is none, or it ended long ago."""
        return self._jobs.get(job)

    def listed(self) -> list[Job]:
        """Return all jobs, in the order in which they came."""
        return list(self._jobs.values())

    def close(self) -> None:
        """Stop whatever is waiting or on its way, and wait for that a while."""
        with self._lock:
            self._closed = True
        for job in self.listed():
            job.cancel()
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            job.run(self._open_library)
