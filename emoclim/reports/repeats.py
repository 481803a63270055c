"""The heads of a sweep as repeats of settings, and how much of their differences is noise.

Conventions: a setting is a choice of loss weights and temperature; heads of one setting are its repeats, which differ
in their seed, or in what else was tried. Values are float64 and lead with the K heads; `setting` is ``(K,)`` int64,
equal for repeats.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

MOST_LEVELS = 6
FEWEST = 5  # settings that a mean with its error needs


@dataclass(frozen=True, slots=True)
class Scored:
    """The K heads of a sweep that have a score.

    Attributes
    ----------
    weights
        ``(K, 4)``.
    temperature, score
        ``(K,)``.
    metrics
        ``(K,)`` each, in percent; nan where not known.
    setting
        ``(K,)``.
    chosen
        ``(K,)`` bool: the chosen head and its repeats.
    even
        ``(K,)`` bool: heads of even weights, at the temperature of the chosen one if there are such.
    """

    weights: Tensor
    temperature: Tensor
    score: Tensor
    metrics: Mapping[str, Tensor]
    setting: Tensor
    chosen: Tensor
    even: Tensor


def scored(weights: Tensor, temperature: Tensor, metrics: Mapping[str, Tensor], score: Tensor, chosen: int) -> Scored:
    """Leave out the heads whose score is not finite, and find those that a picture marks.

    Parameters
    ----------
    weights
        ``(K, 4)``.
    temperature, score
        ``(K,)``.
    metrics
        ``(K,)`` shares from 0 to 1, by name.
    chosen
        Row of the chosen head.
    """
    weights, temperature, score = (values.detach().cpu().double() for values in (weights, temperature, score))
    _, setting = torch.unique(torch.cat([weights, temperature[:, None]], dim=1), dim=0, return_inverse=True)
    known = score.isfinite()
    even = known & ((weights - 0.25).abs() < 1e-6).all(dim=1)
    alike = even & (temperature == temperature[chosen])
    return Scored(
        weights=weights[known],
        temperature=temperature[known],
        score=score[known],
        metrics={name: 100 * values.detach().cpu().double()[known] for name, values in metrics.items()},
        setting=setting[known],
        chosen=(setting == setting[chosen])[known],
        even=(alike if alike.any() else even)[known],
    )


def group_means(values: Tensor, group: Tensor) -> Tensor:
    """Mean of ``(K,)`` values in each of G groups.

    Parameters
    ----------
    values
        ``(K,)``.
    group
        ``(K,)`` or ``(K, n)``: equal for members of one group.

    Returns
    -------
    Tensor
        ``(G,)``, in the order of the sorted groups.
    """
    _, place, counts = torch.unique(group, dim=0, return_inverse=True, return_counts=True)
    means: Tensor = torch.bincount(place, values) / counts
    return means


def noise_of(values: Tensor, setting: Tensor) -> float:
    """Standard deviation among repeats, pooled over all settings.

    Parameters
    ----------
    values
        ``(K,)``; one that is not finite is left out.
    setting
        ``(K,)``.

    Returns
    -------
    float
        nan where nothing was repeated.
    """
    known = values.isfinite()
    _, place, counts = torch.unique(setting[known], return_inverse=True, return_counts=True)
    freedom = len(place) - len(counts)
    if not freedom:
        return math.nan
    residual = values[known] - group_means(values[known], place)[place]
    return math.sqrt(float(residual.square().sum()) / freedom)


def luck_of(noise: float, setting: Tensor) -> float:
    """How far the best mean of a setting would lie above the middle one by luck, were all settings alike.

    Parameters
    ----------
    noise
        Standard deviation among repeats.
    setting
        ``(K,)``.

    Notes
    -----
    The largest of n normal values is expected at their quantile (n - 3/8) / (n + 1/4): G. Blom, "Statistical Estimates
    and Transformed Beta-Variables", 1958. What a seed does to all settings alike counts as noise here, so that luck is
    rather over- than underrated.
    """
    counts = torch.unique(setting, return_counts=True)[1].double()
    largest = NormalDist().inv_cdf((len(counts) - 0.375) / (len(counts) + 0.25))
    return noise * largest * math.sqrt(float(counts.reciprocal().mean()))


def trend_of(x: Tensor, y: Tensor, setting: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of one quantity at several levels of another.

    Parameters
    ----------
    x
        ``(K,)``: not negative, equal for repeats.
    y
        ``(K,)``; one that is not finite is left out.
    setting
        ``(K,)``.

    Returns
    -------
    tuple of Tensor
        ``(L,)`` each: mean of `x`, mean of `y` and its standard error, each setting counting once. Levels are the
        values of `x` where there are few, else 0 and equal shares of the rest; those with too few settings are left
        out.
    """
    known = y.isfinite()
    x, y = group_means(x[known], setting[known]), group_means(y[known], setting[known])
    edges = torch.unique(x)
    if len(edges) > MOST_LEVELS:
        shares = torch.linspace(0, 1, MOST_LEVELS, dtype=x.dtype)[:-1]
        edges = torch.cat([x.new_zeros(1), torch.quantile(x[x > 0], shares)])
    level = torch.bucketize(x, edges, right=True)
    parts = [(x[level == one], y[level == one]) for one in torch.unique(level)]
    rows = [(a.mean(), b.mean(), b.std() / math.sqrt(len(b))) for a, b in parts if len(b) >= FEWEST]
    return tuple(torch.tensor(rows, dtype=x.dtype).reshape(-1, 3).unbind(dim=1))  # type: ignore[return-value]
