"""Work done in processes that are forked from one warm parent, within limits; and what became of each.

The parent is a process of `processes.start` that has loaded everything, for its forks to begin at once.
"""

import gc
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emoclim.errors import EmoclimError

SECONDS = 20  # of a processor, which do not grow with what else the machine does
WAITING = 300  # seconds in all, after which it waits for what never comes
DONE, FAULT, REFUSED = range(3)
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.listdir")


@dataclass(frozen=True)
class Ended:
    """How the work of a forked process ended."""

    code: int  # DONE, FAULT, REFUSED, or minus the number of the signal that killed it
    told: str  # what it wrote to stdout and stderr
    grown: int  # bytes that it had at the most above what its parent has

    @property
    def fault(self) -> str | None:
        """What is wrong with that; None for work that was done, or refused in one line."""
        if self.code in (-signal.SIGPROF, -signal.SIGALRM):
            return f"worked for {SECONDS} s or waited for {WAITING}; {self.told}"
        if self.code not in (DONE, REFUSED) or "Traceback" in self.told:
            return f"ended with {self.code}: {self.told}"
        return None


def fork(work: Callable[[], object], told: Path, room: int | None = None, killed_at: int | None = None) -> int:
    """Begin some work in a fork; `room` is how many bytes it may take, `killed_at` the use of a file that kills it."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = FAULT
    try:
        gc.disable()  # which would write to all pages of the parent
        handle = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(WAITING)
        if room is not None:
            resource.setrlimit(resource.RLIMIT_AS, (_pages()[0] + room,) * 2)
        if killed_at is not None:
            _die_at(killed_at)
        code = _outcome(work)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, told: Path) -> Ended:
    """Wait for a fork to end."""
    _, status, usage = os.wait4(pid, 0)
    _, resident, shared = _pages()[:3]
    grown = usage.ru_maxrss * 1024 - (resident - shared)  # too much rather than too little: a fork shares libraries
    return Ended(os.waitstatus_to_exitcode(status), told.read_text(errors="replace"), grown)


def kill_after(pid: int, seconds: float) -> None:
    """Kill a fork, if it has not ended by then."""
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)


def count_events(work: Callable[[], object]) -> None:
    """Do some work, and tell how many uses of files there were."""
    seen = Counter[str]()
    sys.addaudithook(lambda event, _: seen.update([event]))
    work()
    tell(sum(seen[event] for event in EVENTS))


def tell(what: object) -> None:
    """Write a line to stdout, which is a file in a fork."""
    sys.stdout.write(f"{what}\n")


def _outcome(work: Callable[[], object]) -> int:
    try:
        work()
    except EmoclimError as error:
        tell(error)
        return REFUSED
    except BaseException:
        traceback.print_exc()
        raise
    return DONE


def _die_at(number: int) -> None:
    """Kill this process at its n-th use of a file."""
    left = [number]

    def hook(event: str, _: object) -> None:
        if event in EVENTS:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _pages() -> list[int]:
    """Bytes of this process: its address space, its memory, and what of that are files."""
    return [int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()]
