"""Choose among the trained candidates of a sweep, and tell which lead while it is trained.

Used by every training of heads. Candidates are numbered from 0 in the order in which they were given; metrics are macro
means on the validation split, from 0 to 1: nothing here has seen a test item.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from emoclim.errors import ConfigError
from emoclim.learning.objectives.base import Objective, column_name
from emoclim.learning.sweep import Candidate
from emoclim.reports import Row, candidate_table

PRECISION_AT = 5


@dataclass(frozen=True, slots=True)
class TrainedCandidate:
    """One trained candidate."""

    number: int
    candidate: Candidate
    best_epoch: int  # the one that was kept, from 0
    epochs: int  # how many were run
    val_loss: float  # its own objective on validation after the best epoch; infinite if it never was a number
    val_terms: tuple[float, ...]  # loss of each term there, before weighting
    metrics: Mapping[str, float]  # P@5 and MRR by direction: "P@5 image_audio"

    @property
    def recipe(self) -> tuple[tuple[float, ...], str]:
        """Everything that identifies it but its seed."""
        return self.candidate.loss_weights, str(self.candidate.all_settings | {"seed": 0})

    def mean(self, metric: str) -> float:
        """Average a metric over its directions."""
        return fmean(value for name, value in self.metrics.items() if name.startswith(metric))


# Own objectives of different weights cannot be compared, so the loss to select by is that of even weights.
RULES: Mapping[str, Callable[[TrainedCandidate], float]] = {
    "loss": lambda one: -fmean(one.val_terms or (0.0,)),
    "p5": lambda one: one.mean(f"P@{PRECISION_AT}"),
    "mrr": lambda one: one.mean("MRR"),
    "mean": lambda one: (one.mean(f"P@{PRECISION_AT}") + one.mean("MRR")) / 2,
}

SCORE_NAMES: Mapping[str, str] = {
    "loss": "− validation loss at even weights",
    "p5": "mean P@5",
    "mrr": "mean MRR",
    "mean": "mean of P@5 and MRR",
}


@dataclass(frozen=True, slots=True)
class SweepReport:
    """All trained candidates and which of them is chosen."""

    lines: tuple[TrainedCandidate, ...]  # by number
    terms: tuple[str, ...]  # of the objective, in the order of the weights
    rule: str  # one of RULES: higher is better
    scores: tuple[float, ...]  # by that rule, averaged over the seeds of a recipe; minus infinity for a lost head
    aligned: tuple[bool, ...]  # whether the losses of each compared the modalities; others rank across them by luck
    # Place of the first seed of the recipe that scores best, the earlier one where two are equal; of the aligned ones,
    # unless there are none.
    chosen: int

    def best(self, number: int) -> list[int]:
        """Return the places in `lines` of the best candidates, the chosen one among them, in the order of `lines`."""
        return sorted(self._ranked()[:number])

    def columns(self) -> dict[str, list[Any]]:
        """Return all that is known, by column."""
        table: dict[str, list[Any]] = defaultdict(list)
        for place, (line, score) in enumerate(zip(self.lines, self.scores, strict=True)):
            names = [column_name(term) for term in self.terms]
            row = (
                {"candidate": line.number, "chosen": place == self.chosen, "score": score}
                | {"aligned": self.aligned[place]}
                | {f"weight_{name}": weight for name, weight in zip(names, line.candidate.loss_weights, strict=True)}
                | line.candidate.all_settings
                | {"best_epoch": line.best_epoch, "epochs_run": line.epochs, "val_loss": line.val_loss}
                | {f"val_loss_{name}": loss for name, loss in zip(names, line.val_terms, strict=True)}
                | dict(line.metrics)
            )
            for name, value in row.items():
                table[name].append(value)
        return dict(table)

    def table_rows(self, max_heads: int) -> list[Row]:
        """Return column names, then a row for each of the best candidates, best first; settings that vary only."""
        ranked = self._ranked()[:max_heads]
        shown = [self.lines[place] for place in ranked]
        varying = varying_settings([line.candidate for line in self.lines])
        results = {"best epoch": [f"{line.best_epoch + 1} of {line.epochs}" for line in shown]} | {
            name: [f"{line.metrics[name]:.2%}" for line in shown] for name in self.lines[0].metrics
        }
        if not self.lines[0].metrics:
            results["validation loss"] = [f"{line.val_loss:.4f}" for line in shown]
        return candidate_table(
            "",
            _by_term(self.terms, [line.candidate.loss_weights for line in shown]),
            {name: [line.candidate.all_settings[name] for line in shown] for name in varying},
            results,
            ["chosen" if place == self.chosen else "" if self.aligned[place] else "by luck" for place in ranked],
        )

    def notes(self) -> list[str]:
        """Say which directions retrieve nothing that is relevant, and which candidates rank by luck."""
        rank, measured = "MRR ", [line.metrics for line in self.lines]
        silent = [name for name in measured[0] if name.startswith(rank) and not any(one[name] for one in measured)]
        lines = [
            f"{name.removeprefix(rank)}: queries retrieve nothing that is relevant, as where their emotion is none of "
            "the candidates'; they score 0 and count"
            for name in silent
        ]
        if all(self.aligned):
            return lines
        fate = "none of them is chosen" if self.aligned[self.chosen] else "one is chosen for want of others"
        which = f"{self.aligned.count(False)} of {len(self.aligned)} heads: their objective and loss weights"
        reason = "never compare the modalities with each other, so they rank one by the other by luck, if at all"
        return [*lines, f"{which} {reason}; {fate}"]

    def _ranked(self) -> list[int]:
        def order(place: int) -> tuple[bool, bool, float]:
            return place != self.chosen, not self.aligned[place], -self.scores[place]

        return sorted(range(len(self.lines)), key=order)


def varying_settings(candidates: Sequence[Candidate]) -> list[str]:
    """List the settings that are not the same everywhere."""
    each = [candidate.all_settings for candidate in candidates]
    return [name for name in each[0] if any(settings[name] != each[0][name] for settings in each)]


def checked_rule(rule: str, candidates: Iterable[Candidate]) -> str:
    """Return the rule, or raise a ConfigError if there is none of that name or it cannot compare these candidates."""
    if rule not in RULES:
        raise ConfigError(f"there is no rule {rule!r} to select by; there are {', '.join(RULES)}")
    candidates = list(candidates)
    if rule == "loss" and len(candidates) > 1 and not all(one.loss_weights for one in candidates):
        raise ConfigError("the objective has no loss to select by; select by mean, p5 or mrr")
    compared = {
        (one.config.batch_size, one.settings.model_copy(update=dict.fromkeys(one.settings.BESIDE_LOSS)))
        for one in candidates
    }
    if rule == "loss" and len(compared) > 1:
        raise ConfigError(
            "losses of different batch sizes or settings of the objective cannot be compared; select by mean, p5 or mrr"
        )
    return rule


def own_score(line: TrainedCandidate, rule: str) -> float:
    """Score of one candidate by a rule; minus infinity for a lost head."""
    return RULES[rule](line) if math.isfinite(line.val_loss) else -math.inf


def choose(lines: Sequence[TrainedCandidate], objective: Objective, rule: str) -> SweepReport:
    """Score all candidates on validation and choose one; a rule that cannot compare them is a ConfigError."""
    checked_rule(rule, (line.candidate for line in lines))
    by_recipe: dict[Any, list[float]] = defaultdict(list)
    for line in lines:
        by_recipe[line.recipe].append(own_score(line, rule))
    scores = tuple(fmean(by_recipe[line.recipe]) for line in lines)
    aligned = tuple(objective.aligns(line.candidate.loss_weights) for line in lines)
    chosen = max(range(len(lines)), key=lambda place: (aligned[place], scores[place], -place))
    return SweepReport(tuple(lines), objective.terms, rule, scores, aligned, chosen)


@dataclass(frozen=True, slots=True)
class Standing:
    """How one candidate stands while it is trained."""

    number: int
    candidate: Candidate
    epoch: int  # the last one that it was trained for, from 0
    best_epoch: int = 0  # that of its lowest own validation loss
    val_loss: float = math.inf  # that loss
    even_loss: float = math.inf  # of the same epoch, at even weights

    def after(self, epoch: int, val_loss: float, val_terms: Sequence[float]) -> "Standing":
        """Return its standing after one more epoch."""
        if val_loss < self.val_loss:
            return Standing(self.number, self.candidate, epoch, epoch, val_loss, fmean(val_terms or [val_loss]))
        return Standing(self.number, self.candidate, epoch, self.best_epoch, self.val_loss, self.even_loss)


class Leaders:
    """Rank the candidates that are being trained.

    Nothing is ranked yet, so they are compared by their validation loss at even weights, each at the epoch that is its
    best so far; between different temperatures or batch sizes that says little.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        self.terms = terms
        self._standings: dict[int, Standing] = {}

    def update(
        self,
        numbers: Sequence[int],
        candidates: Sequence[Candidate],
        epoch: int,
        val_loss: Sequence[float],
        val_terms: Sequence[Sequence[float]],
    ) -> None:
        """Update some candidates by the losses of an epoch, and those by term."""
        for number, candidate, loss, by_term in zip(numbers, candidates, val_loss, val_terms, strict=True):
            standing = self._standings.get(number, Standing(number, candidate, epoch))
            self._standings[number] = standing.after(epoch, loss, by_term)

    def best(self, number: int) -> list[Standing]:
        """Return the leading candidates, best first."""
        return sorted(self._standings.values(), key=lambda one: (one.even_loss, one.number))[:number]

    def table_rows(self, max_heads: int) -> list[Row]:
        """Return column names, then a row for each of the leading candidates; settings that vary only."""
        varying = varying_settings([one.candidate for one in self._standings.values()])
        shown = self.best(max_heads)
        results = {
            "epoch": [str(one.epoch + 1) for one in shown],
            "best": [str(one.best_epoch + 1) for one in shown],
            "validation loss": [f"{one.even_loss:.4f}" for one in shown],
        }
        return candidate_table(
            "head",
            _by_term(self.terms, [one.candidate.loss_weights for one in shown]),
            {name: [one.candidate.all_settings[name] for one in shown] for name in varying},
            results,
            [str(one.number) for one in shown],
        )


def _by_term(terms: Sequence[str], weights: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    return {term.replace(">", " > "): [row[place] for row in weights] for place, term in enumerate(terms)}
