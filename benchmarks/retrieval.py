"""Ranking metrics against what they could cost at least, and against computing them query by query.

Data are generated; medians. Small: P@1, P@5 and MRR of given scores and classes. The peers take one query after
another: torchmetrics' functions where that is installed (it drops relevant candidates that score 0 or less, so it is
given scores above 0), and a loop that sorts each row. Large: P@1, P@5, P@10 and MRR of 100,000 x 100,000 vectors of 128
values, against the bare products of the same blocks in the same precision. Of the queries as many are asked as
``--queries`` says, against all candidates; the memory is that of the whole process.
"""

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from record import Row, command_line, publish
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.metrics.blockwise import BLOCK, measure_vectors, on_grid
from emoclim.metrics.questions import Answer, Question

N_CLASSES = 6
GIGABYTE = 1e9
OURS, SORT, TORCHMETRICS = "all at once", "a sort per query", "torchmetrics, query by query"
SMALL_GOALS = {SORT: "<= 8 ms", TORCHMETRICS: "<= 1/60"}


def main() -> None:
    """Measure both sizes; the ways of one size take turns, so that whatever else the machine does falls on all."""
    parser = command_line(__doc__)
    parser.add_argument("--small", type=int, nargs=2, default=[1370, 1180], metavar=("QUERIES", "CANDIDATES"))
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=8192, help="how many are asked of as many as candidates")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--memory", type=int, default=1 << 30, help="bytes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    load = os.getloadavg()[0]
    details = {
        "large": large(asked.queries, asked.candidates, asked.dim, asked.memory, asked.runs),
        "small": small(*asked.small, 10 * asked.runs),
        "load before": round(load, 2),
    }
    publish("Ranking metrics", __doc__, asked, list(rows(**details)), details, "torch")


def rows(small: dict[str, Any], large: dict[str, Any], **_others: object) -> Iterator[Row]:
    """What was found, against each peer and limit."""
    name = f"P@1, P@5 and MRR of {small['queries']:,} x {small['candidates']:,} given scores, exact with ties"
    for peer, taken in small["ms"].items():
        if peer != OURS:
            yield Row(name, small["ms"][OURS], "ms", peer, taken, SMALL_GOALS[peer])
    size = f"{large['queries asked']:,} x {large['candidates']:,} vectors"
    name, taken = f"P@1, P@5, P@10 and MRR of {size}", large["seconds"]
    yield Row(name, taken["metrics"], "s", "bare products", taken["bare products"], "<= 1.5")
    yield Row(f"{name}: most memory", large["most memory of the process in GB"], "GB", goal="< 2 GB")


def small(n_queries: int, n_candidates: int, runs: int) -> dict[str, Any]:
    """Given scores and classes."""
    generator = torch.Generator().manual_seed(0)
    question = Question(*classes(n_queries, n_candidates, generator), torch.eye(N_CLASSES).bool(), (1, 5), ("MRR",))
    sides = (normalize(torch.randn(size, 128, generator=generator), dim=1) for size in (n_queries, n_candidates))
    scores = next(sides) @ next(sides).T
    relevant = question.queries[:, None] == question.candidates
    peers: dict[str, Callable[[], Tensor]] = {SORT: lambda: one_by_one(scores, relevant)}
    try:
        from torchmetrics.functional.retrieval import retrieval_precision, retrieval_reciprocal_rank
    except ImportError:
        note = "torchmetrics is not installed, so it is left out"
    else:
        note = "torchmetrics is given scores above 0"
        shifted = scores - scores.min() + 1

        def peer() -> Tensor:
            rows = list(zip(shifted, relevant, strict=True))
            found = [[retrieval_precision(*row, top_k=k) for row in rows] for k in question.ks]
            return torch.tensor([*found, [retrieval_reciprocal_rank(*row) for row in rows]])

        peers[TORCHMETRICS] = peer
    answer = at_once(scores, question)
    for name, way in peers.items():
        torch.testing.assert_close(
            way().double(), torch.stack(list(answer.values.values())), atol=1e-6, rtol=0, msg=name
        )
    taken = medians({OURS: lambda: at_once(scores, question)}, runs) | medians(peers, max(1, runs // 10))
    milliseconds = {name: 1000 * seconds for name, seconds in taken.items()}
    ratios = {name: milliseconds[name] / milliseconds[OURS] for name in peers}
    return {
        "queries": n_queries,
        "candidates": n_candidates,
        "ms": milliseconds,
        "times as fast as": ratios,
        "note": note,
    }


def at_once(scores: Tensor, question: Question) -> Answer:
    """What the metrics make of the scores of one block."""
    queries, candidates = map(torch.arange, scores.shape)
    layout, answer = question.lay_out(candidates), Answer.blank(question)
    answer.count_candidates(question, queries, candidates, None)
    placed = scores[:, layout.spread(candidates)].index_fill_(1, layout.empty().nonzero()[:, 0], -torch.inf)
    answer.take(question, queries, placed, layout)
    return answer


def one_by_one(scores: Tensor, relevant: Tensor) -> Tensor:
    """P@1, P@5 and MRR as one would write them at first; ``(3, Q)``."""
    found = []
    for row, hits in zip(scores, relevant, strict=True):
        ranked = hits[row.argsort(descending=True)].float()
        first = ranked.nonzero()
        found.append([float(ranked[0]), float(ranked[:5].mean()), 1 / (float(first[0, 0]) + 1) if len(first) else 0.0])
    return torch.tensor(found).T


def large(n_queries: int, n_candidates: int, dim: int, memory: int, runs: int) -> dict[str, Any]:
    """Vectors that lean towards their class."""
    generator = torch.Generator().manual_seed(1)
    queries, candidates = classes(min(n_queries, n_candidates), n_candidates, generator)
    centres = torch.randn(N_CLASSES, dim, generator=generator)
    sides = [on_grid(centres[of] + 2 * torch.randn(len(of), dim, generator=generator)) for of in (queries, candidates)]
    question = Question(queries, candidates, torch.eye(N_CLASSES).bool(), (1, 5, 10), ("MRR",))
    asking, placed = sides

    def products() -> None:
        each = question.lay_out(torch.arange(n_candidates)).bytes_per_query(max(question.ks))
        size = max(1, min(memory, BLOCK) // each)
        block, columns = torch.empty(2 * size, n_candidates), placed.T
        for rows in torch.split(asking, 2 * size):
            torch.mm(rows, columns, out=block[: len(rows)])

    ways = {"metrics": lambda: measure_vectors(*sides, question, memory=memory), "bare products": products}
    seconds = medians(ways, runs)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return {
        "queries asked": len(queries),
        "queries in all": n_candidates,
        "candidates": n_candidates,
        "seconds": seconds,
        "seconds for all queries": {name: taken * n_candidates / len(queries) for name, taken in seconds.items()},
        "times the bare products": seconds["metrics"] / seconds["bare products"],
        "most memory of the process in GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIGABYTE,
        "note": "all queries" if len(queries) == n_candidates else "seconds for all queries are from a sample of them",
    }


def classes(n_queries: int, n_candidates: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Unevenly many of each class."""
    share = torch.arange(1.0, N_CLASSES + 1)
    drawn = (torch.multinomial(share, size, True, generator=generator) for size in (n_queries, n_candidates))
    return next(drawn), next(drawn)


def medians(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Seconds that each way takes."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if run or runs == 1:  # the first one warms up
                taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


if __name__ == "__main__":
    main()
