"""List the candidates of a sweep: loss weights on the simplex, crossed with settings, in groups of equal shape.

Convention: a candidate is one set of heads to train, its loss weights and all other settings. Candidates that differ in
loss weights and in floats of the objective's settings only are trained as one bank. The order of the candidates follows
from the options.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch
from torch.quasirandom import SobolEngine

from emoclim.config import Settings, TrainConfig, read_settings_file, split_settings
from emoclim.errors import ConfigError
from emoclim.learning.objectives.base import Objective

WEIGHTS, POINTS, SEEDS = "loss_weights", "points", "seeds"  # of a sweep file, beside the settings of training
MOST_POINTS = 100_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """One set of heads to train."""

    loss_weights: tuple[float, ...]
    config: TrainConfig
    settings: Settings  # of the objective

    @property
    def bank(self) -> tuple[TrainConfig, Settings]:
        """What it shares with the candidates that are trained beside it."""
        return self.config, self.settings.model_copy(update=dict.fromkeys(self.settings.floats()))

    @property
    def all_settings(self) -> dict[str, Any]:
        """Of training and of the objective, as plain values by name."""
        return self.config.model_dump(mode="json") | self.settings.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class Space:
    """What a sweep may try."""

    weights: Sequence[Sequence[float]]
    settings: Mapping[str, Sequence[Any]]
    base: TrainConfig
    objective: Objective  # with one settings, which are the base of its own

    def candidates(self) -> list[Candidate]:
        """Combine every row of loss weights with every choice of the settings; the weights change first."""
        choices = product(*self.settings.values())
        rows = [loss_weights(row, len(self.objective.terms)) for row in self.weights]
        candidates = [
            Candidate(row, *self.chosen(dict(zip(self.settings, values, strict=True))))
            for values in choices
            for row in rows
        ]
        if not candidates:
            raise ConfigError("a sweep needs at least one candidate; give it some loss weights, or no empty list")
        if len(set(candidates)) < len(candidates):
            raise ConfigError("the sweep would try the same candidate twice; give each value once")
        return candidates

    def chosen(self, values: Mapping[str, Any]) -> tuple[TrainConfig, Settings]:
        """Return the settings of training and of the objective, with some values in place of their own."""
        own = self.objective.settings[0]
        of_training, of_objective = split_settings(values, TrainConfig, type(own))
        settings = own.updated(**of_objective)
        if self.objective.of([settings]).terms != self.objective.terms:
            told = ", ".join(sorted(of_objective))
            raise ConfigError(f"a sweep has the same terms throughout, but {told} changes them; give it by --setting")
        return self.base.updated(**of_training), settings


def loss_weights(values: Sequence[float], n_terms: int = 4) -> tuple[float, ...]:
    """Check the coefficients of the loss terms, one per term, and return them as a tuple."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    usable = len(numbers) == len(values) == n_terms and all(math.isfinite(number) and number >= 0 for number in numbers)
    if not n_terms and not values:
        return ()
    if not usable or not any(numbers):
        listed = ", ".join(str(value) for value in values)
        raise ConfigError(f"loss weights ({listed}) must be {n_terms} finite numbers of at least 0, not all 0")
    return tuple(float(number) for number in numbers)


def simplex_points(number: int, n_terms: int, seed: int) -> list[tuple[float, ...]]:
    """Spread loss weights over the simplex, each row summing to 1.

    Notes
    -----
    Sobol points (A. B. Owen's scrambling), sorted within each point: their spacings are uniform on the simplex (L.
    Devroye, "Non-Uniform Random Variate Generation", 1986, chapter V.2).
    """
    if not 1 <= number <= MOST_POINTS:
        raise ConfigError(f"a sweep of {number} points is not possible; give from 1 to {MOST_POINTS}")
    chosen = [subset for size in range(n_terms, 0, -1) for subset in combinations(range(n_terms), size)]
    faces = [tuple(1 / len(subset) if term in subset else 0.0 for term in range(n_terms)) for subset in chosen]
    rest = max(0, number - len(faces))
    if n_terms == 1 or not rest:
        return faces[:number]
    sobol = SobolEngine(n_terms - 1, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    drawn = sobol.draw(rest, dtype=torch.float64).sort(dim=1).values
    edges = torch.cat([torch.zeros(rest, 1), drawn, torch.ones(rest, 1)], dim=1)
    return faces[:number] + [tuple(row) for row in edges.diff(dim=1).tolist()]


def read_space(path: Path, base: TrainConfig, objective: Objective) -> Space:
    """Read what to try from a TOML file.

    Each line is a setting of training with a value, or a list of values to try; besides, ``loss_weights`` (a list of
    lists), ``points`` (how many on the simplex) and ``seeds`` (how many from ``seed`` on).
    """
    return read_settings_file(path, lambda content: _space(content, base, objective))


def _space(content: dict[str, Any], base: TrainConfig, objective: Objective) -> Space:
    points, number, rows = content.pop(POINTS, None), content.pop(SEEDS, 1), content.pop(WEIGHTS, None)
    if not _is_count(number) or not (points is None or _is_count(points)):
        raise ConfigError(f"{POINTS} and {SEEDS} are whole numbers of at least 1")
    if number > 1 and isinstance(content.get("seed"), list):
        raise ConfigError(f"{SEEDS} counts on from one seed, but seed is a list; leave out one of them")
    if rows == []:
        raise ConfigError(f"{WEIGHTS} is empty; leave it out, or give it some")
    if rows is not None and not (isinstance(rows, list) and all(isinstance(row, list) for row in rows)):
        raise ConfigError(f"{WEIGHTS} is a list of lists: [[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]]")
    if not isinstance(content.get("seed"), list):
        base = base.updated(**{name: content.pop(name) for name in ("seed",) if name in content})
    settings = {name: value if isinstance(value, list) else [value] for name, value in content.items()}
    if number > 1:
        settings |= {"seed": seeds(base.seed, number)}
    n_terms = len(objective.terms)
    rows = (rows or []) + (simplex_points(points, n_terms, base.seed) if points else [])
    space = Space(rows or [objective.default_weights], settings, base, objective)
    space.candidates()  # what cannot be tried is told with the name of the file
    return space


def seeds(first: int, number: int) -> list[int]:
    """Count seeds from the first on."""
    return list(range(first, first + number))


def groups(candidates: Sequence[Candidate], max_heads: int) -> list[list[int]]:
    """Group the candidates that are trained together, by number: those of one bank, at most `max_heads` at a time."""
    by_bank: dict[Any, list[int]] = {}
    for number, candidate in enumerate(candidates):
        by_bank.setdefault(candidate.bank, []).append(number)
    return [
        numbers[first : first + max_heads]
        for numbers in by_bank.values()
        for first in range(0, len(numbers), max_heads)
    ]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
