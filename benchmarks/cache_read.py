"""Reading features from a cache: 32,768 x 512 float32 from each format, against ``np.load`` of the same numbers.

Repeat with ``python benchmarks/cache_read.py``; prints JSON: medians in milliseconds, and how many times that of
``np.load`` they are. The files are in the memory of the operating system, and all runs are taken in turn, so that
whatever else the machine does falls on all. The goals, for all rows in their order from HDF5, are 1.6 times unverified
and 4 times verified. Sixty-four rows are compared with the same from a memory map of the ``.npy`` file.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import facts

from emoclim.cache import open_cache
from emoclim.cache.base import EncodedItem
from emoclim.features import FeatureSpec

ITEMS, DIM, COMMIT, GATHERED = 32_768, 512, 256, 64
SPEC = FeatureSpec("noise", "audio", DIM, "none", {})
FORMATS = ("h5", "zarr")


def main() -> None:
    """Write once, read many times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the caches are made; default the system's for such files")
    parser.add_argument("--json", type=Path, help="write the result there too")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        written = write(Path(folder))
        medians = measure(Path(folder), asked.runs)
    whole, some = medians["np.load"], medians["np.load, memory-mapped, 64 rows"]
    times = {name: round(ms / (some if "64" in name else whole), 2) for name, ms in medians.items()}
    result = {
        "items": ITEMS,
        "values": DIM,
        "runs": asked.runs,
        "written_seconds": written,
        "milliseconds": {name: round(ms, 2) for name, ms in medians.items()},
        "times_np_load": times,
    }
    text = json.dumps(result | {"machine": facts("numpy", "h5py", "zarr", "torch")}, indent=2)
    print(text)
    if asked.json:
        asked.json.write_text(f"{text}\n")


def write(folder: Path) -> dict[str, float]:
    """Write the numbers as ``.npy`` and into caches; the seconds that the caches took."""
    values = torch.randn(ITEMS, DIM, generator=torch.Generator().manual_seed(0))
    np.save(folder / "values.npy", values.numpy())
    seconds = {}
    for suffix in FORMATS:
        begun = time.perf_counter()
        with open_cache(folder / f"cache.{suffix}", SPEC) as cache:
            for first in range(0, ITEMS, COMMIT):
                cache.append([EncodedItem(key_of(n), values[n]) for n in range(first, first + COMMIT)])
        seconds[suffix] = round(time.perf_counter() - begun, 2)
    return seconds


def key_of(n: int) -> str:
    """A key as long as those of contents."""
    return f"{n:064x}"


def measure(folder: Path, runs: int) -> dict[str, float]:
    """Median milliseconds of each way to read."""
    order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(1)).tolist()
    asked = {
        "all shuffled": list(map(key_of, order)),
        "64 rows": list(map(key_of, order[:GATHERED])),
    }
    path = folder / "values.npy"
    caches = {suffix: open_cache(folder / f"cache.{suffix}") for suffix in FORMATS}
    ways: dict[str, Callable[[], Any]] = {
        "np.load": lambda: np.load(path),
        "np.load, memory-mapped, 64 rows": lambda: np.load(path, mmap_mode="r")[order[:GATHERED]],
    }
    for suffix, cache in caches.items():
        ways[f"{suffix}, opening"] = partial(open_and_close, folder / f"cache.{suffix}")
        for verify, told in ((False, "unverified"), (True, "verified")):
            ways[f"{suffix}, all in order, {told}"] = partial(cache.features, verify=verify)
            for name, keys in asked.items():
                ways[f"{suffix}, {name}, {told}"] = partial(cache.read, keys, verify=verify)
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
