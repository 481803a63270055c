"""Metrics of predicted numbers, column by column, with intervals. Used by evaluation, and open to users.

Conventions: predictions and targets are ``(N, T)``, one row per item and one column per number; results are ``(T,)``
float64. A metric that a column does not define, since its targets or predictions are all alike, is NaN: whoever shows
it says why.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from emoclim.metrics.tagging import draw_counts
from emoclim.metrics.uncertainty import LEVEL, N_RESAMPLES, BootstrapMeans

R2, CORRELATION, CONCORDANCE = "R2", "r", "CCC"
RESAMPLES_PER_BLOCK = 1 << 10
FLAT = 1e-12  # share of the spread of all items below which that of a resample is none


def regression_metrics(predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compute the coefficient of determination, the correlation and the concordance of predictions.

    Parameters
    ----------
    predictions, targets
        ``(N, T)``, of any real type.

    Returns
    -------
    dict
        ``(T,)`` float64 each. ``"R2"``: 1 less the share of the squares of the targets about their mean that is left
        over, NaN where the targets are all alike. ``"r"``: Pearson's correlation, NaN where either is. ``"CCC"``: the
        concordance correlation coefficient, 0 where one of both is all alike and NaN where both are.

    Raises
    ------
    ValueError
        The shapes differ, there is no item, or a number is not finite.

    Notes
    -----
    L. Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.

    Examples
    --------
    >>> found = regression_metrics(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [3.0], [5.0]]))
    >>> {name: round(float(value), 4) for name, value in found.items()}
    {'R2': 0.75, 'r': 0.982, 'CCC': 0.8571}
    """
    predictions, targets = _checked(predictions, targets)
    ones = torch.ones(1, len(predictions), dtype=torch.float64)
    found = _metrics(ones, predictions, targets, flat=0.0)
    return {name: values[0] for name, values in found.items()}


def bootstrap_regression(
    predictions: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    *,
    groups: Tensor | None = None,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> Mapping[str, BootstrapMeans]:
    """Compute the metrics of :func:`regression_metrics` with percentile intervals of the bootstrap.

    Parameters
    ----------
    predictions, targets
        ``(N, T)``; all columns are resampled together.
    generator
        Source of randomness, on the CPU; what is drawn does not depend on the values.
    groups
        ``(N,)`` int64, from 0 on: items of one number, such as excerpts of one track, are drawn together; by default
        each item stands for itself.
    n_resamples
        How many times the items are drawn anew, with replacement.
    level
        Share of repetitions in which an interval should hold the value of all such items.

    Returns
    -------
    dict
        Shape ``(T,)`` by metric. Ends are NaN where the metric is, and where there is one group only. Resamples that do
        not define a metric are left out of its interval.

    Raises
    ------
    ValueError
        As :func:`regression_metrics` does; or groups do not fit, or a number is out of range.
    """
    value = regression_metrics(predictions, targets)
    predictions, targets = _checked(predictions, targets)
    owners = torch.arange(len(targets)) if groups is None else groups.cpu()
    if owners.shape != targets.shape[:1] or n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"groups {tuple(owners.shape)}, {n_resamples} resamples and level {level} give no interval")
    drawn = {name: list[Tensor]() for name in value}
    for first in range(0, n_resamples, RESAMPLES_PER_BLOCK):
        size = min(RESAMPLES_PER_BLOCK, n_resamples - first)
        counts = draw_counts(len(targets), size, generator, groups=owners).T.double()
        for name, values in _metrics(counts, predictions, targets, flat=FLAT).items():
            drawn[name].append(values)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    alone = bool((owners == owners[0]).all())
    found = {}
    for name, blocks in drawn.items():
        low, high = torch.cat(blocks).nanquantile(ends, dim=0)
        known = ~value[name].isnan() & (not alone)
        found[name] = BootstrapMeans(value[name], *(torch.where(known, end, torch.nan) for end in (low, high)))
    return found


def _checked(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if predictions.ndim != 2 or predictions.shape != targets.shape or not len(targets):
        raise ValueError(f"predictions {tuple(predictions.shape)} and targets {tuple(targets.shape)} must be (N, T)")
    predictions, targets = predictions.cpu().double(), targets.cpu().double()
    if not (predictions.isfinite().all() and targets.isfinite().all()):
        raise ValueError("a prediction or a target is not finite, so that no metric is known")
    return predictions, targets


def _metrics(counts: Tensor, predictions: Tensor, targets: Tensor, *, flat: float) -> dict[str, Tensor]:
    """Compute metrics ``(B, T)`` of items that are there so many times each: `counts` is ``(B, N)``."""
    # both near 0, lest squares cancel each other
    given, true = predictions - predictions.mean(dim=0), targets - targets.mean(dim=0)
    bias = predictions.mean(dim=0) - targets.mean(dim=0)
    total = counts.sum(dim=1, keepdim=True)
    mean_given, mean_true = counts @ given / total, counts @ true / total
    spread_given = _spread(counts @ given.square() / total - mean_given.square(), given, flat)
    spread_true = _spread(counts @ true.square() / total - mean_true.square(), true, flat)
    product = counts @ (given * true) / total - mean_given * mean_true
    product = product.where((spread_given > 0) & (spread_true > 0), 0)
    left_over = counts @ (given - true + bias).square() / total
    undefined = torch.full_like(product, torch.nan)
    apart = (mean_given - mean_true + bias).square() + spread_given + spread_true
    either = (spread_given > 0) | (spread_true > 0)
    return {
        R2: torch.where(spread_true > 0, 1 - left_over / spread_true, undefined),
        CORRELATION: torch.where(
            (spread_given > 0) & (spread_true > 0), product / (spread_given * spread_true).sqrt(), undefined
        ).clamp(-1, 1),
        CONCORDANCE: torch.where(either, 2 * product / apart, undefined),
    }


def _spread(variances: Tensor, values: Tensor, flat: float) -> Tensor:
    """Return variances ``(B, T)``, 0 where the values are all alike or a resample has next to none."""
    varies = (values != values[0]).any(dim=0)
    whole = values.var(dim=0, correction=0)
    return torch.where(varies & (variances > flat * whole), variances, 0)
