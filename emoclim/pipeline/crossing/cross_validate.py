"""`emoclim cross-validate`: each fold is ranked by heads that were trained without it, and all scores are pooled.

Within the training items of a fold one of the candidates is chosen: of heads that are trained by losses, on a part that
they stop by; of those in closed form, by leaving out each of the other folds in turn. The run keeps no heads.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from emoclim.errors import ConfigError
from emoclim.files import csv_bytes, write_bytes, write_json
from emoclim.learning import varying_settings
from emoclim.modality import MODALITIES
from emoclim.pipeline.crossing.config import CrossConfig
from emoclim.pipeline.crossing.extra import with_extra
from emoclim.pipeline.crossing.fold_training import Fold, FoldTraining
from emoclim.pipeline.crossing.folds import Folds
from emoclim.pipeline.evaluation.evaluate import measure_run, write_evaluation
from emoclim.pipeline.evaluation.page import Examples
from emoclim.pipeline.evaluation.result import Evaluation
from emoclim.pipeline.library import Library, library_note
from emoclim.pipeline.machine import provenance
from emoclim.pipeline.run import SCHEMA, SETTINGS, Resources, Step, Work
from emoclim.pipeline.sharing import share_out
from emoclim.pipeline.splits import WHOLE, without_numbers
from emoclim.pipeline.training.inputs import Labelled
from emoclim.pipeline.training.label_vectors import told_of
from emoclim.pipeline.training.train_heads import TrainHeads, require_epochs
from emoclim.pipeline.training.trained_runs import Run
from emoclim.pipeline.workspace import FOLDS_FILE, Workspace
from emoclim.reports import Row
from emoclim.stages import FoldHeads

SEED = 42  # of pictures
REASONS_FILE, EXPLAINED = "reasons.json", 10_000  # the most scores of a direction that it tells of


@dataclass(frozen=True, kw_only=True)
class CrossResult:
    """What one `emoclim cross-validate` found."""

    folder: Path
    plan: str
    config: CrossConfig
    inputs: Labelled
    folds: Folds
    trained: Sequence[Fold]
    evaluation: Evaluation
    examples: Examples
    interrupted: bool = False

    def settings(self) -> dict[str, Any]:
        """Return the content of settings.json: all that the run depends on, and what was chosen in each fold."""
        return self.inputs.settings() | {
            "plan": self.plan,
            "select": self.trained[0].report.rule,
            "folds": [
                {
                    "name": one.name,
                    "candidate": (line := one.report.lines[one.report.chosen]).number,
                    "loss_weights": list(line.candidate.loss_weights),
                    "config": line.candidate.all_settings,
                    "score": one.report.scores[one.report.chosen],
                }
                for one in self.trained
            ],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"folder": str(self.folder), "settings": self.settings(), **self.evaluation.to_dict()}

    def fold_rows(self) -> list[Row]:
        """Return column names, then a row for each fold: its items, and what was chosen for it."""
        counts = {name: Counter(numbers.values()) for name, numbers in self.folds.numbers.items()}
        candidates = [line.candidate for line in self.trained[0].report.lines]
        tried = varying_settings(candidates)
        heading = f"chosen of {len(candidates)}"
        rows: list[Row] = [("fold", *(MODALITIES[name].nouns for name in counts), heading, *tried)]
        for number, one in enumerate(self.trained):
            line = one.report.lines[one.report.chosen]
            found = [count[number] for count in counts.values()] + [line.number]
            found += [line.candidate.all_settings[name] for name in tried]
            rows.append((one.name, *map(str, found)))
        return rows

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        lines = without_numbers(self.inputs.libraries, self.inputs.numbered())
        for name, library in self.inputs.libraries.items():
            if only := len(library.manifest.items) - len(self.folds.numbers.get(name, {})):
                lines.append(f"{only} {MODALITIES[name].nouns} are in no fold; those that can be used teach in each")
        return [*lines, *self.evaluation.summary(), f"run: {self.folder}"]

    def write(self) -> None:
        """Write everything; what was measured comes last."""
        write_json(self.folder / SETTINGS, {"schema": SCHEMA, **self.settings()})
        write_json(self.folder / "run.json", provenance(()))
        rows = [
            (name, id_, self.folds.names[number])
            for name, numbers in self.folds.numbers.items()
            for id_, number in sorted(numbers.items())
        ]
        write_bytes(self.folder / FOLDS_FILE, csv_bytes([("modality", "id", "fold"), *rows]))
        write_evaluation(self.evaluation, self.examples, self.folder, SEED)
        few = [
            one for one in self.evaluation.report.directions.values() if one.n_queries * one.n_candidates <= EXPLAINED
        ]
        reasons = {one.name: found for one in few if (found := self.examples.reasons(one))}
        if reasons and self.evaluation.by_partner:
            write_json(self.evaluation.folder / REASONS_FILE, {"schema": 1, "directions": reasons})


class CrossValidate(Step[CrossConfig, Labelled, CrossResult]):
    """Train heads without each fold in turn, and measure them on it."""

    name, config = "cross-validate", CrossConfig

    @override
    def inputs(self, config: CrossConfig, resources: Resources, known: Mapping[str, Any]) -> Labelled:
        """Open the libraries."""
        found = TrainHeads().inputs(config, resources, known)
        if config.extra and config.folds is not None:
            raise ConfigError("--extra is in no fold, but each item is in one of --folds; leave out one of the two")
        return replace(found, libraries=with_extra(found.libraries, config.extra)) if config.extra else found

    @override
    def place(self, config: CrossConfig, inputs: Labelled, workspace: Workspace, name: str | None) -> Path:
        """Make a folder named after the encoders."""
        return TrainHeads().place(config, inputs, workspace, name)

    @override
    def run(self, config: CrossConfig, inputs: Labelled, work: Work) -> CrossResult:
        """Train what is left of the folds, and measure all."""
        require_epochs(inputs, work)
        training = self._training(config, inputs, work)
        share_out(work, [f"{number}" for number in range(len(training.folds.names))])
        training = replace(training, work=replace(work, resources=replace(work.resources, engine=None)))
        trained = list(work.resources.track(training.folds_in_turn(), "Training folds", len(training.folds.names)))
        evaluation, examples = self._measure(config, inputs, training.folds, trained, work)
        return CrossResult(
            folder=work.run,
            plan=work.plan.digest,
            config=config,
            inputs=inputs,
            folds=training.folds,
            trained=trained,
            evaluation=evaluation,
            examples=examples,
        )

    def train_part(self, config: CrossConfig, inputs: Labelled, work: Work, part: str) -> None:
        """Train what is chosen from in one fold."""
        self._training(config, inputs, work).sweep_of(int(part))

    def _training(self, config: CrossConfig, inputs: Labelled, work: Work) -> FoldTraining:
        workspace = work.resources.workspace
        split = inputs.splits(workspace, list(inputs.libraries), (WHOLE,))[WHOLE]
        if config.folds is None:
            folds = Folds.leaving_one_group_out(inputs.libraries, split, inputs.pairs)
        else:
            seed, keys = config.base.seed, workspace.content_keys()
            folds = Folds.stratified(inputs.libraries, split, config.folds, seed, keys, inputs.pairs)
        return FoldTraining(config, inputs, split, folds, work)

    def _measure(
        self, config: CrossConfig, inputs: Labelled, folds: Folds, trained: Sequence[Fold], work: Work
    ) -> tuple[Evaluation, Examples]:
        libraries = {name: _only(library, folds.numbers[name]) for name, library in inputs.libraries.items()}
        first = trained[0].report
        run = Run(
            folder=work.run,
            heads=FoldHeads.of([one.heads for one in trained], folds.numbers),
            label_map=inputs.label_map,
            kept=[0],
            chosen=0,
            libraries={name: library_note(library) for name, library in libraries.items()},  # type: ignore[misc]
            encoder_settings={},
            loss_weights={0: first.lines[first.chosen].candidate.loss_weights},
            label_vectors=(inputs.vectors or {}).get("table", []),
            substitute=told_of(inputs.vectors),
        )
        where: dict[str, Any] = {"workspace": work.resources.workspace, "device": work.resources.device}
        ranked = inputs.ranked or inputs.pairs is not None
        return measure_run(run, libraries, config.measured(ranked=ranked), plots=config.plots, **where)


def _only(library: Library, ids: Mapping[str, int]) -> Library:
    items = tuple(item for item in library.manifest.items if item.id in ids)
    return replace(library, manifest=replace(library.manifest, items=items))
