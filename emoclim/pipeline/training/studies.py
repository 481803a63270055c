"""Optuna proposes what to train: a study is asked for so many trials at once, and told what they came to.

Conventions: parameter ``weight_image_audio`` and its kin are loss weights up to a common factor, each from 0 to 1; a
setting of training of which several values are given is searched between the smallest and the largest if they are
floating-point numbers (by their logarithm if all are positive), and chosen from otherwise. A trial bears its run, its
settings and the numbers of its candidates, one for each seed, as a user attribute; its value is their mean score.
"""

import errno
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Any

from emoclim.errors import ConfigError, MissingLibrary
from emoclim.learning import Candidate, Space, column_name
from emoclim.pipeline.machine import without_password
from emoclim.pipeline.training.config import StudyConfig

if TYPE_CHECKING:
    import optuna

FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
EXPERIMENT = "experiment"  # user attribute of a study
ASKED = "emoclim"  # user attribute of a trial: its run, the numbers of its candidates there, and their settings


class Study:
    """A study of Optuna, reached in its storage."""

    def __init__(self, config: StudyConfig, space: Space, *, run: str, experiment: str, there: bool) -> None:
        try:
            import optuna

            from emoclim.pipeline.training.journal import journal
        except ImportError as error:
            raise MissingLibrary("--optuna needs Optuna: pip install 'emoclim[optuna]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._states, self._sampler = optuna.trial.TrialState, optuna.samplers.TPESampler
        self.config, self.space, self.run = config, space, run
        self.name = name = config.name or f"emoclim-{experiment}"
        self._weights = ["weight_" + column_name(term) for term in space.objective.terms]
        self._seeds = list(space.settings.get("seed", [space.base.seed]))
        self._choices = dict.fromkeys(self._weights, optuna.distributions.FloatDistribution(0, 1)) | {
            setting: _distribution(values)
            for setting, values in space.settings.items()
            if setting != "seed" and len(values) > 1
        }
        self._fixed = {setting: values[0] for setting, values in space.settings.items() if setting != "seed"}
        with self._reached():
            place: Any = config.storage
            if "://" not in place:
                place = optuna.storages.JournalStorage(journal(place))
            names = [summary.study_name for summary in optuna.get_all_study_summaries(place)]
            if there and name not in names:
                raise ConfigError(
                    f"study {name!r} is no longer in {without_password(config.storage)}; put it back, or train again"
                )
            self._study = optuna.create_study(storage=place, study_name=name, direction="maximize", load_if_exists=True)
            alike = self._study.user_attrs.get(EXPERIMENT, None if self._study.get_trials() else experiment)
            if alike != experiment or [one.name for one in self._study.directions] != ["MAXIMIZE"]:
                raise ConfigError(
                    f"study {name!r} in {without_password(config.storage)} is of other features, classes or settings; "
                    "give --study another name"
                )
            self._study.set_user_attr(EXPERIMENT, experiment)

    def ask(self, n_trials: int, first: int) -> list[Candidate]:
        """Ask for trials, as candidates numbered from `first` on; those asked for before a kill come again."""
        with self._reached():
            asked = {tuple(trial.user_attrs[ASKED]["candidates"]): trial.params for trial in self._open_trials()}
            self._put_given_weights_first()
            found = []
            for place in range(n_trials):
                begin = first + place * len(self._seeds)
                numbers = tuple(range(begin, begin + len(self._seeds)))
                found.append(asked.get(numbers) or self._ask_one(numbers))
        return [self._candidate(params, seed) for params in found for seed in self._seeds]

    def tell(self, scores: Mapping[int, float]) -> None:
        """Report scores by the numbers of candidates, higher is better; trials told already stay as they are."""
        with self._reached():
            for trial in self._open_trials():
                numbers = trial.user_attrs[ASKED]["candidates"]
                if scores.keys() >= set(numbers):
                    value = fmean(scores[number] for number in numbers)
                    lost = not math.isfinite(value)
                    self._study.tell(trial.number, None if lost else value, self._states.FAIL if lost else None)

    def give_up(self) -> None:
        """Mark what was asked for and never told as failed."""
        with self._reached():
            for trial in self._open_trials():
                self._study.tell(trial.number, state=self._states.FAIL)

    def _put_given_weights_first(self) -> None:
        """Let the loss weights of the space be asked for next, unless that was done."""
        alive = [
            trial
            for trial in self._study.get_trials()
            if trial.state in (self._states.COMPLETE, self._states.WAITING)
            or (trial.state is self._states.RUNNING and ASKED in trial.user_attrs)
        ]
        tried = [trial.params | trial.system_attrs.get("fixed_params", {}) for trial in alive]
        for row in self.space.weights:
            wanted = {key: weight / max(row) for key, weight in zip(self._weights, row, strict=True)}
            if not any(wanted.items() <= params.items() for params in tried):
                self._study.enqueue_trial(wanted)

    def _ask_one(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Ask for a trial and return its parameters, which follow from the seed and from what the study holds."""
        begun = sum(trial.state is not self._states.WAITING for trial in self._study.get_trials(deepcopy=False))
        self._study.sampler = self._sampler(seed=self.space.base.seed + begun, constant_liar=True)
        trial = self._study.ask(self._choices)
        settings = self._candidate(trial.params, self.space.base.seed).all_settings
        about = {"run": self.run, "candidates": list(numbers), "settings": settings}
        trial.set_user_attr(ASKED, about)
        return trial.params

    def _open_trials(self) -> "Sequence[optuna.trial.FrozenTrial]":
        """Return the trials of this run that were asked for and not told yet."""
        trials = self._study.get_trials(states=[self._states.RUNNING])
        return [trial for trial in trials if trial.user_attrs.get(ASKED, {}).get("run") == self.run]

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell what goes wrong with the storage, or with a study of another space; only of a full disk as OSError."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except ConfigError:
            raise
        except (OptunaError, SQLAlchemyError, OSError, ValueError, KeyError, ImportError) as error:
            if number := _full_disk(error):  # the run is kept, and goes on where there is room
                what = f"the study in {without_password(self.config.storage)}"
                raise OSError(number, f"{os.strerror(number)}: {what}") from error
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ConfigError(
                f"the study in {without_password(self.config.storage)} cannot be used ({reason}); give a URL or a file "
                "that can, or --study another name"
            ) from error

    def _candidate(self, params: Mapping[str, Any], seed: int) -> Candidate:
        row = [params[key] for key in self._weights]
        weights = tuple(weight / sum(row) if any(row) else 1 / len(row) for weight in row)
        chosen = {setting: value for setting, value in params.items() if setting not in self._weights}
        return Candidate(weights, *self.space.chosen(self._fixed | chosen | {"seed": seed}))


def _full_disk(error: BaseException | None) -> int | None:
    """Return the number of the system's error if a full disk is what lies behind an error, or a quota."""
    while error:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return errno.ENOSPC
        error = error.__cause__ or error.__context__
    return None


def _distribution(values: Sequence[Any]) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(value, float) for value in values):
        return FloatDistribution(min(values), max(values), log=min(values) > 0)
    return CategoricalDistribution(list(values))
