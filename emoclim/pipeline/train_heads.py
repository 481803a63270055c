"""`emoclim train-heads`: caches and candidates -> a run."""

import math
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from emoclim.config import TrainConfig
from emoclim.data import ContentKeys, LabelMap, Split, match_labels, read_label_map
from emoclim.errors import ConfigError, RunError
from emoclim.files import read_json
from emoclim.learning import EMO_CLIM, Leaders, Space, SweepReport, checked_rule, choose, groups
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, labelled_library, labels_of, library_note, noted_library, read_splits
from emoclim.pipeline.plans import EVEN, Plan, StudyPlan, similarity_of
from emoclim.pipeline.rounds import train_rounds
from emoclim.pipeline.run_files import write_run
from emoclim.pipeline.snapshots import PLAN, UNFINISHED, find_unfinished
from emoclim.pipeline.studies import shown_place, storage_place
from emoclim.pipeline.sweeping import most_heads
from emoclim.pipeline.watching import Watcher
from emoclim.pipeline.workspace import Workspace, choose_device
from emoclim.progress import Track, silent

SHOWN_HEADS = 10
SIMILARITY_WIDTH = 0.05  # of the widths tried at temperature 0.07, the one with the most similar emotions on top
SCHEMA = 1  # of the files of a run


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What one `emoclim train-heads` did."""

    folder: Path
    libraries: Mapping[Modality, Library]  # what it was trained on
    plan: Plan  # what was to be done
    left_out: Mapping[Modality, Mapping[str, int]]  # by modality, how many items of each label have no class
    report: SweepReport  # all candidates that were trained, and the chosen one
    kept: Sequence[int]  # places in the report of the heads that are kept
    interrupted: bool  # whether it was stopped early

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"run": str(self.folder), **self.settings()}

    def settings(self) -> dict[str, Any]:
        """All that the run depends on and what was found, without its place; the same seed gives the same."""
        lines = self.report.lines
        specs = {modality: library.note.spec.to_dict() for modality, library in self.libraries.items()}
        plan = {"schema": SCHEMA} | self.plan.to_dict()
        for passing in ("most", "rounds", "token", "tensorboard"):
            del plan[passing]
        if self.plan.study:
            del plan["study"]["storage"]  # a place, and it may hold a password
        return plan | {
            "features": specs,
            "left_out": self.left_out,
            "terms": [list(term) for term in self.report.terms],
            "heads": [
                {
                    "candidate": line.number,
                    "loss_weights": list(line.loss_weights),
                    "config": line.config.model_dump(),
                    "best_epoch": line.best_epoch,
                    "validation": dict(line.metrics),
                    "score": _finite(self.report.scores[place]),
                }
                for place, line in enumerate(lines)
            ],
            "kept": [lines[place].number for place in self.kept],
            "chosen": lines[self.report.chosen].number,
            "interrupted": self.interrupted,
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = [
            f"{modality}: {library.manifest.source}, features of {library.note.path.stem}"
            for modality, library in self.libraries.items()
        ]
        for modality, counts in self.left_out.items():
            if counts:
                told = ", ".join(f"{count} {label}" for label, count in counts.items())
                lines.append(f"{modality}: left out, having no partner: {told}")
        if self.interrupted:
            lines.append(f"stopped early; go on with: emoclim train-heads --resume {self.folder.name}")
        if self.plan.study:
            place = shown_place(self.plan.study.storage)
            lines.append(f"study {self.plan.study_name}; look at it with: optuna-dashboard {place}")
        if len(self.report.lines) > SHOWN_HEADS:
            lines.append(f"{len(self.report.lines)} heads; the best {SHOWN_HEADS} by {self.report.rule}:")
        return [*lines, f"classes: {', '.join(self.plan.label_map.classes)}", f"run: {self.folder}"]

    def table_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one row per pair of heads, the best first."""
        return self.report.table_rows(SHOWN_HEADS)


def start_heads(
    *,
    images: str | None = None,
    audio: str | None = None,
    candidates: Space | StudyPlan = Space((EVEN,), {}, TrainConfig()),  # noqa: B008 - immutable
    select: str = "mean",
    keep: int | None = None,
    valence_arousal: Path | None = None,
    similarity_width: float = SIMILARITY_WIDTH,
    label_map: Path | None = None,
    name: str | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    track: Track = silent,
    show: Callable[[Leaders], None] | None = None,
    tensorboard: bool = False,
) -> TrainingResult:
    """Train pairs of heads on the cached features of images and music, and choose one on validation."""
    study = candidates if isinstance(candidates, StudyPlan) else None
    if study:  # a run may be gone on with from another folder
        study = replace(study, storage=storage_place(study.storage))
    given = (candidates.space if isinstance(candidates, StudyPlan) else candidates).candidates()
    configs = [one.config for one in given]
    largest = study.trials if study else max(map(len, groups(given, len(given))))
    rule = checked_rule(select, configs)
    libraries: dict[Modality, Library] = {
        "image": labelled_library(workspace, "image", images),
        "audio": labelled_library(workspace, "audio", audio),
    }
    labels = labels_of(libraries)
    mapping = read_label_map(label_map, labels) if label_map else match_labels(labels)
    splits = _splits(libraries, mapping, workspace)
    where = choose_device(device)
    plan = Plan(
        {modality: library_note(library) for modality, library in libraries.items()},
        mapping,
        () if study else (tuple(given),),
        rule,
        keep,
        most_heads(splits["train"], configs, largest, where),
        similarity_of(valence_arousal, similarity_width, mapping) if valence_arousal else None,
        study,
        uuid.uuid4().hex,
        tensorboard,
    )
    encoders = "-".join(library.note.spec.name for library in libraries.values())
    folder = workspace.claim_run(name, encoders)
    work = folder / UNFINISHED
    work.mkdir()
    try:
        return _execute(folder, plan, libraries, splits, where, track, show)
    except BaseException:
        if not any(work.glob("*.safetensors")):  # nothing to go on from
            shutil.rmtree(folder, ignore_errors=True)
        raise


def resume_heads(
    run: str,
    *,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    track: Track = silent,
    show: Callable[[Leaders], None] | None = None,
) -> TrainingResult:
    """Go on with a run that was killed or stopped; the bytes of the result are those of one that never was."""
    folder = find_unfinished(workspace, run, PLAN)
    content: dict[str, Any] = read_json(folder / UNFINISHED / PLAN, RunError, f"delete {folder} and train again")
    try:
        plan = Plan.from_dict(content)
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{folder / UNFINISHED / PLAN} is of another version; delete {folder} and train again"
        ) from error
    libraries: dict[Modality, Library] = {}
    for modality, noted in plan.libraries.items():
        if (library := noted_library(workspace, noted)) is None:
            raise RunError(
                f"the {modality} library of run {folder.name} has changed since, or its cache has; train again"
            )
        libraries[modality] = library
    splits = _splits(libraries, plan.label_map, workspace)
    return _execute(folder, plan, libraries, splits, choose_device(device), track, show)


def _splits(libraries: Mapping[Modality, Library], mapping: LabelMap, workspace: Workspace) -> Mapping[str, Split]:
    keys = ContentKeys(workspace.caches / "content.json")
    splits = read_splits(libraries, mapping, ("train", "val"), keys)
    keys.save()
    return splits


def _execute(
    folder: Path,
    plan: Plan,
    libraries: Mapping[Modality, Library],
    splits: Mapping[str, Split],
    device: torch.device,
    track: Track,
    show: Callable[[Leaders], None] | None,
) -> TrainingResult:
    """Train what is left of a plan, and write everything; the heads come last, and make it a run."""
    work = folder / UNFINISHED
    with Watcher(folder, show, plan.tensorboard) as watch:
        plan, sweep = train_rounds(splits, plan, work, device=device, track=track, watch=watch)
    if not any(math.isfinite(line.val_loss) for line in sweep.lines):
        shutil.rmtree(folder)
        raise ConfigError("no validation loss was ever finite, so there is nothing to keep; lower the learning rate")
    report = choose(sweep.lines, EMO_CLIM, plan.rule)
    kept = range(len(sweep.lines)) if plan.keep is None else report.best(plan.keep)
    left_out = {
        modality: plan.label_map.left_out(modality, (item.label for item in library.manifest.items))
        for modality, library in libraries.items()
    }
    result = TrainingResult(folder, libraries, plan, left_out, report, kept, sweep.interrupted)
    write_run(folder, result.settings(), report, sweep, kept)
    if not sweep.interrupted:
        shutil.rmtree(work)
    return result


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None
