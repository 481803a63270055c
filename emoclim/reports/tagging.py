"""What an evaluation of tagging found: report objects, their plain form for JSON, and rows of text for tables.

Conventions: S seeds, N test items, T tags, B resamples. ROC-AUC and PR-AUC (average precision) are shares from 0 to 1,
tables show them in percent; those of several tags are means over the tags for which they are defined. Random scores are
expected to have a ROC-AUC of 0.5 and a PR-AUC somewhat above the share of positive items.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Row = tuple[str, ...]

_COLUMNS = ("ROC-AUC", "95 % interval", "over seeds", "PR-AUC", "95 % interval", "over seeds")


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained head, and what it says of the test items.

    Attributes
    ----------
    fraction
        Share of the training items it saw.
    seed
        Of everything random.
    n_train
        Items it saw.
    n_unseen
        Tags that none of these has.
    best_epoch
        From 0: the epoch it was kept after.
    probabilities
        ``(N, T)`` float32 on the CPU.
    """

    fraction: float
    seed: int
    n_train: int
    n_unseen: int
    best_epoch: int
    probabilities: Tensor = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and how sure it is.

    Attributes
    ----------
    mean
        Over seeds.
    deviation
        Standard deviation over seeds; None for a single one.
    low, high
        95 % interval of the mean, by resampling the test items; None where no spread was seen. See
        :mod:`emoclim.reports.tagging_scores`.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Plain values."""
        return {"mean": self.mean, "deviation": self.deviation, "low": self.low, "high": self.high}

    @property
    def interval(self) -> str:
        """``"31.20% to 35.80%"``; nothing where there is none."""
        return "" if self.low is None or self.high is None else f"{self.low:.2%} to {self.high:.2%}"


@dataclass(frozen=True, slots=True)
class TagScore:
    """One tag, or the mean over several.

    Attributes
    ----------
    name
        Of the tag, or of the group.
    tags
        Which tags these are.
    n_positive
        Positive test items, added up over the tags.
    base_rate
        Share of positive items; mean over the tags that have any.
    random
        Average precision expected of random scores; mean over the same tags; None where there is none.
    roc_auc, average_precision
        None where no tag defines it.
    without_roc_auc, without_average_precision
        Tags that are left out of the mean: those without a positive, or for ROC-AUC a negative, test item.
    """

    name: str
    tags: tuple[str, ...]
    n_positive: int
    base_rate: float
    random: float | None
    roc_auc: Estimate | None
    average_precision: Estimate | None
    without_roc_auc: tuple[str, ...]
    without_average_precision: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "tags": list(self.tags),
            "n_positive": self.n_positive,
            "roc_auc": None if self.roc_auc is None else self.roc_auc.to_dict(),
            "average_precision": None if self.average_precision is None else self.average_precision.to_dict(),
            "base_rate": self.base_rate,
            "random": {"roc_auc": 0.5, "average_precision": self.random},
            "without_roc_auc": list(self.without_roc_auc),
            "without_average_precision": list(self.without_average_precision),
        }


@dataclass(frozen=True, slots=True)
class FractionReport:
    """All heads that saw one share of the training items.

    Attributes
    ----------
    fraction, n_train
        The share, and how many items that are.
    n_unseen
        Tags without a positive item among these, by seed.
    best_epochs
        By seed, from 0.
    macro
        Mean over all tags.
    """

    fraction: float
    n_train: int
    n_unseen: tuple[int, ...]
    best_epochs: tuple[int, ...]
    macro: TagScore

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "fraction": self.fraction,
            "n_train": self.n_train,
            "n_unseen_tags": list(self.n_unseen),
            "best_epochs": list(self.best_epochs),
            **self.macro.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class TaggingReport:
    """Tagging heads of several seeds on one split.

    Attributes
    ----------
    seeds
        S of them.
    n_test
        Test items, N.
    per_tag
        One line for each tag, of the heads that saw most.
    per_group
        The same, for each group of tags.
    curve
        By the share of training items seen, ascending; the last has seen most.
    n_train_positive
        Positive training items of each tag.
    provenance
        What the numbers depend on, as plain values.
    ids, relevant, probabilities
        N ids, ``(N, T)`` bool and ``(S, N, T)`` float32 of the heads that saw most; not part of the plain form.
    """

    seeds: tuple[int, ...]
    n_test: int
    per_tag: tuple[TagScore, ...]
    per_group: tuple[TagScore, ...]
    curve: tuple[FractionReport, ...]
    n_train_positive: tuple[int, ...]
    provenance: Mapping[str, Any]
    ids: tuple[str, ...] = field(repr=False, compare=False)
    relevant: Tensor = field(repr=False, compare=False)
    probabilities: Tensor = field(repr=False, compare=False)

    @property
    def macro(self) -> TagScore:
        """Mean over all tags, of the heads that saw most."""
        return self.curve[-1].macro

    @property
    def tags(self) -> tuple[str, ...]:
        """T names."""
        return self.macro.tags

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the same report gives the same text."""
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
        """A row of column names, one for the mean over all tags, one for each group, and one for random scores."""
        rows: list[Row] = [("tags", *_COLUMNS, "of tags")]
        rows += [(score.name, *_cells(score), str(len(score.tags))) for score in (self.macro, *self.per_group)]
        return [*rows, ("random scores", _percent(0.5), "", "", _percent(self.macro.random), "", "", "")]

    def per_tag_rows(self) -> list[Row]:
        """A row of column names, then one for each tag."""
        rows: list[Row] = [("tag", *_COLUMNS, "random PR-AUC", "test items", "training items")]
        return rows + [
            (score.name, *_cells(score), _percent(score.random), str(score.n_positive), str(n_train))
            for score, n_train in zip(self.per_tag, self.n_train_positive, strict=True)
        ]

    def curve_rows(self) -> list[Row]:
        """A row of column names, then one for each share of the training items."""
        rows: list[Row] = [("share of training items", *_COLUMNS, "training items")]
        return rows + [(f"{100 * one.fraction:.3g}%", *_cells(one.macro), str(one.n_train)) for one in self.curve]


def _cells(score: TagScore) -> Row:
    cells: list[str] = []
    for found in (score.roc_auc, score.average_precision):
        if found is None:
            cells += ["–", "", ""]
        else:
            deviation = "" if found.deviation is None else f"± {100 * found.deviation:.2f}"
            cells += [_percent(found.mean), found.interval, deviation]
    return tuple(cells)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"
