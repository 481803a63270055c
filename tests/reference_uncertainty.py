"""Slow, plain versions of the intervals and tests: one resample at a time, and every choice of signs."""

import random
from collections.abc import Sequence
from itertools import product
from statistics import fmean


def by_class(values: Sequence[float], classes: Sequence[int]) -> list[list[float]]:
    return [
        [value for value, label in zip(values, classes, strict=True) if label == wanted]
        for wanted in sorted(set(classes))
    ]


def macro(groups: Sequence[Sequence[float]]) -> float:
    return fmean(fmean(group) for group in groups)


def micro(groups: Sequence[Sequence[float]]) -> float:
    return fmean(value for group in groups for value in group)


def resampled(groups: Sequence[Sequence[float]], n_resamples: int, seed: int) -> list[list[float]]:
    """Means of each class, once per resample of one query less than it has."""
    draw = random.Random(seed)
    return [[fmean(draw.choices(group, k=len(group) - 1)) for group in groups] for _ in range(n_resamples)]


def percentile(values: Sequence[float], share: float) -> float:
    ascending = sorted(values)
    place = share * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (place - below) * (ascending[above] - ascending[below])


def sign_flip(differences: Sequence[float], weights: Sequence[float]) -> float:
    """Share of all choices of signs whose weighted sum is at least as far from 0."""
    observed = abs(sum(weight * value for weight, value in zip(weights, differences, strict=True)))
    reached = 0
    for signs in product((1, -1), repeat=len(differences)):
        total = sum(sign * weight * value for sign, weight, value in zip(signs, weights, differences, strict=True))
        reached += abs(total) >= observed - 1e-12
    return reached / 2 ** len(differences)


def holm(p_values: Sequence[float]) -> list[float]:
    """Step by step: the smallest times n, the next times n - 1, none below the one before."""
    corrected = [0.0] * len(p_values)
    least = 0.0
    for step, place in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - step)))
        corrected[place] = least
    return corrected
