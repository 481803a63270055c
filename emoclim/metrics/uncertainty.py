"""Estimate how far means over queries may be off, and whether two systems differ, by resampling scores per query.

Conventions: values are ``(Q, T)``, one row per query and one column per metric; `classes` is ``(Q,)`` int64; all is
computed on the CPU in float64. Queries are resampled within their class and candidates are taken as they are, so that
an interval is about other queries of the same kind, asked of the same candidates by the same heads.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Mean = Literal["macro", "micro"]

LEVEL = 0.95
N_RESAMPLES = 10_000
DRAWS_PER_BLOCK = 1 << 18  # fit the cache of a core; memory does not grow with the number of resamples
ROUNDING = 1e-12  # share of the sum of all terms within which two sums of them count as equal


@dataclass(frozen=True, slots=True)
class BootstrapMeans:
    """Means and their intervals, all of one shape.

    Ends are NaN where no spread was seen, for each class has one query, or scores that are all alike.
    """

    value: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True, slots=True)
class ClassEstimates:
    """Means of the queries of several classes."""

    macro: BootstrapMeans  # (T,): mean over the classes present of the mean over the queries of each
    micro: BootstrapMeans  # (T,): mean over all queries
    classes: BootstrapMeans  # (P, T): mean over the queries of each class present, by ascending class


def bootstrap_means(
    values: Tensor,
    classes: Tensor,
    generator: torch.Generator,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> ClassEstimates:
    """Average scores per query, with bootstrap intervals; paired differences where `values` are differences.

    Parameters
    ----------
    values
        ``(Q, T)``; all columns are resampled together.
    classes
        ``(Q,)``: class of each query.
    generator
        Source of randomness, on the CPU; what is drawn does not depend on the values.
    n_resamples
        How many times the queries are drawn anew.
    level
        Share of repetitions in which an interval should hold the mean of all such queries.

    Raises
    ------
    ValueError
        There is no query, the shapes do not fit, a value is not finite, or a number is out of range.

    Notes
    -----
    Of a class of n queries, n - 1 are drawn with replacement, which makes the variance of a mean over classes unbiased
    (P. McCarthy and C. Snowden, "The bootstrap and finite population sampling", 1985). The percentiles are those that
    a t quantile has on the normal scale (T. Hesterberg, "What teachers should know about the bootstrap", The American
    Statistician 69, 2015), with degrees of freedom by F. Satterthwaite, Biometrics Bulletin 2, 1946. With many queries
    both make no difference to plain percentiles, which with five queries to a class hold some 90 times of 100. A class
    without spread adds none to the means over classes.
    """
    values, classes = _checked(values, classes)
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"{n_resamples} resamples at level {level} give no interval")
    counts = classes.bincount()
    present = counts.nonzero()[:, 0]
    sizes = counts[present].double()  # (P,)
    groups = [values[classes == label] for label in present]
    means = torch.stack([group.mean(0) for group in groups])  # (P, T)
    squares = torch.stack([(group - mean).square().sum(0) for group, mean in zip(groups, means, strict=True)])
    spread = torch.stack([(group != group[0]).any(0) for group in groups])  # (P, T)
    free = (sizes - 1).clamp(min=1)
    variances = squares / (free * sizes)[:, None]  # of the mean of each class, (P, T)

    weights = torch.stack([torch.full_like(sizes, 1 / len(sizes)), sizes / len(values)])  # macro and micro, (2, P)
    over_classes = values.new_zeros(2, n_resamples, values.shape[1])
    by_class = []
    for place, group in enumerate(groups):
        drawn = _resampled_means(group, n_resamples, generator)
        over_classes += weights[:, place, None, None] * drawn
        tail = _tail(variances[place, None], free[place, None], level)
        by_class.append(_estimate(means[place], drawn, tail, spread[place]))
    macro, micro = (
        _estimate(weight @ means, drawn, _tail(weight[:, None] ** 2 * variances, free, level), spread.any(0))
        for weight, drawn in zip(weights, over_classes, strict=True)
    )
    value, low, high = (torch.stack([getattr(one, name) for one in by_class]) for name in ("value", "low", "high"))
    return ClassEstimates(macro, micro, BootstrapMeans(value, low, high))


def bootstrap_group_mean(
    values: Tensor,
    groups: Tensor,
    generator: torch.Generator,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> BootstrapMeans:
    """Average scores ``(Q, T)`` over all queries, with intervals ``(T,)`` about other groups of them, such as pieces.

    Of G `groups` ``(Q,)`` G - 1 are drawn with replacement, each with all of its queries. Else, and in what it raises,
    it is as :func:`bootstrap_means`; ends are NaN where all groups have the same mean.
    """
    values, groups = _checked(values, groups)
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"{n_resamples} resamples at level {level} give no interval")
    owners = torch.unique(groups, return_inverse=True)[1]
    sizes = owners.bincount().double()  # (G,)
    sums = values.new_zeros(len(sizes), values.shape[1]).index_add_(0, owners, values)
    mean = values.mean(dim=0)
    residuals = sums - mean * sizes[:, None]
    free = torch.full((1,), float(len(sizes) - 1)).double().clamp(min=1)
    variances = residuals.square().sum(dim=0, keepdim=True)
    drawn = _resampled_means(torch.cat([sums, sizes[:, None]], dim=1), n_resamples, generator)
    spread = residuals.abs().amax(dim=0) > ROUNDING * len(values)
    return _estimate(mean, drawn[:, :-1] / drawn[:, -1:], _tail(variances, free, level), spread)


def mean_weights(classes: Tensor, mean: Mean) -> Tensor:
    """Return the weight of each query in a mean, ``(Q,)`` float64."""
    if mean == "micro":
        return torch.full((len(classes),), 1 / len(classes), dtype=torch.float64)
    sizes = classes.cpu().bincount().double()
    return 1 / ((sizes > 0).sum() * sizes[classes.cpu()])


def sign_flip_test(
    differences: Tensor, weights: Tensor, generator: torch.Generator, *, n_flips: int = N_RESAMPLES
) -> Tensor:
    """Compute two-sided p-values of the hypothesis that either system could have been the other, by query.

    Parameters
    ----------
    differences
        ``(Q, T)``: score of one system less that of the other.
    weights
        ``(Q,)``: of each query in the mean that is tested; see :func:`mean_weights`.
    generator
        Source of randomness, on the CPU.
    n_flips
        How many times the sign of each difference is drawn anew, for all columns alike.

    Returns
    -------
    Tensor
        ``(T,)`` float64, from 1 / (n_flips + 1) to 1; 1 where nothing differs.

    Raises
    ------
    ValueError
        There is no query, the shapes do not fit, a value is not finite, or `n_flips` is below 1.

    Notes
    -----
    B. Phipson and G. Smyth, "Permutation P-values should never be zero", Statistical Applications in Genetics and
    Molecular Biology 9, 2010: the observed signs count as one of the drawn ones.
    """
    differences, weights = _checked(differences, weights)
    if n_flips < 1:
        raise ValueError(f"{n_flips} flips test nothing")
    terms = weights[:, None].double() * differences  # (Q, T)
    total = terms.sum(0)
    reached = total.abs() - ROUNDING * terms.abs().sum(0)
    as_extreme = torch.zeros_like(total)
    block = max(1, DRAWS_PER_BLOCK // len(terms))
    for start in range(0, n_flips, block):
        shape = min(block, n_flips - start), len(terms)
        kept = torch.randint(2, shape, generator=generator, dtype=torch.int8).double()
        as_extreme += ((2 * kept @ terms - total).abs() >= reached).sum(0)
    return (as_extreme + 1) / (n_flips + 1)


def holm(p_values: Tensor) -> Tensor:
    """Correct p-values ``(n,)`` for being n: those below a level err once or more at no more than that level.

    Notes
    -----
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    ascending, order = p_values.sort()
    left = torch.arange(len(p_values), 0, -1, dtype=p_values.dtype)
    corrected = torch.empty_like(p_values)
    corrected[order] = (ascending * left).cummax(0).values.clamp(max=1.0) if len(p_values) else ascending
    return corrected


def _checked(values: Tensor, by_query: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both to the CPU, the first as float64; raise ValueError unless they are of the same queries."""
    if values.ndim != 2 or not len(values) or by_query.shape != values.shape[:1]:
        raise ValueError(f"values {tuple(values.shape)} must be (Q, T) with Q > 0, and {tuple(by_query.shape)} (Q,)")
    if not values.isfinite().all():
        raise ValueError("a score is not finite, so that its mean says nothing")
    return values.cpu().double(), by_query.cpu()


def _resampled_means(group: Tensor, n_resamples: int, generator: torch.Generator) -> Tensor:
    """Average n - 1 rows of a group ``(n, T)``, drawn with replacement ``n_resamples`` times: counts times values."""
    n_rows = len(group)
    if n_rows == 1:
        return group.expand(n_resamples, -1)
    means = group.new_empty(n_resamples, group.shape[1])
    for block in torch.split(means, max(1, DRAWS_PER_BLOCK // n_rows)):
        rows = torch.randint(n_rows, (len(block), n_rows - 1), generator=generator, dtype=torch.int32)
        rows += n_rows * torch.arange(len(block), dtype=torch.int32)[:, None]
        counts = rows.view(-1).bincount(minlength=n_rows * len(block)).view(len(block), n_rows)
        torch.matmul(counts.double(), group, out=block)
    return means.div_(n_rows - 1)


def _tail(variances: Tensor, free: Tensor, level: float) -> Tensor:
    """Return the share ``(T,)`` of resamples to leave out at each end, for a sum of means of classes.

    The variances are ``(P, T)`` and have ``(P,)`` degrees of freedom; the quantile is that of Student's t.
    """
    from scipy import special

    total = variances.sum(0)
    freedom = total.square() / (variances.square() / free[:, None]).sum(0)
    freedom = torch.where(total > 0, freedom, torch.ones_like(total))
    return torch.from_numpy(special.ndtr(special.stdtrit(freedom.numpy(), (1 - level) / 2)))


def _estimate(value: Tensor, drawn: Tensor, tail: Tensor, spread: Tensor) -> BootstrapMeans:
    """Put the mean ``(T,)`` between two percentiles of what was drawn, where there is a spread."""
    ascending = drawn.T.sort(dim=1).values  # (T, n_resamples)
    last = ascending.shape[1] - 1
    ends = []
    for place in (tail * last, (1 - tail) * last):
        below = place.floor().long()
        pair = ascending.gather(1, torch.stack([below, (below + 1).clamp(max=last)], dim=1))
        end = torch.lerp(pair[:, 0], pair[:, 1], place - below)
        ends.append(torch.where(spread, end, torch.nan))
    return BootstrapMeans(value, *ends)
