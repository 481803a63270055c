"""What a sweep found: one line for each candidate, and which of them is chosen.

Conventions: candidates are numbered from 0 in the order in which they were given; metrics are of the validation split,
macro means between 0 and 1; nothing here has seen a test item.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from emoclim.config import TrainConfig
from emoclim.errors import ConfigError
from emoclim.losses import Terms

K = 5  # of the precision
SETTINGS = tuple(field.name for field in fields(TrainConfig))


@dataclass(frozen=True, slots=True)
class Line:
    """One trained candidate.

    Attributes
    ----------
    number
        Of the candidate.
    loss_weights, config
        What it was trained with.
    best_epoch
        The epoch that was kept, from 0.
    epochs
        How many were run.
    val_loss
        Its own objective on validation after the best epoch; infinite if it never was a number.
    val_terms
        Loss of each term there, before weighting.
    metrics
        ``P@5`` and ``MRR`` by direction: ``"P@5 image_audio"``.
    """

    number: int
    loss_weights: tuple[float, ...]
    config: TrainConfig
    best_epoch: int
    epochs: int
    val_loss: float
    val_terms: tuple[float, ...]
    metrics: Mapping[str, float]

    @property
    def recipe(self) -> tuple[tuple[float, ...], str]:
        """All that it is, but for its seed."""
        return self.loss_weights, str(self.config.to_dict() | {"seed": 0})

    def mean(self, metric: str) -> float:
        """Mean of a metric over its directions."""
        return fmean(value for name, value in self.metrics.items() if name.startswith(metric))


# Own objectives of different weights cannot be compared, so the loss to select by is that of even weights.
RULES: Mapping[str, Callable[[Line], float]] = {
    "loss": lambda line: -fmean(line.val_terms),
    "p5": lambda line: line.mean(f"P@{K}"),
    "mrr": lambda line: line.mean("MRR"),
    "mean": lambda line: (line.mean(f"P@{K}") + line.mean("MRR")) / 2,
}

SCORE_NAMES: Mapping[str, str] = {
    "loss": "− validation loss at even weights",
    "p5": "mean P@5",
    "mrr": "mean MRR",
    "mean": "mean of P@5 and MRR",
}


@dataclass(frozen=True, slots=True)
class SweepReport:
    """All trained candidates.

    Attributes
    ----------
    lines
        By number.
    terms
        Of the objective, in the order of the weights.
    rule
        One of :data:`RULES`: higher is better.
    scores
        Of each line by that rule, averaged over the seeds of its recipe; minus infinity for a lost head.
    chosen
        Place in `lines` of the first seed of the recipe that scores best; the earlier one where two are equal.
    """

    lines: tuple[Line, ...]
    terms: Terms
    rule: str
    scores: tuple[float, ...]
    chosen: int

    def best(self, number: int) -> list[int]:
        """Places in `lines` of so many best candidates, the chosen one among them, in the order of `lines`."""
        ranked = sorted(range(len(self.lines)), key=lambda place: (place != self.chosen, -self.scores[place]))
        return sorted(ranked[:number])

    def columns(self) -> dict[str, list[Any]]:
        """The table, by column."""
        table: dict[str, list[Any]] = defaultdict(list)
        for place, (line, score) in enumerate(zip(self.lines, self.scores, strict=True)):
            config = line.config.to_dict()
            row = (
                {"candidate": line.number, "chosen": place == self.chosen, "score": score}
                | {f"weight_{a}_{b}": weight for (a, b), weight in zip(self.terms, line.loss_weights, strict=True)}
                | {name: config[name] for name in SETTINGS}
                | {"best_epoch": line.best_epoch, "epochs_run": line.epochs, "val_loss": line.val_loss}
                | {f"val_loss_{a}_{b}": loss for (a, b), loss in zip(self.terms, line.val_terms, strict=True)}
                | dict(line.metrics)
            )
            for name, value in row.items():
                table[name].append(value)
        return dict(table)

    def table_rows(self, most: int) -> list[tuple[str, ...]]:
        """A row of column names, then one for each of the best candidates, best first; settings that vary only."""
        varying = varying_settings([line.config for line in self.lines])
        rows = [("", *(" > ".join(term) for term in self.terms), *varying, "best epoch", *self.lines[0].metrics)]
        for place in sorted(self.best(most), key=lambda place: (place != self.chosen, -self.scores[place])):
            line = self.lines[place]
            rows.append(
                (
                    "chosen" if place == self.chosen else "",
                    *(f"{weight:.3g}" for weight in line.loss_weights),
                    *varied_values(line.config, varying),
                    str(line.best_epoch + 1),
                    *(f"{value:.2%}" for value in line.metrics.values()),
                )
            )
        return rows


def varying_settings(configs: Sequence[TrainConfig]) -> list[str]:
    """Those of :data:`SETTINGS` that are not the same everywhere."""
    return [name for name in SETTINGS if len({getattr(config, name) for config in configs}) > 1]


def varied_values(config: TrainConfig, names: Sequence[str]) -> list[str]:
    """Values of some settings, for a table."""
    values = [getattr(config, name) for name in names]
    return [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]


def checked_rule(rule: str, configs: Iterable[TrainConfig]) -> str:
    """The rule, or a :class:`ConfigError` if there is none of that name or it cannot compare these candidates."""
    if rule not in RULES:
        raise ConfigError(f"there is no rule {rule!r} to select by; there are {', '.join(RULES)}")
    if rule == "loss" and len({(one.temperature, one.batch_size, one.no_positive) for one in configs}) > 1:
        raise ConfigError(
            "losses of different temperatures, batch sizes or conventions for anchors without positives cannot be "
            "compared; select by mean, p5 or mrr"
        )
    return rule


def own_score(line: Line, rule: str) -> float:
    """Score of one candidate by a rule; minus infinity for a lost head."""
    return RULES[rule](line) if math.isfinite(line.val_loss) else -math.inf


def choose(lines: Sequence[Line], terms: Terms, rule: str) -> SweepReport:
    """Score all candidates on validation and choose one.

    Raises
    ------
    ConfigError
        There is no such rule, or it cannot compare the candidates.
    """
    checked_rule(rule, (line.config for line in lines))
    own = [own_score(line, rule) for line in lines]
    by_recipe: dict[Any, list[float]] = defaultdict(list)
    for line, score in zip(lines, own, strict=True):
        by_recipe[line.recipe].append(score)
    scores = tuple(fmean(by_recipe[line.recipe]) for line in lines)
    chosen = max(range(len(lines)), key=lambda place: (scores[place], -place))
    return SweepReport(tuple(lines), terms, rule, scores, chosen)
