"""ROC-AUC and average precision of a tagger's scores, against scikit-learn, and what intervals and training cost.

Medians. Scores are generated, at the size of the test split of MagnaTagATune (5,329 items, 50 tags), without ties and
rounded to two decimals. The training is of a tagging head on 18,709 generated features of 200 values with nine segments
each. ``--coverage N`` also counts how often the 95 % interval of a report holds the mean over N samples of other items.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from record import Row, command_line, publish
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from emoclim.data.features import Features, FeatureSpec
from emoclim.metrics.tagging import draw_counts, resampled_metrics, tag_metrics
from emoclim.reports.tagging import Trained, make_report
from emoclim.stages.tag_heads import TagSplit
from emoclim.stages.tagging import tag

TAGS, RATE = 50, 0.05
TRAIN, VAL, DIM, SEGMENTS = 18_709, 1825, 200, 9
RESAMPLES = 1000
SMALL = (50, 200, 1000)  # items of the samples whose intervals are counted


def main() -> None:
    """Measure ours and theirs in turn, so that whatever else the machine does falls on both."""
    parser = command_line(__doc__)
    parser.add_argument("--items", type=int, default=5329)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--coverage", type=int, default=0, help="samples of each size")
    parser.add_argument("--no-training", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    generator = torch.Generator().manual_seed(0)
    result: dict[str, Any] = {}
    scores, relevant = sample(asked.items, TAGS, generator)
    for name, given in (("without ties", scores), ("with ties", scores.round(decimals=2))):
        result[name] = against_sklearn(given, relevant, asked.runs)
    begun = time.perf_counter()
    resampled_metrics(scores, relevant, draw_counts(asked.items, RESAMPLES, generator))
    result["seconds"] = {f"{RESAMPLES} resamples": time.perf_counter() - begun}
    if not asked.no_training:
        begun = time.perf_counter()
        report = tag(*(tracks(n, seed) for seed, n in enumerate((TRAIN, VAL, asked.items))), tags=names(), device=CPU)
        epochs = report.curve[-1].best_epochs[0] + 11  # and the patience
        result["seconds"] |= {"one head and its report": time.perf_counter() - begun, "epochs": epochs}
    if asked.coverage:
        warnings.simplefilter("ignore")
        result["coverage"] = {f"{n} items": coverage(n, asked.coverage, generator) for n in SMALL}
    publish("Tagging", __doc__, asked, list(rows(asked.items, result)), result, "torch", "scikit-learn", "numpy")


def rows(n_items: int, result: dict[str, Any]) -> Iterator[Row]:
    """What was found."""
    size = f"ROC-AUC and average precision of {n_items:,} x {TAGS}"
    for name in ("without ties", "with ties"):
        found = result[name]
        yield Row(f"{size}, {name}", found["milliseconds"], "ms", "scikit-learn", found["scikit-learn"], "<= 1/4")
        yield Row(f"{size}, {name}: largest difference", found["largest difference"], "", goal="<= 1e-12")
    spent = result["seconds"]
    yield Row(f"{RESAMPLES:,} resamples of both", spent[f"{RESAMPLES} resamples"], "s")
    if "one head and its report" in spent:
        yield Row(f"a tagging head and its report, {spent['epochs']} epochs", spent["one head and its report"], "s")
    for size, held in result.get("coverage", {}).items():
        for metric, share in held.items():
            yield Row(f"intervals of {metric}, {size}, that hold the truth", 100 * share, "%")


CPU = torch.device("cpu")


def names() -> list[str]:
    """Of the tags."""
    return [f"tag {number}" for number in range(TAGS)]


def sample(n_items: int, n_tags: int, generator: torch.Generator, rate: float = RATE) -> tuple[Tensor, Tensor]:
    """Scores ``(N, T)`` that are higher by one deviation for positive items, and which are."""
    relevant = torch.rand(n_items, n_tags, generator=generator) < rate
    return torch.randn(n_items, n_tags, generator=generator) + relevant, relevant


def against_sklearn(scores: Tensor, relevant: Tensor, runs: int) -> dict[str, float]:
    """Medians of both, their ratio, and the largest difference of any value."""
    ours, theirs = [], []
    wanted, given = relevant.numpy(), scores.numpy()
    for run in range(runs + 1):
        taken, found = timed(lambda: tag_metrics(scores, relevant))
        peer, expected = timed(
            lambda: (
                roc_auc_score(wanted, given, average=None),
                average_precision_score(wanted, given, average=None),
            )
        )
        if run:  # the first one warms up
            ours.append(taken)
            theirs.append(peer)
    found_values = torch.stack([found.roc_auc, found.average_precision])
    difference = float((found_values - torch.tensor([list(column) for column in expected])).abs().max())
    mine, other = statistics.median(ours), statistics.median(theirs)
    return {
        "milliseconds": mine,
        "scikit-learn": other,
        "times as fast": other / mine,
        "largest difference": difference,
    }


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and what came of it."""
    begun = time.perf_counter()
    found = call()
    return (time.perf_counter() - begun) * 1000, found


def tracks(n_items: int, seed: int) -> TagSplit:
    """Features of recordings with some segments each, and tags that follow from them, up to noise."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n_items, DIM, generator=generator)
    segments = values.repeat_interleave(SEGMENTS, dim=0)
    segments += 0.7 * torch.randn(segments.shape, generator=generator)
    taste = torch.randn(DIM, TAGS, generator=torch.Generator().manual_seed(99)) / DIM**0.5
    relevant = values @ taste + 0.7 * torch.randn(n_items, TAGS, generator=generator) > 2.0
    offsets, ids = torch.arange(n_items + 1) * SEGMENTS, tuple(map(str, range(n_items)))
    spec = FeatureSpec("generated", "audio", DIM, "none", {})
    return TagSplit(Features(spec, ids, values, segments, offsets, torch.zeros(len(segments))), relevant)


def coverage(n_items: int, n_samples: int, generator: torch.Generator, n_tags: int = 7) -> dict[str, float]:
    """How often the 95 % intervals of the macro means hold what samples of that size have on average."""
    others = [tag_metrics(*sample(n_items, n_tags, generator, 0.1)) for _ in range(5000)]
    truth = {
        name: float(torch.stack([getattr(one, name).nanmean() for one in others]).mean())
        for name in ("roc_auc", "average_precision")
    }
    held = dict.fromkeys(truth, 0)
    for _ in range(n_samples):
        scores, relevant = sample(n_items, n_tags, generator, 0.1)
        counts = draw_counts(n_items, RESAMPLES, generator)
        trained = [Trained(1.0, 0, n_items, 0, 0, scores)]
        ids = tuple(map(str, range(n_items)))
        macro = make_report(names()[:n_tags], trained, ids, relevant, relevant, counts, {}, {}).macro
        for name, value in truth.items():
            found = getattr(macro, name)
            held[name] += found.low is not None and found.low <= value <= found.high
    return {name: number / n_samples for name, number in held.items()}


if __name__ == "__main__":
    main()
