"""Say how far the mean of a few draws, such as the seeds of a training, may be off. Used by the reproduction of papers.

Convention: the draws are taken as independent and normal; nothing is said of the queries that they were measured on.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from emoclim.metrics.uncertainty import LEVEL


def mean_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Compute the interval of the mean of some draws, two or more, by Student's t.

    Notes
    -----
    The quantile is found by bisection of the distribution function for whole degrees of freedom, M. Abramowitz and I.
    Stegun, "Handbook of Mathematical Functions", 1964, 26.7.3 and 26.7.4.

    Examples
    --------
    >>> [round(end, 3) for end in mean_interval([0.5, 0.6, 0.7])]
    [0.352, 0.848]
    """
    free = len(values) - 1
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(free)
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, free) < level else (low, angle)
    reach = math.tan(low) * math.sqrt(free) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - reach, fmean(values) + reach


def _within(angle: float, free: int) -> float:
    """Return the chance that t lies within the angle's tangent times the root of the degrees of freedom, either way."""
    term, total = (math.cos(angle), math.cos(angle)) if free % 2 else (1.0, 1.0)
    for place in range(2 + free % 2, free - 1, 2):
        term *= (place - 1) / place * math.cos(angle) ** 2
        total += term
    share = math.sin(angle) * (total if free > 1 else 0.0)
    return 2 / math.pi * (angle + share) if free % 2 else share
