"""Slow, plain versions of the metrics of tagging: one tag at a time, and loops only."""

from collections.abc import Sequence
from itertools import product
from statistics import fmean


def roc_auc(scores: Sequence[float], relevant: Sequence[bool]) -> float:
    """Share of pairs of a positive and a negative item in the right order, ties counting half."""
    positive = [score for score, hit in zip(scores, relevant, strict=True) if hit]
    negative = [score for score, hit in zip(scores, relevant, strict=True) if not hit]
    return fmean((p > n) + (p == n) / 2 for p, n in product(positive, negative))


def average_precision(scores: Sequence[float], relevant: Sequence[bool]) -> float:
    """Mean, over the positive items, of the precision at the threshold that lets each through."""
    both = list(zip(scores, relevant, strict=True))
    found = []
    for threshold, hit in both:
        if hit:
            through = [other for score, other in both if score >= threshold]
            found.append(sum(through) / len(through))
    return fmean(found)
