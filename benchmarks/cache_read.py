"""Reading features from a cache: 32,768 x 512 float32 from each format, against ``np.load`` of the same numbers.

Medians. The files are in the memory of the operating system, and all runs are taken in turn, so that whatever else the
machine does falls on all. The goals are for all rows in their order from HDF5. Sixty-four rows are compared with the
same from a memory map of the ``.npy`` file.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import Row, command_line, publish

from emoclim.cache import open_cache
from emoclim.cache.items import EncodedItem
from emoclim.data.features import FeatureSpec

DIM, COMMIT, GATHERED = 512, 256, 64
SPEC = FeatureSpec("noise", "audio", DIM, "none", {})
FORMATS = {"h5": "HDF5", "zarr": "Zarr"}  # suffix -> name
WHOLE, PART = "np.load", "np.load, memory-mapped, 64 rows"
GOALS = {"HDF5, all in order, unverified": "<= 1.6", "HDF5, all in order, verified": "<= 4"}


def main() -> None:
    """Write once, read many times."""
    parser = command_line(__doc__)
    parser.add_argument("--items", type=int, default=32_768)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the caches are made; default the system's for such files")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        written = write(Path(folder), asked.items)
        medians = measure(Path(folder), asked.items, asked.runs)
    peers = {name: PART if "64" in name else WHOLE for name in medians if name not in (WHOLE, PART)}
    rows = [Row(name, medians[name], "ms", peer, medians[peer], GOALS.get(name)) for name, peer in peers.items()]
    details = {"values": DIM, "written_seconds": written, "milliseconds": medians}
    publish("Reading a cache", __doc__, asked, rows, details, "numpy", "h5py", "zarr", "torch")


def write(folder: Path, items: int) -> dict[str, float]:
    """Write the numbers as ``.npy`` and into caches; the seconds that the caches took."""
    values = torch.randn(items, DIM, generator=torch.Generator().manual_seed(0))
    np.save(folder / "values.npy", values.numpy())
    seconds = {}
    for suffix in FORMATS:
        begun = time.perf_counter()
        with open_cache(folder / f"cache.{suffix}", SPEC) as cache:
            for first in range(0, items, COMMIT):
                last = min(first + COMMIT, items)
                cache.append([EncodedItem(key_of(n), values[n]) for n in range(first, last)])
        seconds[suffix] = round(time.perf_counter() - begun, 2)
    return seconds


def key_of(n: int) -> str:
    """A key as long as those of contents."""
    return f"{n:064x}"


def measure(folder: Path, items: int, runs: int) -> dict[str, float]:
    """Median milliseconds of each way to read."""
    order = torch.randperm(items, generator=torch.Generator().manual_seed(1)).tolist()
    asked = {
        "all shuffled": list(map(key_of, order)),
        "64 rows": list(map(key_of, order[:GATHERED])),
    }
    path = folder / "values.npy"
    caches = {suffix: open_cache(folder / f"cache.{suffix}") for suffix in FORMATS}
    ways: dict[str, Callable[[], Any]] = {
        WHOLE: lambda: np.load(path),
        PART: lambda: np.load(path, mmap_mode="r")[order[:GATHERED]],
    }
    for suffix, cache in caches.items():
        ways[f"{FORMATS[suffix]}, opening"] = partial(open_and_close, folder / f"cache.{suffix}")
        for verify, told in ((False, "unverified"), (True, "verified")):
            ways[f"{FORMATS[suffix]}, all in order, {told}"] = partial(cache.features, verify=verify)
            for name, keys in asked.items():
                ways[f"{FORMATS[suffix]}, {name}, {told}"] = partial(cache.read, keys, verify=verify)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            taken[name].append((time.perf_counter() - begun) * 1000)
    for cache in caches.values():
        cache.close()
    return {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first one warms up


def open_and_close(path: Path) -> None:
    """What it takes to learn what a cache holds."""
    open_cache(path).close()


if __name__ == "__main__":
    main()
