"""Make a table or figure of a paper anew (`emoclim reproduce`): extract, train and measure what its rows take.

Each step is that of another command and leaves what that leaves; what is there already is not done again. The files lie
in ``reports/<table>``; with chosen rows or another preset, the name goes on with them. ``report.json``: all that was
found; ``table.md`` and ``table.tex``: the paper's table with own lines in it; ``figure.png``.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from emoclim.config import ExtractConfig
from emoclim.data import Manifest
from emoclim.errors import RunError
from emoclim.files import read_json
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.crossing.config import CrossConfig
from emoclim.pipeline.crossing.cross_validate import REASONS_FILE, CrossValidate
from emoclim.pipeline.evaluation.evaluate import evaluate_run
from emoclim.pipeline.evaluation.files import REPORT_FILE
from emoclim.pipeline.evaluation.page import shown_reasons
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.extraction_result import ExtractionResult
from emoclim.pipeline.reproduction.compare_rows import compare_rows
from emoclim.pipeline.reproduction.plan import SPLIT_SEED, UMAP, plan_reproduction
from emoclim.pipeline.reproduction.request import TAGGING, EncoderChoice, Request
from emoclim.pipeline.reproduction.result import Reproduction
from emoclim.pipeline.reproduction.rows import RowPlan, Training, over_seeds, pooled_results
from emoclim.pipeline.reproduction.trainings import state_of
from emoclim.pipeline.reproduction.words import OF_WORDS
from emoclim.pipeline.run import Resources, Step, resume, start
from emoclim.pipeline.splits import read_splits
from emoclim.pipeline.tagging.config import TaggingConfig
from emoclim.pipeline.tagging.tag import Tag
from emoclim.pipeline.training.end_to_end.pretrain import Pretrain
from emoclim.pipeline.training.end_to_end.train_end_to_end import TrainEndToEnd
from emoclim.pipeline.training.train_heads import TrainHeads
from emoclim.pipeline.training.trained_runs import ENCODER_FILE, open_run, trained_library
from emoclim.reports import ALL, Estimate, JointSpace, Results, tagging_results

log = logging.getLogger(__name__)


def reproduce_table(
    request: Request,
    resources: Resources,
    *,
    download: bool = False,
    batch_size: int | None = None,
    tell: Callable[[str], object] = log.info,
) -> Reproduction:
    """Extract, train and measure what a table shows, as far as its encoders can be had."""
    workspace, track = resources.workspace, resources.track
    look = partial(plan_reproduction, request, keep=True, download=download, workspace=workspace, track=track)
    runner = Runner(look(), resources, batch_size)
    if runner.extract():
        runner.plan = look()  # what failed to encode is no data
    plan = runner.plan
    possible = [row for row in plan.rows.values() if not row.missing]
    for number, row in enumerate(possible, start=1):
        tell(f"{number} of {len(possible)}: {row.row.title}, run {', '.join(row.runs)}")
        for training in row.trainings:
            runner.train(row, training)
        done = [replace(training, state="done") for training in row.trainings]
        plan.rows[row.row.name] = replace(row, trainings=done)
        measure = MEASURES[request.table.measure]
        plan.results[row.row.name] = over_seeds([measure(runner, row, *head) for head in row.heads()])
    if words := OF_WORDS.get(request.table.measure):
        plan.words.update(words(request))
    plan.warnings.extend(runner.warnings)
    if request.table.measure == "retrieval":
        plan.tests.extend(compare_rows(plan, workspace))
    plan.write()
    return plan


@dataclass(slots=True)
class Runner:
    """Extracts, trains and measures for the rows of a plan."""

    plan: Reproduction
    resources: Resources
    batch_size: int | None
    warnings: list[str] = field(default_factory=list)  # why numbers may mislead
    encoded: dict[Any, ExtractionResult] = field(default_factory=dict)  # in this process

    def extract(self) -> bool:
        """Encode all that takes no training; return whether any item failed, on which the plan depends."""
        for row in self.plan.rows.values():
            if not row.missing:
                self._encode_untrained(row)
        return any(result.extraction.failures for result in self.encoded.values())

    def train(self, row: RowPlan, training: Training) -> None:
        """Bring a training of a row, and the features of all that it was trained on, to their end."""
        self._encode_untrained(row)
        self._bring_to_end(row.row.step, training)
        if row.row.trained is not None:
            self.encode(row, row.row.trained, self._trained_file(training.run))

    def _bring_to_end(self, name: str, training: Training) -> None:
        for one in training.starts:
            self._bring_to_end(name, one)
        step, state = STEPS[name], state_of(self.resources.workspace, training.run)
        if state == "unfinished":
            stopped = resume(step, training.run, self.resources).interrupted
        else:
            stopped = state == "to do" and start(step, training.config, self.resources, name=training.run).interrupted
        if stopped:
            raise KeyboardInterrupt  # it ends with what it has, and the rows after it are not wanted

    def _encode_untrained(self, row: RowPlan) -> None:
        for modality in row.encoders:
            if modality != row.row.trained:
                self.encode(row, modality)

    def encode(self, row: RowPlan, modality: Modality, trained: Path | None = None) -> None:
        """Encode what is not cached yet of the data of a modality, and of those with tags, which train no heads."""
        choice, manifests = row.encoders[modality], row.manifests
        if trained is not None:
            choice = replace(choice, checkpoint=trained)
        for name in row.row.extra:
            if manifests[name].modality == modality:
                self._encode(manifests[name], choice)
        tagged = manifests.get(TAGGING)
        if tagged and tagged.modality == modality and tagged.source.resolve() != manifests[modality].source.resolve():
            self._encode(tagged, choice, unlabelled=True)
        self._encode(manifests[modality], choice)

    def _encode(self, manifest: Manifest, choice: EncoderChoice, *, unlabelled: bool = False) -> None:
        unlabelled = unlabelled or not any(item.annotated or item.tags for item in manifest.items)
        key, resources = (manifest.source, *choice.key), self.resources
        if key in self.encoded or choice.imported:
            return
        config = ExtractConfig(
            encoder=choice.name,
            checkpoint=choice.checkpoint,
            settings=choice.settings,
            unlabelled=unlabelled,
            batch_size=self.batch_size,
            workers=resources.workers,
            seed=SPLIT_SEED,
        )
        workspace, device, track = resources.workspace, resources.device, resources.track
        given = manifest.modality, manifest.source, config
        result = self.encoded[key] = extract_features(*given, workspace=workspace, device=device, track=track)
        self.warnings += result.warnings
        if failed := len(result.extraction.failures):
            told = f"{failed} of {result.n_items} items of {manifest.source.name} failed to encode"
            self.warnings.append(f"{told} with {choice.name}")

    def _trained_file(self, run: str) -> Path:
        path = self.resources.workspace.runs / run / ENCODER_FILE
        if not path.is_file():
            raise RunError(f"run {run} has lost its {ENCODER_FILE}; delete {path.parent} and run again")
        return path

    def evaluate(self, row: RowPlan, training: Training, head: int | None) -> Results:
        """Rank the test split by each label map of the row: the means over all classes, or those of each."""
        workspace, device = self.resources.workspace, self.resources.device
        results = defaultdict[str, dict[str, Estimate]](dict)
        of_classes = self.plan.request.table.measure == "classes"
        for begin, config in self.plan.request.rankings(row.row).items():
            asked = config.updated(min_seconds=row.min_seconds, head=head)
            found = evaluate_run(training.run, asked, plots=False, workspace=workspace, device=device)
            self._note(row, found.folder, [*found.warnings, *found.notes()])
            for title, numbers in found.results().items():
                if (title != ALL) == of_classes:
                    results[title] |= {f"{begin}{key}": number for key, number in numbers.items()}
        return results

    def cross_validated(self, row: RowPlan, training: Training, _: int | None) -> Results:
        """Read what the run found of all folds together."""
        return {ALL: pooled_results(self._read_folds(row, training, REPORT_FILE) or {})}

    def explain(self, row: RowPlan, training: Training, _: int | None) -> Results:
        """Count what is found of one piece, and show what its scores are made of."""
        query, candidate = self.plan.request.recipe.modalities
        if (told := self._read_folds(row, training, REASONS_FILE)) is None:
            self.warnings.append(f"{row.row.title}: the features compared have no names, so that nothing says why")
            return {ALL: {}}
        asking, asked = (
            {item.id: item for item in row.manifests[modality].items if item.group == row.row.options["piece"]}
            for modality in (query, candidate)
        )
        examples = [
            shown_reasons(query, asking[one["query"]], candidate, asked, one["hits"])
            for one in told[f"{query}_{candidate}"]
            if one["query"] in asking
        ]
        self.plan.examples.append((row.row.title, examples))
        found = sum(bool(best.relevant) for _, best, *_ in examples)
        return {ALL: {"performances": Estimate(len(examples)), "found": Estimate(found)}}

    def _read_folds(self, row: RowPlan, training: Training, file: str) -> Any:
        """Read what a file of the evaluation of all folds says of each direction; None if there is no such file."""
        assert isinstance(training.config, CrossConfig)
        run = self.resources.workspace.runs / training.run
        folder = run / "evaluation" / training.config.measured(ranked=True).folder_name
        self._note(row, folder, [])
        path = folder / file
        return read_json(path, RunError, f"delete {run} and run again")["directions"] if path.is_file() else None

    def tag(self, row: RowPlan, training: Training, head: int | None) -> Results:
        """Find the tags of what the heads were not trained on."""
        source, settings = self.plan.manifests[TAGGING].source, self.plan.request.settings.tagging
        run = training.run
        asked = TaggingConfig(run=run, head=head, manifest=source, plots=False, **settings, **row.row.options)
        found = start(Tag(), asked, self.resources)
        self._note(row, found.folder, found.inputs.warnings)
        return tagging_results(found.report)

    def embed(self, row: RowPlan, training: Training, head: int | None) -> Results:
        """Embed the test split for a panel of the figure, and count the items that it shows."""
        workspace = self.resources.workspace
        run = open_run(workspace, training.run)
        libraries = {modality: trained_library(workspace, run, modality) for modality in run.libraries}
        keys = workspace.content_keys()
        split = read_splits(libraries, run.label_map, ("test",), keys, every_class=False)["test"]
        keys.save()
        if row.min_seconds:
            split = split.lasting(row.min_seconds)
        heads, tags, fitted = run.head(head), None, None
        embeddings = {modality: heads.vectors(features)[0][0] for modality, features in split.features.items()}
        if row.row.options.get("projection") == UMAP:
            fitted = self.plan.request.recipe.modalities[-1]
            places = heads.label_vectors(torch.tensor(run.label_vectors)) if run.label_vectors else None
            tags = None if places is None else places[0]
        sizes = {modality: len(found) for modality, found in embeddings.items()}
        note = ", ".join(f"{size:,} {MODALITIES[modality].name} items" for modality, size in sizes.items())
        title = next(line.title for line in self.plan.request.table.lines if row.row in line.rows)
        space = JointSpace(embeddings, split.labels, split.classes, title, f"{note}; {row.mark}", tags, fitted)
        self.plan.spaces.append(space)
        return {ALL: {f"{modality} items": Estimate(size) for modality, size in sizes.items()}}

    def _note(self, row: RowPlan, folder: Path, warnings: Iterable[str]) -> None:
        report = (folder / REPORT_FILE).relative_to(self.resources.workspace.root).as_posix()
        self.plan.reports.setdefault(row.row.name, []).append(report)
        self.warnings += warnings


STEPS: Mapping[str, Step[Any, Any, Any]] = {
    one.name: one for one in (TrainHeads(), TrainEndToEnd(), Pretrain(), CrossValidate())
}
MEASURES: Mapping[str, Callable[[Runner, RowPlan, Training, int | None], Results]] = {
    "retrieval": Runner.evaluate,
    "folds": Runner.cross_validated,
    "reasons": Runner.explain,
    "classes": Runner.evaluate,
    "tagging": Runner.tag,
    "joint_space": Runner.embed,
}
