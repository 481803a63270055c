"""Kills extractions at random, resumes them until they are done, and compares with one that was never interrupted.

Repeat with ``python benchmarks/cache_torture.py --kills 200``; prints JSON. The goals are no difference, no cache that
does not open, and at most one commit unit of items lost per kill. Half of the kills come at a random moment; the other
half in the midst of a commit, before, after or half-way through one of the calls that bring it to the disk.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from machine import facts
from torch import Tensor, nn

from emoclim.cache import hdf5, open_cache, store
from emoclim.cache import zarr as _zarr  # noqa: F401 - so that no child has to load it
from emoclim.cache.base import FeatureCache
from emoclim.data.manifest import Item, Manifest
from emoclim.errors import CacheError, DecodeError
from emoclim.features import FeatureSpec
from emoclim.stages import extract

DIM, LENGTH = 16, 8
COMMIT_ITEMS = 8  # small, as are chunks and ledger: so much of a run is spent in commits, and many make room
FORK = multiprocessing.get_context("fork")
CALLS = ("write", "fsync", "ftruncate", "replace", "rename")


@dataclass
class Letters:
    """Segments of eight characters of a text, four apart; the feature is a fixed linear map of their code points."""

    spec: FeatureSpec = field(default_factory=lambda: FeatureSpec("letters", "text", DIM, "none", {"length": LENGTH}))
    input_shape: tuple[int, ...] = (LENGTH,)
    hop_seconds: float = 0.5
    segment_seconds: float = 1.0

    @property
    def module(self) -> nn.Module:
        """The same for all."""
        layer = nn.Linear(LENGTH, DIM)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(DIM, LENGTH, generator=torch.Generator().manual_seed(0)))
            layer.bias.zero_()
        return layer.eval()

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        """Cut a text; one that begins with an exclamation mark cannot be used."""
        text = item.text or ""
        if text.startswith("!"):
            raise DecodeError(text)
        yield torch.tensor([float(ord(letter)) for letter in text]).unfold(0, LENGTH, 4)
        return len(text) / LENGTH

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        """Draw a segment."""
        segments = next(self.prepare(item))
        return segments[int(torch.randint(len(segments), (), generator=generator))]


def library(size: int) -> Manifest:
    """Texts of all lengths, one in twenty of which cannot be used."""
    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefgh", k=draw.randint(LENGTH, 60))) for _ in range(size)]
    items = (Item(f"t{n}", text=f"!{text}" if n % 20 == 7 else text) for n, text in enumerate(texts))
    return Manifest("texts", "text", Path("texts.csv"), tuple(items))


class Progress:
    """What a child has done, in memory that outlives it: items finished, calls made, and whether it is committing."""

    def __init__(self) -> None:
        self._memory = mmap(-1, 24)

    def __getitem__(self, place: int) -> int:
        return int(struct.unpack_from("q", self._memory, place * 8)[0])

    def __setitem__(self, place: int, value: int) -> None:
        struct.pack_into("q", self._memory, place * 8, value)


FINISHED, MADE, COMMITTING = range(3)


def run(path: Path, manifest: Manifest, workers: int, progress: Progress, fatal: tuple[int, str] | None) -> None:
    """Extract, in a child; the fatal one of its calls to the system within commits is its last."""
    store.CHUNK_ROWS, hdf5.LEDGER_CHUNK, extract.COMMIT_ITEMS = 16, 1024, COMMIT_ITEMS
    for name in CALLS:
        setattr(os, name, watched(getattr(os, name), progress, fatal))

    def track(sequence: Iterable[Any], description: str = "", total: float | None = None) -> Iterator[Any]:
        del description, total
        for finished, element in enumerate(sequence, start=1):
            progress[FINISHED] = finished
            yield element

    encoder = Letters()
    with open_cache(path, encoder.spec) as cache:
        for name in ("append", "record_failure"):
            setattr(cache, name, committing(getattr(cache, name), progress))
        extract.extract(manifest, encoder, cache, batch_size=16, workers=workers, track=track)


def committing(put: Callable[..., None], progress: Progress) -> Callable[..., None]:
    """Note when a commit begins and ends."""

    def noted(*what: Any) -> None:
        progress[COMMITTING] = 1
        put(*what)
        progress[COMMITTING] = 0

    return noted


def watched(call: Callable[..., Any], progress: Progress, fatal: tuple[int, str] | None) -> Callable[..., Any]:
    """Count the calls that are made while committing, and die at the fatal one."""

    def counted(*what: Any, **options: Any) -> Any:
        if not progress[COMMITTING]:
            return call(*what, **options)
        progress[MADE] += 1
        now = None if fatal is None or fatal[0] != progress[MADE] else fatal[1]
        if now == "half" and len(what) == 2 and isinstance(what[1], memoryview):
            call(what[0], what[1][: len(what[1]) // 2])
        elif now != "before":
            result = call(*what, **options)
        if now is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return counted


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="of each format")
    parser.add_argument("--backend", choices=("h5", "zarr", "both"), default="both")
    parser.add_argument("--items", type=int, default=300, help="that are to be extracted")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode, forked from the one killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the caches are made; default the system's for such files")
    parser.add_argument("--json", type=Path, help="write the result there too")
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
    result = {"items": asked.items, "workers": asked.workers, "commit_unit": COMMIT_ITEMS, "seed": asked.seed}
    machine = facts("torch", "h5py", "zarr", "numpy")
    text = json.dumps(result | {"formats": formats, "machine": machine}, indent=2)
    print(text)
    if asked.json:
        asked.json.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
