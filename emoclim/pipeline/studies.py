"""Optuna proposes what to train: a study is asked for so many trials at once, and told what they came to.

Conventions: parameter ``weight_image_audio`` and its kin are loss weights up to a common factor, each from 0 to 1; a
setting of training of which several values are given is searched between the smallest and the largest if they are
floating-point numbers (by their logarithm if all are positive), and chosen from otherwise. A trial bears the run and
the numbers of its candidates as user attributes, one for each seed; its value is the mean of their scores.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from emoclim.config import TrainConfig, updated
from emoclim.errors import ConfigError
from emoclim.losses import Terms
from emoclim.sweep import Candidate, Space

if TYPE_CHECKING:
    import optuna

RUN, CANDIDATES, EXPERIMENT = "run", "candidates", "experiment"  # user attributes
SQLITE = (".db", ".sqlite", ".sqlite3")


class Study:
    """A study in a storage, made if there is none of its name.

    Parameters
    ----------
    storage
        URL of a database, or a file: of SQLite if it is called ``*.db`` or ``*.sqlite``, a journal otherwise.
    name
        Of the study.
    space
        What to choose from; its loss weights are tried first, and its seeds are all tried.
    run
        Name of the run that asks.
    experiment
        Digest of all that makes trials comparable.
    terms
        Of the objective.

    Raises
    ------
    ConfigError
        Optuna is not installed, the storage cannot be used, or the study is of another experiment.
    """

    def __init__(self, storage: str, name: str, space: Space, *, run: str, experiment: str, terms: Terms) -> None:
        try:
            import optuna
            from sqlalchemy.exc import SQLAlchemyError
        except ImportError as error:
            raise ConfigError("--optuna needs Optuna; install it with: pip install 'emoclim[optuna]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.run = space, run
        self._weights = [f"weight_{anchor}_{contrast}" for anchor, contrast in terms]
        self._seeds = list(space.settings.get("seed", [space.base.seed]))
        self._choices = dict.fromkeys(self._weights, optuna.distributions.FloatDistribution(0, 1)) | {
            setting: _distribution(values)
            for setting, values in space.settings.items()
            if setting != "seed" and len(values) > 1
        }
        self._fixed = {setting: values[0] for setting, values in space.settings.items() if setting != "seed"}
        try:
            self._study = optuna.create_study(
                storage=_storage(storage), study_name=name, direction="maximize", load_if_exists=True
            )
            if self._study.user_attrs.get(EXPERIMENT, experiment) != experiment:
                raise ConfigError(
                    f"study {name!r} in {storage} is of other features, classes or settings; give --study another name"
                )
            self._study.set_user_attr(EXPERIMENT, experiment)
        except (SQLAlchemyError, OSError, ValueError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"storage {storage} cannot be used ({reason}); give a URL or a file") from error
        for row in space.weights:
            found = {key: weight / max(row) for key, weight in zip(self._weights, row, strict=True)}
            self._study.enqueue_trial(found, skip_if_exists=True)

    def ask(self, n_trials: int, first: int) -> list[Candidate]:
        """So many trials more, as candidates numbered from `first` on; those asked for before a kill come again."""
        open_trials = [trial for trial in self._running() if min(trial.user_attrs[CANDIDATES]) >= first]
        found = [trial.params for trial in open_trials]
        while len(found) < n_trials:
            number = first + len(found) * len(self._seeds)
            found.append(self._ask_one(number))
        return [
            Candidate(self._loss_weights(params), updated(self._config(params), {"seed": seed}))
            for params in found
            for seed in self._seeds
        ]

    def tell(self, scores: Mapping[int, float]) -> None:
        """What candidates came to, by number, higher is better; trials told already stay as they are."""
        from optuna.trial import TrialState

        for trial in self._running():
            if scores.keys() >= set(trial.user_attrs[CANDIDATES]):
                value = fmean(scores[number] for number in trial.user_attrs[CANDIDATES])
                if math.isfinite(value):
                    self._study.tell(trial.number, value)
                else:
                    self._study.tell(trial.number, state=TrialState.FAIL)

    def _ask_one(self, number: int) -> dict[str, Any]:
        """Parameters of a new trial; they depend on what the study holds, on the seed and on the number alone."""
        from optuna.samplers import TPESampler

        self._study.sampler = TPESampler(seed=self.space.base.seed + number, constant_liar=True)
        trial = self._study.ask(self._choices)
        trial.set_user_attr(RUN, self.run)
        trial.set_user_attr(CANDIDATES, list(range(number, number + len(self._seeds))))
        return trial.params

    def _running(self) -> "Sequence[optuna.trial.FrozenTrial]":
        """Trials of this run that were asked for and not told yet."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(states=[TrialState.RUNNING])
        return [trial for trial in trials if trial.user_attrs.get(RUN) == self.run]

    def _loss_weights(self, params: Mapping[str, Any]) -> tuple[float, ...]:
        row = [params[key] for key in self._weights]
        total = sum(row)
        return tuple(weight / total if total else 1 / len(row) for weight in row)

    def _config(self, params: Mapping[str, Any]) -> TrainConfig:
        chosen = {setting: value for setting, value in params.items() if setting not in self._weights}
        return updated(self.space.base, self._fixed | chosen)


def _distribution(values: Sequence[Any]) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(value, float) for value in values):
        return FloatDistribution(min(values), max(values), log=min(values) > 0)
    return CategoricalDistribution(list(values))


def storage_place(storage: str) -> str:
    """The URL of a database, or the path of a journal: what ``optuna-dashboard`` takes."""
    return f"sqlite:///{storage}" if storage.endswith(SQLITE) and "://" not in storage else storage


def _storage(storage: str) -> Any:
    """What Optuna itself takes."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    place = storage_place(storage)
    return place if "://" in place else JournalStorage(JournalFileBackend(place))
