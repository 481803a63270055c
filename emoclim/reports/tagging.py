"""Hold what an evaluation of tagging found, and show it as plain values for JSON and as rows of text for tables.

S seeds, N test items, T tags, B resamples. ROC-AUC and PR-AUC (average precision) of several tags are means over the
tags for which they are defined. Random scores have a ROC-AUC of 0.5 and a PR-AUC above the share of positive items.

An interval spans the percentiles of the resamples, moved so that their mean becomes the estimate. A resample holds
items several times, which makes average precision too high, by as much as an interval's width where positive items are
few; without the move, an interval may lie wholly above its estimate. Where the resamples show no spread there is no
interval: that all positive items of a few came first is no proof that others would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from emoclim.metrics import LEVEL, random_average_precision, resampled_metrics, tag_metrics
from emoclim.reports.tables import Estimate, Row, percent

ROUNDING = 1e-12  # ends of an interval so close are one number
COLUMNS = ("ROC-AUC", "95 % interval", "over seeds", "PR-AUC", "95 % interval", "over seeds")


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained head, and what it says of the test items."""

    fraction: float  # share of the training items it saw
    seed: int
    n_train: int  # items it saw
    n_unseen: int  # tags that none of these has
    best_epoch: int  # from 0: the one it was kept after
    probabilities: Tensor = field(repr=False, compare=False)  # (N, T) float32 on the CPU


@dataclass(frozen=True, slots=True)
class TagScore:
    """One tag, or the mean over several."""

    name: str  # of the tag, or of the group
    tags: tuple[str, ...]
    n_positive: int  # positive test items, added up over the tags
    base_rate: float  # share of positive items; mean over the tags that have any
    random: float | None  # average precision expected of random scores; mean over the same tags
    roc_auc: Estimate | None  # None where no tag defines it
    average_precision: Estimate | None
    without_roc_auc: tuple[str, ...]  # left out of the mean: tags without a positive, or a negative, test item
    without_average_precision: tuple[str, ...]  # left out of the mean: tags without a positive test item

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "tags": list(self.tags),
            "n_positive": self.n_positive,
            "roc_auc": _plain(self.roc_auc),
            "average_precision": _plain(self.average_precision),
            "base_rate": self.base_rate,
            "random": {"roc_auc": 0.5, "average_precision": self.random},
            "without_roc_auc": list(self.without_roc_auc),
            "without_average_precision": list(self.without_average_precision),
        }


@dataclass(frozen=True, slots=True)
class FractionReport:
    """All heads that saw one share of the training items."""

    fraction: float
    n_train: int
    n_unseen: tuple[int, ...]  # tags without a positive item among these, by seed
    best_epochs: tuple[int, ...]  # by seed, from 0
    macro: TagScore  # mean over all tags

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "fraction": self.fraction,
            "n_train": self.n_train,
            "n_unseen_tags": list(self.n_unseen),
            "best_epochs": list(self.best_epochs),
            **self.macro.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class TaggingReport:
    """Tagging heads of several seeds on one split; what it holds by item is not in its plain form."""

    seeds: tuple[int, ...]
    n_test: int
    per_tag: tuple[TagScore, ...]  # of the heads that saw most
    per_group: tuple[TagScore, ...]
    curve: tuple[FractionReport, ...]  # by share of training items seen, ascending
    n_train_positive: tuple[int, ...]  # positive training items of each tag
    provenance: Mapping[str, Any]  # what the numbers depend on, as plain values
    ids: tuple[str, ...] = field(repr=False, compare=False)
    relevant: Tensor = field(repr=False, compare=False)  # (N, T) bool
    probabilities: Tensor = field(repr=False, compare=False)  # (S, N, T) float32 of the heads that saw most

    @property
    def macro(self) -> TagScore:
        """Mean over all tags, of the heads that saw most."""
        return self.curve[-1].macro

    @property
    def tags(self) -> tuple[str, ...]:
        """T names."""
        return self.macro.tags

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; the same report gives the same text."""
        return {
            "seeds": list(self.seeds),
            "n_test": self.n_test,
            "macro": self.macro.to_dict(),
            "per_group": {score.name: score.to_dict() for score in self.per_group},
            "per_tag": {
                score.name: {"n_train_positive": n_train, **score.to_dict()}
                for score, n_train in zip(self.per_tag, self.n_train_positive, strict=True)
            },
            "curve": [report.to_dict() for report in self.curve],
            "provenance": dict(self.provenance),
        }

    def table_rows(self) -> list[Row]:
        """Return column names, then the mean over all tags, each group, and random scores."""
        rows: list[Row] = [("tags", *COLUMNS, "of tags")]
        rows += [(score.name, *_cells(score), str(len(score.tags))) for score in (self.macro, *self.per_group)]
        return [*rows, ("random scores", percent(0.5), "", "", percent(self.macro.random), "", "", "")]

    def per_tag_rows(self) -> list[Row]:
        """Return column names, then each tag."""
        rows: list[Row] = [("tag", *COLUMNS, "random PR-AUC", "test items", "training items")]
        return rows + [
            (score.name, *_cells(score), percent(score.random), str(score.n_positive), str(n_train))
            for score, n_train in zip(self.per_tag, self.n_train_positive, strict=True)
        ]

    def curve_rows(self) -> list[Row]:
        """Return column names, then each share of the training items."""
        rows: list[Row] = [("share of training items", *COLUMNS, "training items")]
        return rows + [(f"{100 * one.fraction:.3g}%", *_cells(one.macro), str(one.n_train)) for one in self.curve]


def make_report(
    tags: Sequence[str],
    trained: Sequence[Trained],  # those of one fraction together, fractions ascending
    ids: tuple[str, ...],
    relevant: Tensor,  # (N, T) bool
    train_relevant: Tensor,  # (N', T) bool: tags of the training items
    counts: Tensor,  # (N, B): resamples of the test items, the same for all heads
    groups: Mapping[str, Sequence[str]],  # tags by group
    provenance: Mapping[str, Any],
) -> TaggingReport:
    """Compute all numbers of a report."""
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
        """Score one tag, or the mean of several."""
        columns = torch.tensor([tags.index(tag) for tag in members])
        roc_auc, average_precision = (
            _estimate(by_seed[:, columns], resampled[columns])
            for by_seed, resampled in zip(self.by_seed, self.resampled, strict=True)
        )
        without = [tuple(tags[n] for n in columns[one[0, columns].isnan()].tolist()) for one in self.by_seed]
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
            *without,
        )


def _samples(heads: Sequence[Trained], relevant: Tensor, counts: Tensor) -> _Samples:
    metrics = [tag_metrics(one.probabilities, relevant) for one in heads]
    resampled = [resampled_metrics(one.probabilities, relevant, counts) for one in heads]
    by_seed = torch.stack([one.roc_auc for one in metrics]), torch.stack([one.average_precision for one in metrics])
    means = torch.stack([one[0] for one in resampled]).mean(0), torch.stack([one[1] for one in resampled]).mean(0)
    return _Samples(by_seed, means, metrics[0].n_positive, len(relevant))


def _estimate(by_seed: Tensor, resampled: Tensor) -> Estimate | None:
    """Average values ``(S, T)`` and ``(T, B)`` over the tags that define them, with an interval."""
    means = by_seed.nanmean(dim=1)  # (S,)
    if means.isnan().any():
        return None
    mean, deviation = float(means.mean()), float(means.std()) if len(means) > 1 else None
    drawn = resampled.nanmean(dim=0)  # (B,); a resample may lack what all items have
    drawn = drawn[~drawn.isnan()]
    if len(drawn):
        ends = drawn.quantile(drawn.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])) - drawn.mean() + mean
        if ends[1] - ends[0] > ROUNDING:
            low, high = ends.clamp(0, 1).tolist()
            return Estimate(mean, low, high, deviation)
    return Estimate(mean, deviation=deviation)


def _plain(found: Estimate | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    return {"mean": found.value, "deviation": found.deviation, "low": found.low, "high": found.high}


def _cells(score: TagScore) -> Row:
    cells: list[str] = []
    for found in (score.roc_auc, score.average_precision):
        if found is None:
            cells += ["–", "", ""]
        else:
            deviation = "" if found.deviation is None else f"± {100 * found.deviation:.2f}"
            cells += [percent(found.value), found.ends, deviation]
    return tuple(cells)
