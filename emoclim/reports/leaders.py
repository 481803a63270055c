"""Which heads lead while a sweep is trained.

Conventions as in :mod:`emoclim.reports.sweep`. Nothing is ranked yet, so heads are compared by their validation loss at
even weights, each at the epoch that is its best so far by its own weights; between different temperatures or batch
sizes that says little.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from emoclim.losses import Terms
from emoclim.reports.sweep import varied_values, varying_settings
from emoclim.sweep import Candidate


@dataclass(frozen=True, slots=True)
class Standing:
    """How one candidate stands.

    Attributes
    ----------
    number, candidate
        Which it is.
    epoch
        The last one that it was trained for, from 0.
    best_epoch
        That of its lowest own validation loss.
    val_loss
        That loss; infinite while there is none.
    even_loss
        The loss of the same epoch at even weights.
    """

    number: int
    candidate: Candidate
    epoch: int
    best_epoch: int = 0
    val_loss: float = math.inf
    even_loss: float = math.inf

    def after(self, epoch: int, val_loss: float, val_terms: Sequence[float]) -> "Standing":
        """How it stands after one more epoch."""
        if val_loss < self.val_loss:
            return Standing(self.number, self.candidate, epoch, epoch, val_loss, fmean(val_terms))
        return Standing(self.number, self.candidate, epoch, self.best_epoch, self.val_loss, self.even_loss)


class Leaders:
    """The standings of all candidates that have begun.

    Parameters
    ----------
    terms
        Of the objective, in the order of the weights.
    """

    def __init__(self, terms: Terms) -> None:
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
        """Take in an epoch of some candidates: numbers, what they are, its number, their losses and those by term."""
        for number, candidate, loss, by_term in zip(numbers, candidates, val_loss, val_terms, strict=True):
            standing = self._standings.get(number, Standing(number, candidate, epoch))
            self._standings[number] = standing.after(epoch, loss, by_term)

    def best(self, most: int) -> list[Standing]:
        """So many leading ones, the first of them in front."""
        return sorted(self._standings.values(), key=lambda one: (one.even_loss, one.number))[:most]

    def table_rows(self, most: int) -> list[tuple[str, ...]]:
        """A row of column names, then one for each of the leading candidates; settings that vary only."""
        varying = varying_settings([one.candidate.config for one in self._standings.values()])
        header = ("head", *(" > ".join(term) for term in self.terms), *varying, "epoch", "best", "validation loss")
        return [header, *(_row(one, varying) for one in self.best(most))]


def _row(one: Standing, varying: Sequence[str]) -> tuple[str, ...]:
    weights = (f"{weight:.3g}" for weight in one.candidate.loss_weights)
    epochs = str(one.epoch + 1), str(one.best_epoch + 1)
    return str(one.number), *weights, *varied_values(one.candidate.config, varying), *epochs, f"{one.even_loss:.4f}"
