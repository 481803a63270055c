"""Decode files in processes of their own, within bounds of time and memory. Used for uploads and for media.

A file that somebody made may crash a decoder, or keep it busy for ever. Here that ends a process that does nothing
else, and is told of that file alone; the next is decoded in a new one.
"""

import multiprocessing
import pickle
import queue
import signal
import sys
import time
from collections.abc import Callable, Generator
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, TypeVar

from emoclim.app.guard.limited import LimitedEncoder, prepare
from emoclim.encoders import Encoder
from emoclim.errors import DecodeError, EmoclimError, MissingLibrary
from emoclim.files import GB

# A fork of this process might hold locks of its threads; of a server that has none, it is there at once
CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    CONTEXT.set_forkserver_preload(["emoclim.app.guard.loaded"])
T = TypeVar("T")
Kind = Literal["ready", "block", "end", "error"]
START_SECONDS = 300.0  # that a process may take to load its libraries, on a machine that is busy


class Busy(EmoclimError):
    """More is asked for than can be done now."""


class Decoders:
    """Runs functions in other processes, each of which is ended where it takes too long or too much.

    Parameters
    ----------
    count
        Processes at most; they start when they are first needed.
    seconds
        How long a call may take, with what becomes of its blocks.
    memory
        Bytes that a call may take beyond what its process has from the start; only Linux keeps to it.
    """

    def __init__(self, count: int, seconds: float, memory: int) -> None:
        self._seconds, self._memory = seconds, memory
        self._limited: dict[bytes, LimitedEncoder] = {}  # by what is sent of them
        self._free: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)

    def run(self, function: Callable[..., Generator[T, None, Any]], *arguments: Any) -> Generator[T, None, Any]:
        """Yield what a function of a module yields in another process, and return what it returns."""
        try:
            process = self._free.get(timeout=self._seconds)
        except queue.Empty:
            raise Busy("all decoders are busy; ask again in a while") from None
        try:
            if process is not None and not process.alive:  # the system ended it meanwhile, for want of memory
                process.kill()
                process = None
            process = process or _Process(self._memory)
            ends = time.monotonic() + self._seconds
            process.send(function, arguments)
            while True:
                kind, value = self._receive(process, ends)
                if kind == "error":
                    raise value
                if kind == "end":
                    return value
                yield value
        finally:
            if process is not None and process.busy:
                process.kill()
                process = None
            self._free.put(process)

    def call(self, function: Callable[..., Generator[Any, None, T]], *arguments: Any) -> T:
        """Return what a function returns in another process, and throw away what it yields."""
        running = self.run(function, *arguments)
        while True:
            try:
                next(running)
            except StopIteration as end:
                returned: T = end.value
                return returned

    def limit(self, encoder: Encoder) -> LimitedEncoder:
        """Make an encoder that decodes here what it encodes: the same one of equal ones, with one network."""
        try:
            content = pickle.dumps(encoder)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            name = encoder.spec.name
            raise EmoclimError(f"encoder {name!r} cannot be sent to another process ({error}); use another") from error
        return self._limited.setdefault(content, LimitedEncoder(encoder, partial(self.run, prepare, content)))

    def close(self) -> None:
        """End the processes that do nothing; others end with this one."""
        while True:
            try:
                process = self._free.get_nowait()
            except queue.Empty:
                return
            if process is not None:
                process.kill()

    def _receive(self, process: "_Process", ends: float) -> tuple[Kind, Any]:
        try:
            found = process.receive(max(0.0, ends - time.monotonic()))
        except (EOFError, OSError):
            told = f"its decoder ended at it: it is damaged, or takes more than {self._memory / GB:g} GB of memory"
            raise DecodeError(f"{told}; send another") from None
        if found is None:
            raise DecodeError(f"it takes more than {self._seconds:g} s; send what is shorter or smaller")
        if found[0] == "error" and isinstance(found[1], MemoryError):
            raise DecodeError(f"it takes more than {self._memory / GB:g} GB of memory; send what is smaller")
        return found


class _Process:
    """A process that runs one call after another."""

    def __init__(self, memory: int) -> None:
        self._connection, theirs = CONTEXT.Pipe()
        self._process: BaseProcess = CONTEXT.Process(target=_work, args=(theirs, memory), name="decoder", daemon=True)
        self.busy = True
        self._process.start()
        theirs.close()
        try:
            ready = self.receive(START_SECONDS)
        except (EOFError, OSError):
            ready = None
        if ready is None:
            self.kill()
            raise EmoclimError("a decoding process does not start, probably for want of memory; free some")

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.busy = True
        self._connection.send((function, arguments))

    def receive(self, seconds: float) -> tuple[Kind, Any] | None:
        """Return a message of the process; None if none comes in time."""
        if not self._connection.poll(seconds):
            return None
        found: tuple[Kind, Any] = self._connection.recv()
        self.busy = found[0] == "block" or isinstance(found[1], MemoryError)
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()


def _work(connection: Connection, memory: int) -> None:
    """Run one call after another, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    from emoclim.app.guard.loaded import torch  # and what else is needed, before memory is bounded

    torch.set_num_threads(1)
    _bound(memory)
    connection.send(("ready", None))
    while True:
        try:
            function, arguments = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_run(connection, function, arguments))


def _run(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Kind, Any]:
    """Send what a function yields; return what it comes to."""
    running = function(*arguments)
    while True:
        try:
            block = next(running)
        except StopIteration as end:
            return "end", end.value
        except (EmoclimError, MissingLibrary, MemoryError) as error:
            return "error", error
        except RuntimeError as error:  # torch has no type of its own for it
            return "error", MemoryError() if "memory" in str(error) else DecodeError(f"it cannot be decoded ({error})")
        except Exception as error:  # noqa: BLE001 - whatever a decoder makes of what somebody made
            return "error", DecodeError(f"it cannot be decoded ({type(error).__name__}: {error!s:.200})")
        connection.send(("block", block))


def _bound(memory: int) -> None:
    """Let this process take so many bytes more than it has, where the system can."""
    if sys.platform != "linux":
        return
    import resource

    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    held = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + memory, held + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
