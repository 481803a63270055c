"""Searching libraries of 100,000, of a million, and of ten million items, against what it could cost at least.

Embeddings of 128 values are generated: rows around the centres of clusters, each value ``--spread`` away (one standard
deviation, before rows are brought to unit length; centres are of unit length); queries are made in the same way. They
lie in a file that is mapped into memory, and whatever is measured was read before. Exact: the five nearest with their
percentiles, near ties compared again in double precision, against a bare ``matrix @ query`` and ``topk``; the two take
turns; medians. Memory is what the process holds at its peak more than before it opened the file, pages of the file
included. Approximate: inverted lists, against the exact search; recall is of the ten nearest; filters keep rows drawn
at random, and what they find is compared with a plain sort of these rows in double precision. Anonymous memory is what
the whole process holds beside pages of files, at its peak while the lists are made and searched, looked at every 20 ms.
"""

import argparse
import multiprocessing
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from record import Row, command_line, counted, publish
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.index import build_lists, read_lists
from emoclim.stages import Embedded, EmbeddedQuery, ExactRanker, Gallery

WIDTH, TOP = 128, 5
BLOCK = 100_000
NEAREST = 10
SHARES = (0.01, 0.0001)  # of rows that filters keep
GIGABYTE = 1e9
LIMITS = {100_000: "<= 1.3"}  # by rows; larger ones have that of a million
STATUS = Path("/proc/self/status")


class Numbers(Sequence[str]):
    """Ids of so many items, none of which is kept."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[str]: ...
    def __getitem__(self, row: int | slice) -> str | Sequence[str]:
        return str(row) if isinstance(row, int) else [str(one) for one in range(*row.indices(self._count))]


def main() -> None:
    """Measure each size in a process of its own."""
    parser = command_line(__doc__)
    parser.add_argument("--exact", type=int, nargs="*", default=[100_000, 1_000_000], help="rows")
    parser.add_argument("--approximate", type=int, nargs="*", default=[], help="rows")
    parser.add_argument("--clusters", type=int, default=2000)
    parser.add_argument("--spread", type=float, default=0.08)
    parser.add_argument("--queries", type=int, default=100, help="of which recall is a mean")
    parser.add_argument("--runs", type=int, default=21, help="searches that are timed")
    parser.add_argument("--folder", type=Path, help="where files are made; default the system's for such files")
    asked = parser.parse_args()
    details: dict[str, Any] = {"load before": round(os.getloadavg()[0], 2)}
    rows: list[Row] = []
    for count, part, told in [(n, exact, exact_rows) for n in asked.exact] + [
        (n, approximate, approximate_rows) for n in asked.approximate
    ]:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            spawned = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawned) as process:
                found = process.submit(part, Path(folder), count, asked).result()
        details[f"{part.__name__}, {count:,} rows"] = found
        rows += told(count, **found)
    publish("Search", __doc__, asked, rows, details, "torch", "faiss-cpu")


def exact(folder: Path, count: int, asked: argparse.Namespace) -> dict[str, Any]:
    """The exact search and the bare product."""
    generate(folder / "vectors.bin", count, asked)
    queries = [normalize(one, dim=0) for one in drawn(asked.runs, asked, seed=1)]
    before = memory("VmRSS")
    vectors = mapped(folder / "vectors.bin")
    gallery = Gallery(Embedded("audio", Numbers(count), vectors, "ip"))
    gallery.search(EmbeddedQuery(queries[0]), top=TOP)
    most = memory("VmHWM") - before
    ways: dict[str, Callable[[Tensor], object]] = {
        "search": lambda one: gallery.search(EmbeddedQuery(one), top=TOP),
        "product": lambda one: (vectors @ one).topk(TOP),
    }
    taken = in_turns(ways, queries)
    return {"ms": taken, "memory": max(most, memory("VmHWM") - before), "bytes": 4 * vectors.numel()}


def exact_rows(count: int, ms: dict[str, float], memory: float, bytes: float) -> Iterator[Row]:  # noqa: A002
    """What was found."""
    name = f"The {TOP} nearest of {counted(count, 'item')}, exact, with percentiles"
    limit = LIMITS.get(count, "<= 1.5")
    yield Row(name, ms["search"], "ms", "product and topk", ms["product"], limit)
    if count >= 1_000_000:  # of fewer, it is mostly that of libraries
        yield Row(f"{name}: memory", memory / GIGABYTE, "GB", "matrix", bytes / GIGABYTE, "<= 1.2")


def approximate(folder: Path, count: int, asked: argparse.Namespace) -> dict[str, Any]:
    """The search by lists, and the exact one."""
    generate(folder / "vectors.bin", count, asked)
    vectors, begun = mapped(folder / "vectors.bin"), time.monotonic()
    with watched() as peak:
        expected = build_lists(folder / "lists.faiss", vectors)
        built, building = time.monotonic() - begun, peak()
    queries = list(normalize(drawn(asked.queries, asked, seed=1), dim=1))
    ranker, whole = read_lists(folder / "lists.faiss", vectors), ExactRanker(vectors)
    assert ranker is not None
    with watched() as peak:
        near = [ranker(one, NEAREST) for one in queries]
        filtered = {f"{share:.2%}": chosen(ranker, vectors, queries[:5], share) for share in SHARES}
        searching = peak()
    timed = queries[: asked.runs]
    taken = in_turns({"lists": lambda one: ranker(one, TOP), "exact": lambda one: whole(one, TOP)}, timed)
    found = [torch.isin(one.rows, best) for one, best in zip(near, nearest(queries, vectors), strict=True)]
    return {
        "ms": taken,
        "recall": float(torch.cat(found).double().mean()),
        "recall, as told when made": expected,
        "seconds to make": built,
        "anonymous": max(building, searching),
        "anonymous, searching": searching,
        "bytes of lists": (folder / "lists.faiss").stat().st_size,
        "filtered": filtered,
    }


def approximate_rows(count: int, **found: Any) -> Iterator[Row]:
    """What was found."""
    name = f"of {counted(count, 'item')}, by lists"
    yield Row(f"The {TOP} nearest {name}", found["ms"]["lists"], "ms", "exact search", found["ms"]["exact"], "<= 0.1")
    yield Row(f"Recall of the {NEAREST} nearest {name}", found["recall"], "", goal=">= 0.95")
    yield Row(f"Anonymous memory, {name}", found["anonymous"] / GIGABYTE, "GB", goal="< 3 GB")
    for share, (agreed, taken) in found["filtered"].items():
        told = f"under a filter that keeps {share}"
        yield Row(f"Found {name}, {told}, as by a plain sort", agreed, "", goal=">= 1")
        yield Row(f"The {NEAREST} nearest {name}, {told}", taken, "ms", "exact search of all", found["ms"]["exact"])


def nearest(queries: list[Tensor], vectors: Tensor) -> Tensor:
    """The rows of the nearest ten of each query, by bare products."""
    scores, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for number, block in enumerate(torch.split(vectors, BLOCK)):
        best, places = (torch.stack(queries) @ block.T).topk(min(NEAREST, len(block)), dim=1)
        scores, rows = torch.cat([scores, best], dim=1), torch.cat([rows, places + number * BLOCK], dim=1)
    return rows.gather(1, scores.topk(NEAREST, dim=1).indices)


def chosen(ranker: Any, vectors: Tensor, queries: list[Tensor], share: float) -> tuple[float, float]:
    """Which share of what a filter finds a plain sort finds at the same place, and the milliseconds of a search."""
    agreed, taken = [], []
    for number, one in enumerate(queries):
        kept = np.random.default_rng(number).random(len(vectors)) < share
        begun = time.perf_counter()
        found = ranker(one, NEAREST, torch.from_numpy(kept)).rows
        taken.append(1000 * (time.perf_counter() - begun))
        rows = np.flatnonzero(kept)
        scores = vectors.numpy()[rows].astype(np.float64) @ one.double().numpy()
        agreed.append(float((rows[np.argsort(-scores)[: len(found)]] == found.numpy()).mean()))
    return statistics.fmean(agreed), statistics.median(taken)


def in_turns(ways: dict[str, Callable[[Tensor], object]], queries: list[Tensor]) -> dict[str, float]:
    """Milliseconds of each way, the median over queries."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number, one in enumerate(queries):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            begun = time.perf_counter()
            ways[name](one)
            taken[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(each) for name, each in taken.items()}


def drawn(count: int, asked: argparse.Namespace, seed: int) -> Tensor:
    """Points around centres, which are the same for every seed."""
    of_centres, of_rows = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    centres = normalize(torch.randn(asked.clusters, WIDTH, generator=of_centres), dim=1)
    picked = centres[torch.randint(asked.clusters, (count,), generator=of_rows)]
    return picked.add_(torch.randn(count, WIDTH, generator=of_rows), alpha=asked.spread)


def generate(path: Path, count: int, asked: argparse.Namespace) -> None:
    """Write vectors of unit length."""
    with path.open("wb") as file:
        for first in range(0, count, BLOCK):
            rows = drawn(min(BLOCK, count - first), asked, seed=2 + first)
            file.write(normalize(rows, dim=1).numpy().tobytes())


def mapped(path: Path) -> Tensor:
    """The vectors of a file, all read once."""
    vectors = torch.from_numpy(np.memmap(path, np.float32, "c").reshape(-1, WIDTH))
    for block in torch.split(vectors, BLOCK):
        block.sum()
    return vectors


def memory(kind: str) -> float:
    """Bytes that the process holds: VmRSS, VmHWM (at most so far), RssAnon."""
    found = re.search(rf"{kind}:\s*(\d+) kB", STATUS.read_text()) if STATUS.is_file() else None
    return 1024 * int(found[1]) if found else 0.0


@contextmanager
def watched() -> Iterator[Callable[[], float]]:
    """Look at the anonymous memory of the process all the time; what is yielded tells the most that was seen."""
    most, ended = [memory("RssAnon")], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], memory("RssAnon"))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield lambda: most[0]
    finally:
        ended.set()
        watcher.join()


if __name__ == "__main__":
    main()
