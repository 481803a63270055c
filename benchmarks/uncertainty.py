"""How often the intervals of retrieval hold the truth, and how long they take, against scipy.stats.bootstrap.

Coverage: of each class, 50,000 queries are generated (the chance that a candidate is relevant differs from query to
query and from class to class; P@1, P@5, MRR and mAP of a list of 50 follow), whose mean is the truth; samples of a few
sizes are drawn of them 1,000 times, and it is counted how often the 95 % interval holds the truth. Of the four metrics,
that which is farthest from 95 counts. A sample without spread has no interval, which counts as not held. "Plain" are
percentiles without the two corrections, by scipy's method.

Speed: intervals of six metrics, macro, micro and each class, of 1,370 queries in six classes by 10,000 resamples, and
the randomisation test; scipy's bootstrap (percentile, vectorised) of the macro mean of one metric alone is timed in
turn with them, in CPU time on one thread, and taken six times.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from record import Row, command_line, publish
from scipy import stats
from torch import Tensor

from emoclim.metrics.uncertainty import bootstrap_means, mean_weights, sign_flip_test

PAPER_SIZES = (420, 310, 240, 190, 130, 80)  # 1,370 queries, as many as the papers'
SIZES = (PAPER_SIZES, (100, 80, 60, 40, 30, 20), (30,) * 6, (10,) * 6, (5,) * 6, (3,) * 6, (2, 3, 4, 4, 5, 5))
SCIPY = "scipy, one metric, macro only"
METRICS = ("P@1", "P@5", "MRR", "mAP")
POPULATION, LISTED = 50_000, 50
CHANCES = torch.linspace(0.08, 0.68, 6)  # of a relevant candidate for the middle query of each class


def main() -> None:
    """Measure both."""
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="samples of each size")
    parser.add_argument("--resamples", type=int, default=2000, help="of each of these")
    parser.add_argument("--runs", type=int, default=7, help="of what is timed")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    classes = populations()
    details = {
        "coverage": [coverage(classes, sizes, asked.repeats, asked.resamples) for sizes in SIZES],
        "speed": speed(asked.runs),
    }
    publish("Intervals", __doc__, asked, list(rows(**details)), details, "torch", "scipy")


def rows(coverage: list[dict[str, Any]], speed: dict[str, float]) -> Iterator[Row]:
    """What was found."""
    for found in coverage:
        sizes = ", ".join(map(str, found["class_sizes"]))
        plainly = farthest(found["plain macro"])
        yield Row(f"{sizes} queries, macro", farthest(found["macro"]), "%", "plain", plainly, "93 to 97 %")
        yield Row(f"{sizes} queries, micro", farthest(found["micro"]), "%", goal="93 to 97 %")
        yield Row(f"{sizes} queries, worst class", farthest(found["worst class"]), "%")
    theirs = 6 * speed[SCIPY]
    yield Row("intervals of six metrics", speed["intervals"], "ms", "scipy.stats.bootstrap", theirs, "<= 1000 ms")
    yield Row("randomisation test of six metrics", speed["test"], "ms", goal="<= 1000 ms")


def farthest(held: Mapping[str, float]) -> float:
    """Of the metrics' percentages, that which is farthest from 95."""
    return max(held.values(), key=lambda share: abs(share - 95))


def populations() -> Tensor:
    """All queries of each class, ``(C, POPULATION, T)``."""
    draw = torch.Generator().manual_seed(0)
    return torch.stack([queries(chance, draw) for chance in CHANCES])


def queries(chance: Tensor, draw: torch.Generator) -> Tensor:
    """Metrics ``(POPULATION, T)`` of generated rankings."""
    own = (chance.logit() + torch.randn(POPULATION, 1, generator=draw)).sigmoid()
    hits = torch.rand(POPULATION, LISTED, generator=draw) < own
    ranks = torch.arange(1, LISTED + 1)
    first = torch.where(hits.any(1), 1 / (hits.int().argmax(1) + 1.0), 0.0)
    average = (hits * hits.cumsum(1) / ranks).sum(1) / hits.sum(1).clamp(min=1)
    return torch.stack([hits[:, 0].double(), hits[:, :5].double().mean(1), first.double(), average.double()], dim=1)


def coverage(classes: Tensor, sizes: tuple[int, ...], repeats: int, n_resamples: int) -> dict[str, Any]:
    """Share of samples whose interval holds the truth."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    truth = classes.mean(1)  # (C, T)
    means = {"macro": truth.mean(0), "micro": truth[labels].mean(0), "classes": truth}
    held = {name: torch.zeros_like(mean) for name, mean in means.items()} | {"plain macro": torch.zeros_like(truth[0])}
    for _ in range(repeats):
        values = torch.cat(
            [
                part[torch.randint(POPULATION, (size,), generator=draw)]
                for part, size in zip(classes, sizes, strict=True)
            ]
        )
        found = bootstrap_means(values, labels, draw, n_resamples=n_resamples)
        for name, mean in means.items():
            one = getattr(found, name)
            held[name] += (one.low <= mean + 1e-12) & (mean - 1e-12 <= one.high)
        low, high = plain(values, sizes, n_resamples, draw)
        held["plain macro"] += (low <= means["macro"]) & (means["macro"] <= high)
    rates = {name: (100 * count / repeats).round(decimals=1) for name, count in held.items()}
    by_metric = {name: dict(zip(METRICS, rate.tolist(), strict=True)) for name, rate in rates.items() if rate.ndim == 1}
    lowest = dict(zip(METRICS, rates["classes"].min(0).values.tolist(), strict=True))
    return {"class_sizes": sizes, **by_metric, "worst class": lowest}


def plain(values: Tensor, sizes: tuple[int, ...], n_resamples: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Percentiles of the macro mean as scipy has them: of a class of n, n are drawn."""
    total = torch.zeros(n_resamples, values.shape[1], dtype=torch.float64)
    for part in values.split(sizes):
        n = len(part)
        rows = torch.randint(n, (n_resamples, n), generator=draw) + n * torch.arange(n_resamples)[:, None]
        total += rows.view(-1).bincount(minlength=n * n_resamples).view(n_resamples, n).double() @ part / n
    low, high = torch.quantile(total / len(sizes), torch.tensor([0.025, 0.975]).double(), dim=0)
    return low, high


def speed(runs: int) -> dict[str, float]:
    """Medians in milliseconds of CPU time, and how often one of ours goes into scipy's."""
    values = torch.rand(1370, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(6).repeat_interleave(torch.tensor(PAPER_SIZES))
    weights, draw = mean_weights(labels, "macro"), torch.Generator()
    parts = [part.numpy() for part in values[:, 0].split(PAPER_SIZES)]

    def by_scipy() -> object:
        def macro(*samples: Any, axis: int) -> Any:
            return np.mean([sample.mean(axis=axis) for sample in samples], axis=0)

        return stats.bootstrap(
            parts,
            macro,
            n_resamples=10_000,
            method="percentile",
            vectorized=True,
            batch=1000,
            rng=np.random.default_rng(0),
        )

    ways: dict[str, Callable[[], object]] = {
        "intervals": lambda: bootstrap_means(values, labels, draw),
        "test": lambda: sign_flip_test(values, weights, draw),
        SCIPY: by_scipy,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            if run:  # the first one warms up
                taken[name].append((time.process_time() - begun) * 1000)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return medians | {"scipy for six metrics / intervals": 6 * medians[SCIPY] / medians["intervals"]}


if __name__ == "__main__":
    main()
