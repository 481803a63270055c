"""Have the tasks of a folder done by an engine's workers, and start others in the place of those that die."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from emoclim.cluster.contract import Engine, Running
from emoclim.cluster.tasks import Job, TaskFolder
from emoclim.cluster.working import MAX_TRIES
from emoclim.errors import EmoclimError
from emoclim.progress import Track

log = logging.getLogger(__name__)

POLL = 0.2  # seconds
LEAVING = 5.0  # seconds
QUIET = 30.0  # seconds from one death that is told to the next


def run_tasks(tasks: TaskFolder, engine: Engine, *, track: Track, description: str) -> None:
    """Return when something has come of each task; show how many of their items are done.

    Raises
    ------
    EmoclimError
        Workers die one after the other without getting anything done.
    """
    job = tasks.job()
    if job is None or not tasks.undone(job):
        return
    crew = _Crew(engine, tasks.path)
    try:
        for _ in track(_items_done(tasks, job, crew), description=description, total=sum(job.sizes)):
            pass
        crew.see_off()
    finally:
        crew.stop()


def _items_done(tasks: TaskFolder, job: Job, crew: "_Crew") -> Iterator[None]:
    """Yield once for each item that is done, until all tasks are."""
    shown = done = 0
    others, undone = 0, tasks.undone(job)
    while undone:
        if not crew.at_work:  # what is claimed is so by workers of another command, which it left at work
            others = tasks.claimed(undone)
            crew.note_others(others, len(undone))
        crew.keep_at_work(len(undone) - others, done)
        time.sleep(POLL)
        undone = tasks.undone(job)
        done = tasks.items_done(job, undone)
        for _ in range(done - shown):
            yield
        shown = max(shown, done)


class _Crew:
    """The workers that are there, by number."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self._running: dict[int, Running] = {}
        self._deaths, self._done, self._told, self._others = 0, 0, 0.0, 0

    @property
    def at_work(self) -> bool:
        """Whether any worker is there."""
        return bool(self._running)

    def note_others(self, others: int, undone: int) -> None:
        """Say that others do all that is left, since that may take, and locks may outlive what held them."""
        if others and others == undone != self._others:
            log.warning("waiting for %d tasks that others do, whom files in %s name: *.writer", others, self._folder)
        self._others = others

    def keep_at_work(self, tasks: int, done: int) -> None:
        """See to it that there are as many workers as may be, but not more than tasks; `done` says that they work."""
        if done > self._done:
            self._deaths, self._done = 0, done
        for number, worker in list(self._running.items()):
            if (reason := worker.ended()) is not None:
                del self._running[number]
                self._note_death(number, reason)
        free = (number for number in range(self._engine.workers) if number not in self._running)
        for number in list(free)[: max(0, tasks - len(self._running))]:
            self._running[number] = self._engine.start(self._folder, number)

    def _note_death(self, number: int, reason: str) -> None:
        if not reason:
            return
        self._deaths += 1
        if self._deaths > MAX_TRIES * self._engine.workers:
            raise EmoclimError(
                f"the workers on {self._engine.name} die before they get anything done (the last: {reason}); "
                f"see the logs in {self._folder}, and run the same command again to go on"
            )
        if time.monotonic() - self._told > QUIET:
            self._told = time.monotonic()
            log.warning("worker %d on %s ended (%s); another goes on in its place", number, self._engine.name, reason)

    def see_off(self) -> None:
        """Give workers that find nothing more to do the time to end by themselves."""
        latest = time.monotonic() + LEAVING
        while self._running and time.monotonic() < latest:
            self._running = {number: worker for number, worker in self._running.items() if worker.ended() is None}
            time.sleep(POLL)

    def stop(self) -> None:
        """End all workers; what they committed is kept."""
        for worker in self._running.values():
            worker.stop()
        for worker in self._running.values():
            worker.wait()
        self._engine.close()
