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
from itertools import groupby
from typing import Any

import torch
from pydantic_core import to_jsonable_python
from torch import Tensor

from emoclim.metrics import LEVEL, random_average_precision, resampled_metrics, tag_metrics
from emoclim.reports.tables import Estimate, Row, percent, shorten

ROUNDING = 1e-12  # ends of an interval so close are one number
METRICS = {"ROC-AUC": "roc_auc", "PR-AUC": "average_precision"}
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
class SeedMean:
    """A mean over tags and seeds."""

    mean: float
    deviation: float | None = None  # standard deviation over seeds; None for a single one
    low: float | None = None  # ends of the 95 % interval over test items; None where no spread was seen
    high: float | None = None

    @property
    def estimate(self) -> Estimate:
        """The mean and its interval."""
        return Estimate(self.mean, self.low, self.high)


@dataclass(frozen=True, slots=True)
class TagScore:
    """One tag, or the mean over several."""

    name: str  # of the tag, or of the group
    tags: tuple[str, ...]
    n_positive: int  # positive test items, added up over the tags
    roc_auc: SeedMean | None  # None where no tag defines it
    average_precision: SeedMean | None
    base_rate: float  # share of positive items; mean over the tags that have any
    random: Mapping[str, float | None]  # of each metric, expected of random scores; mean over the same tags
    without_roc_auc: tuple[str, ...]  # left out of the mean: tags without a positive, or a negative, test item
    without_average_precision: tuple[str, ...]  # left out of the mean: tags without a positive test item

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(to_jsonable_python(self, exclude={"name"}))


@dataclass(frozen=True, slots=True)
class FractionReport:
    """All heads that saw one share of the training items."""

    fraction: float
    n_train: int
    n_unseen_tags: tuple[int, ...]  # without a positive item among these, by seed
    best_epochs: tuple[int, ...]  # by seed, from 0
    macro: TagScore  # mean over all tags


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
            "curve": [to_jsonable_python(one, exclude={"macro"}) | one.macro.to_dict() for one in self.curve],
            "provenance": dict(self.provenance),
        }

    def table_rows(self) -> list[Row]:
        """Return column names, then the mean over all tags, each group, and random scores."""
        rows: list[Row] = [("tags", *COLUMNS, "of tags")]
        rows += [(shorten(score.name), *_cells(score), str(len(score.tags))) for score in (self.macro, *self.per_group)]
        by_chance = [percent(self.macro.random[key]) for key in METRICS.values()]
        return [*rows, ("random scores", by_chance[0], "", "", by_chance[1], "", "", "")]

    def per_tag_rows(self) -> list[Row]:
        """Return column names, then each tag."""
        rows: list[Row] = [("tag", *COLUMNS, "random PR-AUC", "test items", "training items")]
        for score, n_train in zip(self.per_tag, self.n_train_positive, strict=True):
            by_chance = percent(score.random["average_precision"])
            rows.append((shorten(score.name), *_cells(score), by_chance, str(score.n_positive), str(n_train)))
        return rows

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
    curve = []
    for fraction, alike in groupby(trained, key=lambda one: one.fraction):
        heads = list(alike)
        samples = _Samples(heads, relevant, counts)
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


class _Samples:
    """Both metrics by tag: of each seed ``(S, T)``, and of each resample as mean over seeds ``(T, B)``."""

    def __init__(self, heads: Sequence[Trained], relevant: Tensor, counts: Tensor) -> None:
        metrics = [tag_metrics(one.probabilities, relevant) for one in heads]
        resampled = zip(*(resampled_metrics(one.probabilities, relevant, counts) for one in heads), strict=True)
        self._by_seed = [torch.stack([getattr(one, key) for one in metrics]) for key in METRICS.values()]
        self._resampled = [torch.stack(one).mean(dim=0) for one in resampled]
        self._n_positive = metrics[0].n_positive
        self._n_items = len(relevant)

    def score(self, name: str, members: Sequence[str], tags: Sequence[str]) -> TagScore:
        """Score one tag, or the mean of several."""
        columns = torch.tensor([tags.index(tag) for tag in members])
        positive = self._n_positive[columns]
        positive = positive[positive > 0]  # of the others, no precision is defined
        roc_auc, precision = (_mean(*both, columns) for both in zip(self._by_seed, self._resampled, strict=True))
        without = [tuple(tags[n] for n in columns[one[0, columns].isnan()].tolist()) for one in self._by_seed]
        random = random_average_precision(positive, torch.full_like(positive, self._n_items))
        return TagScore(
            name,
            tuple(members),
            int(positive.sum()),
            roc_auc,
            precision,
            float((positive.double() / self._n_items).mean()) if len(positive) else 0.0,
            {"roc_auc": 0.5, "average_precision": float(random.mean()) if len(positive) else None},
            *without,
        )


def _mean(by_seed: Tensor, resampled: Tensor, columns: Tensor) -> SeedMean | None:
    """Average values ``(S, T)`` and ``(T, B)`` over those of some tags that define them, with an interval."""
    means = by_seed[:, columns].nanmean(dim=1)  # (S,)
    if means.isnan().any():
        return None
    mean, deviation = float(means.mean()), float(means.std()) if len(means) > 1 else None
    drawn = resampled[columns].nanmean(dim=0)  # (B,); a resample may lack what all items have
    drawn = drawn[~drawn.isnan()]
    if len(drawn):
        ends = drawn.quantile(drawn.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])) - drawn.mean() + mean
        if ends[1] - ends[0] > ROUNDING:
            return SeedMean(mean, deviation, *ends.clamp(0, 1).tolist())
    return SeedMean(mean, deviation)


def _cells(score: TagScore) -> Row:
    cells: list[str] = []
    for found in (score.roc_auc, score.average_precision):
        if found is None:
            cells += ["–", "", ""]
        else:
            deviation = "" if found.deviation is None else f"± {100 * found.deviation:.2f}"
            cells += [percent(found.mean), found.estimate.ends, deviation]
    return tuple(cells)
