"""Kills extractions at random, resumes them until they are done, and compares with one that was never interrupted.

Half of the kills come at a random moment; the other half in the midst of a commit, before, after or half-way through
one of the calls that bring it to the disk. No item may differ, no cache may refuse to open, and a kill may lose two
commits' items at the most: of the one that is being written, and of the one that is being collected.
"""

import hashlib
import logging
import multiprocessing
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from doomed_extraction import COMMIT_ITEMS, COMMITTING, FINISHED, MADE, Progress, library, run
from record import Row, command_line, publish

from emoclim.cache import open_cache
from emoclim.cache.contract import FeatureCache
from emoclim.data.manifest import Manifest
from emoclim.errors import CacheError

FORK = multiprocessing.get_context("fork")


def fingerprints(cache: FeatureCache) -> dict[str, str]:
    """What is known of each item, by key: a hash of all its numbers, or the reason of its failure."""
    known = dict(cache.failures())
    for key in cache:
        features = cache.read([key])
        numbers = (features.values, features.segments, features.offsets, features.starts, features.seconds)
        known[key] = hashlib.sha256(b"".join(t.numpy().tobytes() for t in numbers if t is not None)).hexdigest()
    return known


def look(path: Path) -> dict[str, str] | None:
    """What a cache holds; None if it does not open. Where none was made yet, it holds nothing."""
    if not path.exists():
        return {}
    try:
        with open_cache(path) as cache:
            return fingerprints(cache)
    except CacheError as error:
        print(f"REFUSED {error}")
        return None


def in_child(path: Path) -> dict[str, str] | None:
    """Look at a cache in a process of its own, as those that write it are."""

    def send(pipe: Connection) -> None:
        pipe.send(look(path))

    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=send, args=(sender,))
    child.start()
    found: dict[str, str] | None = receiver.recv()
    child.join()
    return found


@dataclass
class Tally:
    """What was found so far."""

    kills: int = 0
    kills_in_commits: int = 0
    caches: int = 0
    refused: int = 0
    differences: int = 0
    most_lost: int = 0


class Torture:
    """Kills, resumes and compares caches of one format."""

    def __init__(self, path: Path, manifest: Manifest, workers: int, draw: random.Random) -> None:
        self._path, self._manifest, self._workers, self._draw = path, manifest, workers, draw
        self.tally = Tally()
        progress, begun = Progress(), time.perf_counter()
        code = self._start(progress, None, None)
        self._seconds, self._calls = time.perf_counter() - begun, progress[MADE]
        self._truth = in_child(self._path) or {}
        if code or not self._truth:
            raise RuntimeError("the extraction fails even when it is left alone")

    def one_cache(self, most_kills: int) -> None:
        """Extract into a new cache, killed and resumed until it is done."""
        shutil.rmtree(self._path.parent)
        self._path.parent.mkdir()
        held: dict[str, str] = {}
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            progress, fatal, moment = Progress(), None, None
            if self.tally.kills < most_kills and self._draw.random() < 0.5:
                fatal = (self._draw.randint(1, self._calls // 4), self._draw.choice(("before", "half", "after")))
            elif self.tally.kills < most_kills:
                moment = self._draw.uniform(0, self._seconds / 4)
            code = self._start(progress, fatal, moment)
            found = in_child(self._path)
            if code not in (0, -signal.SIGKILL) or found is None:
                self.tally.refused += 1
                return
            self.tally.differences += self._compare(held, found)
            if code:
                self.tally.kills += 1
                self.tally.kills_in_commits += progress[COMMITTING]
                self.tally.most_lost = max(self.tally.most_lost, progress[FINISHED] - (len(found) - len(held)))
            held = found
        self.tally.caches += 1
        self.tally.differences += len(self._truth.keys() - held.keys())

    def _compare(self, before: dict[str, str], now: dict[str, str]) -> int:
        """Items that are not what they ought to be, or were there before the run and are not any more."""
        wrong = {key for key, known in now.items() if self._truth.get(key) != known}
        return len(wrong | (before.keys() - now.keys()))

    def _start(self, progress: Progress, fatal: tuple[int, str] | None, moment: float | None) -> int:
        """Run a child, to its end or to a moment in seconds; return its exit code."""
        child = FORK.Process(target=run, args=(self._path, self._manifest, self._workers, progress, fatal))
        child.start()
        child.join(moment)
        child.kill()
        child.join()
        return child.exitcode or 0


def main() -> None:
    """Torture the formats in turn."""
    parser = command_line(__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each format")
    parser.add_argument("--backend", choices=("h5", "zarr", "both"), default="both")
    parser.add_argument("--items", type=int, default=300, help="that are to be extracted")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode, forked from the one killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the caches are made; default the system's for such files")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("emoclim").setLevel(logging.ERROR)  # each kill is told to the run that takes over
    formats = {}
    for backend in ("h5", "zarr") if asked.backend == "both" else (asked.backend,):
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            (inner := Path(folder) / "cache").mkdir()
            draw = random.Random(asked.seed)
            torture = Torture(inner / f"texts.{backend}", library(asked.items), asked.workers, draw)
            while torture.tally.kills < asked.kills and torture.tally.refused == 0:
                torture.one_cache(asked.kills)
        formats[backend] = asdict(torture.tally) | {"seconds": round(time.perf_counter() - begun, 1)}
    rows = [row for backend, tally in formats.items() for row in told(backend, tally)]
    details = {"commit_unit": COMMIT_ITEMS, "formats": formats}
    publish("A cache whose writer is killed", __doc__, asked, rows, details, "torch", "h5py", "zarr", "numpy")


def told(backend: str, tally: dict[str, float]) -> Iterator[Row]:
    """The rows of one format."""
    yield Row(f"{backend}: kills", tally["kills"], "")
    yield Row(f"{backend}: of them during a commit", tally["kills_in_commits"], "")
    yield Row(f"{backend}: caches that refuse to open", tally["refused"], "", goal="<= 0")
    yield Row(f"{backend}: items that differ", tally["differences"], "", goal="<= 0")
    yield Row(f"{backend}: most items lost at once", tally["most_lost"], "", "two commits", 2 * COMMIT_ITEMS, "<= 1")


if __name__ == "__main__":
    main()
