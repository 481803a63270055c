"""From what tagging heads say of the test items to the numbers of a report.

Convention: an interval spans the percentiles of the resamples, moved so that their mean becomes the estimate. A
resample holds items several times, which makes average precision too high, by as much as an interval's width where
positive items are few; without the move, an interval may lie wholly above its estimate. Where the resamples show no
spread there is no interval: that all positive items of a few came first is no proof that others would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emoclim.metrics.tagging import resampled_metrics, tag_metrics
from emoclim.metrics.ties import random_average_precision
from emoclim.metrics.uncertainty import LEVEL
from emoclim.reports.tagging import Estimate, FractionReport, TaggingReport, TagScore, Trained

ROUNDING = 1e-12  # ends of an interval so close are one number


def make_report(
    tags: Sequence[str],
    trained: Sequence[Trained],
    ids: tuple[str, ...],
    relevant: Tensor,
    train_relevant: Tensor,
    counts: Tensor,
    groups: Mapping[str, Sequence[str]],
    provenance: Mapping[str, Any],
) -> TaggingReport:
    """Compute all numbers of a report.

    Parameters
    ----------
    tags
        T names.
    trained
        Heads, those of one fraction together, fractions ascending.
    ids, relevant
        N test items and their tags ``(N, T)`` bool.
    train_relevant
        ``(N', T)`` bool: tags of the training items.
    counts
        ``(N, B)``: resamples of the test items, the same for all heads.
    groups
        Names of groups, each with its tags.
    provenance
        What the numbers depend on, as plain values.
    """
    by_fraction: dict[float, list[Trained]] = {}
    for one in trained:
        by_fraction.setdefault(one.fraction, []).append(one)
    curve = []
    for fraction, heads in by_fraction.items():
        samples = _samples(heads, relevant, counts)
        epochs, unseen = tuple(one.best_epoch for one in heads), tuple(one.n_unseen for one in heads)
        macro = samples.score("all tags", tags, tags)
        curve.append(FractionReport(fraction, heads[0].n_train, unseen, epochs, macro))
    return TaggingReport(
        tuple(one.seed for one in heads),
        len(ids),
        tuple(samples.score(name, (name,), tags) for name in tags),
        tuple(samples.score(name, members, tags) for name, members in groups.items()),
        tuple(curve),
        tuple(train_relevant.sum(dim=0).tolist()),
        provenance,
        ids,
        relevant,
        torch.stack([one.probabilities for one in heads]),
    )


@dataclass(frozen=True, slots=True)
class _Samples:
    """Both metrics by tag: of each seed ``(S, T)``, and of each resample as mean over seeds ``(T, B)``."""

    by_seed: tuple[Tensor, Tensor]
    resampled: tuple[Tensor, Tensor]
    n_positive: Tensor  # (T,)
    n_items: int

    def score(self, name: str, members: Sequence[str], tags: Sequence[str]) -> TagScore:
        """The line of one tag or of several."""
        columns = torch.tensor([tags.index(tag) for tag in members])
        roc_auc, average_precision = (
            _estimate(by_seed[:, columns], resampled[columns])
            for by_seed, resampled in zip(self.by_seed, self.resampled, strict=True)
        )
        without_roc_auc, without_average_precision = (
            tuple(tags[column] for column in columns[by_seed[0, columns].isnan()].tolist()) for by_seed in self.by_seed
        )
        positive = self.n_positive[columns]
        positive = positive[positive > 0]  # of the others, no precision is defined
        base_rate = positive.double() / self.n_items
        random = random_average_precision(positive, torch.full_like(positive, self.n_items))
        return TagScore(
            name,
            tuple(members),
            int(positive.sum()),
            float(base_rate.mean()) if len(positive) else 0.0,
            float(random.mean()) if len(positive) else None,
            roc_auc,
            average_precision,
            without_roc_auc,
            without_average_precision,
        )


def _samples(heads: Sequence[Trained], relevant: Tensor, counts: Tensor) -> _Samples:
    metrics = [tag_metrics(one.probabilities, relevant) for one in heads]
    resampled = [resampled_metrics(one.probabilities, relevant, counts) for one in heads]
    by_seed = torch.stack([one.roc_auc for one in metrics]), torch.stack([one.average_precision for one in metrics])
    means = torch.stack([one[0] for one in resampled]).mean(0), torch.stack([one[1] for one in resampled]).mean(0)
    return _Samples(by_seed, means, metrics[0].n_positive, len(relevant))


def _estimate(by_seed: Tensor, resampled: Tensor) -> Estimate | None:
    """Of values ``(S, T)`` and ``(T, B)``, over the tags that define them."""
    means = by_seed.nanmean(dim=1)  # (S,)
    drawn = resampled.nanmean(dim=0)  # (B,); a resample may lack what all items have
    drawn = drawn[~drawn.isnan()]
    if means.isnan().any():
        return None
    mean, deviation = float(means.mean()), float(means.std()) if len(means) > 1 else None
    if not len(drawn):
        return Estimate(mean, deviation, None, None)
    ends = drawn.quantile(drawn.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])) - drawn.mean() + mean
    if ends[1] - ends[0] <= ROUNDING:
        return Estimate(mean, deviation, None, None)
    low, high = ends.clamp(0, 1).tolist()
    return Estimate(mean, deviation, low, high)
