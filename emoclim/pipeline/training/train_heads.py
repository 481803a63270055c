"""`emoclim train-heads`: caches and candidates -> a run."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from emoclim.config import TrainConfig
from emoclim.data import Split
from emoclim.encoders import choose_device
from emoclim.errors import ConfigError
from emoclim.learning import Objective, Space, checked_rule, choose, groups, read_space, seeds, simplex_points
from emoclim.pipeline.machine import digest_of, without_password
from emoclim.pipeline.run import Resources, Step, Work, require_finite
from emoclim.pipeline.training.config import HeadsConfig, StudyConfig
from emoclim.pipeline.training.inputs import Labelled, choose_for
from emoclim.pipeline.training.run_files import SHOWN_HEADS, EpochEvents, TrainingResult
from emoclim.pipeline.training.studies import Study
from emoclim.pipeline.training.sweep import Rounds, Trainer, max_heads, read_rounds
from emoclim.pipeline.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class HeadsResult(TrainingResult):
    """What one `emoclim train-heads` did."""

    config: HeadsConfig
    study_name: str | None

    def settings(self, **config: Any) -> dict[str, Any]:
        """Return the content of settings.json: all that the run depends on, and what was found."""
        study = self.config.study
        asked = self.config.model_dump(mode="json", include={"weights", "settings", "base", "own"})
        hidden = {"storage"}  # a place, and it may hold a password
        told = study and study.model_dump(exclude=hidden) | asked
        asked_for = {"study": told, "keep": self.keep, "min_seconds": self.config.min_seconds}
        return super().settings(**config) | asked_for

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        lines = [
            f"{modality}: {library.manifest.source}, features of {library.note.path.stem}"
            for modality, library in self.inputs.libraries.items()
        ]
        for modality, counts in self.inputs.left_out().items():
            if counts:
                told = ", ".join(f"{count} {label}" for label, count in counts.items())
                lines.append(f"{modality}: left out, having no partner: {told}")
        if self.config.study:
            place = without_password(self.config.study.storage)
            lines.append(f"study {self.study_name}; look at it with: optuna-dashboard {place}")
        if len(self.report.lines) > SHOWN_HEADS:
            n_heads, rule = len(self.report.lines), self.report.rule
            lines.append(f"shown are the best {SHOWN_HEADS} of {n_heads} heads by {rule}; sweep.csv has all")
        return [*lines, *self.findings(), *self.ending("train-heads")]


class TrainHeads(Step[HeadsConfig, Labelled, HeadsResult]):
    """Train pairs of heads on cached features, and choose one on validation."""

    name, config = "train-heads", HeadsConfig

    def inputs(self, config: HeadsConfig, resources: Resources, known: Mapping[str, Any]) -> Labelled:
        """Open the libraries."""
        objective = config.make_objective()
        candidates = config.space(objective).candidates()
        libraries = choose_for(objective, resources.workspace, config.libraries, known)
        inputs = Labelled.of(config, libraries, known)
        checked_rule(config.rule(ranked=inputs.ranked), candidates)
        return inputs

    @override
    def place(self, config: HeadsConfig, inputs: Labelled, workspace: Workspace, name: str | None) -> Path:
        """Make a folder named after the encoders."""
        return workspace.claim_run(name, "-".join(library.note.spec.name for library in inputs.libraries.values()))

    def run(self, config: HeadsConfig, inputs: Labelled, work: Work) -> HeadsResult:
        """Train what is left of the candidates."""
        require_epochs(inputs, work)
        device, splits = choose_device(work.resources.device), _splits(config, inputs, work)
        space, rule = config.space(inputs.objective), config.rule(ranked=inputs.ranked)
        rounds = read_rounds(work.folder, space) or first_rounds(config.study, space, splits["train"], device)
        study = None
        if config.study:
            experiment = _experiment(rule, inputs, space)
            study = Study(config.study, space, run=rounds.token, experiment=experiment, there=bool(rounds.rounds))
        events = work.run / "tensorboard" if config.tensorboard else None
        try:
            watch = EpochEvents(inputs.objective.terms, work.resources.watch, events)
            sweep = Trainer(splits, inputs.objective, device, work, watch).train(rounds, study, rule)
        except BaseException:
            if study and not work.has_snapshots():
                study.give_up()
            raise
        require_finite(line.val_loss for line in sweep.lines)
        report = choose(sweep.lines, inputs.objective, rule)
        return HeadsResult(
            folder=work.run,
            inputs=inputs,
            plan=work.plan.digest,
            sweep=sweep,
            report=report,
            keep=config.keep,
            config=config,
            study_name=study.name if study else None,
        )

    def train_part(self, config: HeadsConfig, inputs: Labelled, work: Work, part: str) -> None:
        """Train a bank of heads."""
        rounds = read_rounds(work.folder, config.space(inputs.objective))
        assert rounds is not None  # whoever shares banks out wrote it before
        device = choose_device(work.resources.device)
        Trainer(_splits(config, inputs, work), inputs.objective, device, work, unseen).train_named(rounds, part)


def require_epochs(inputs: Labelled, work: Work) -> None:
    """Refuse an engine where nothing is trained in epochs, whose snapshots workers leave."""
    if work.resources.engine is not None and inputs.objective.fits:
        raise ConfigError("what is fitted in closed form is done at once, by one process; leave out --on")


def unseen(*_: object) -> None:
    """Show nothing of single epochs."""


def _splits(config: HeadsConfig, inputs: Labelled, work: Work) -> dict[str, Split]:
    splits = inputs.splits(work.resources.workspace, list(inputs.libraries))
    return {name: split.lasting(config.min_seconds) if config.min_seconds else split for name, split in splits.items()}


def first_rounds(study: StudyConfig | None, space: Space, train: Split, device: torch.device) -> Rounds:
    """Return what is trained first: all candidates, or of a study none yet."""
    candidates = space.candidates()
    largest = study.trials if study else max(map(len, groups(candidates, len(candidates))))
    most = max_heads(train, [one.config for one in candidates], largest, device)
    return Rounds(() if study else (tuple(candidates),), most, uuid.uuid4().hex)


def _experiment(rule: str, inputs: Labelled, space: Space) -> str:
    """Hash what scores of two runs must share to be comparable to 12 hex digits."""
    compared: dict[str, Any] = {"inputs": inputs.noted, "select": rule}
    if rule == "loss":
        first = space.candidates()[0]
        compared["loss"] = first.config.batch_size, first.settings.model_dump(mode="json")
    return digest_of(compared)


def what_to_try(
    config: TrainConfig,
    objective: Objective,
    weights: Sequence[Sequence[float]] = (),
    sweep: int | None = None,
    temperatures: Sequence[float] = (),
    n_seeds: int = 1,
    file: Path | None = None,
) -> dict[str, Any]:
    """Return fields of :class:`HeadsConfig` from the options of the command."""
    if file is not None:
        if weights or sweep or temperatures or n_seeds != 1:
            raise ConfigError(
                f"{file} says what to try; leave out the other options of the sweep, or write them into it"
            )
        space = read_space(file, config, objective)
        return {"weights": space.weights, "settings": space.settings, "base": space.base}
    rows = [*weights, *(simplex_points(sweep, len(objective.terms), config.seed) if sweep else [])]
    settings: dict[str, Sequence[Any]] = {"seed": seeds(config.seed, n_seeds)}
    if temperatures:
        settings["temperature"] = temperatures
    return {"weights": tuple(dict.fromkeys(map(tuple, rows))), "settings": settings, "base": config}
