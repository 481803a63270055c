"""Slow, plain versions of the ranking metrics: one query at a time, loops only, and ties by trying every order."""

from collections.abc import Callable, Sequence
from itertools import pairwise, permutations
from math import sqrt
from statistics import fmean

Metric = Callable[[Sequence[bool]], float]  # of the relevance of candidates in ranked order


def precision(ranked: Sequence[bool], k: int) -> float:
    return sum(1 for place, hit in enumerate(ranked) if hit and place < k) / k


def hit(ranked: Sequence[bool], k: int) -> float:
    return float(any(ranked[:k]))


def reciprocal_rank(ranked: Sequence[bool]) -> float:
    for place, hit in enumerate(ranked):
        if hit:
            return 1 / (place + 1)
    return 0.0


def average_precision(ranked: Sequence[bool]) -> float:
    hits, total = 0, 0.0
    for place, hit in enumerate(ranked):
        if hit:
            hits += 1
            total += hits / (place + 1)
    return total / hits if hits else 0.0


def r_precision(ranked: Sequence[bool]) -> float:
    return precision(ranked, sum(ranked)) if any(ranked) else 0.0


def ordered(scores: Sequence[float], relevant: Sequence[bool]) -> list[bool]:
    """Relevance in ranked order, for scores without ties."""
    return [hit for _, hit in sorted(zip(scores, relevant, strict=True), key=lambda pair: -pair[0])]


def over_all_orders(metric: Metric, scores: Sequence[float], relevant: Sequence[bool]) -> float:
    """Mean of `metric` over every order of the candidates that sorts their scores."""
    return fmean(
        metric([relevant[candidate] for candidate in order])
        for order in permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in pairwise(order))
    )


def macro(values: Sequence[float], classes: Sequence[int]) -> float:
    present = sorted(set(classes))
    return fmean(
        fmean(value for value, label in zip(values, classes, strict=True) if label == wanted) for wanted in present
    )


def retrieval(
    queries: Sequence[Sequence[float]],
    query_labels: Sequence[int],
    candidates: Sequence[Sequence[float]],
    candidate_labels: Sequence[int],
    metric: Metric,
    *,
    same_items: bool,
) -> list[float]:
    """`metric` of each query by cosine similarity; an item is never its own candidate, and a zero query finds none."""
    values = []
    for row, (query, label) in enumerate(zip(queries, query_labels, strict=True)):
        if not any(query):
            values.append(0.0)
            continue
        others = [column for column in range(len(candidates)) if not (same_items and column == row)]
        scores = [_cosine(query, candidates[column]) for column in others]
        values.append(metric(ordered(scores, [candidate_labels[column] == label for column in others])))
    return values


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / sqrt(sum(x * x for x in a) * sum(y * y for y in b))
