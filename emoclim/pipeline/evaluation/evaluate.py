"""Evaluate a run on a split (`emoclim evaluate`): numbers as JSON, scores per query, pictures and a page.

The files lie in ``runs/<run>/evaluation/<split>``; other than by default, the name goes on with what differs:
``test-head-17-features``.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch

from emoclim.cache import key_of
from emoclim.config import MEASURES, EvaluateConfig, Measure
from emoclim.data import ContentKeys, Item
from emoclim.encoders import choose_device
from emoclim.errors import ConfigError
from emoclim.files import parquet_bytes, write_bytes
from emoclim.learning import Heads
from emoclim.modality import Modality
from emoclim.pipeline.encoders import contamination
from emoclim.pipeline.evaluation.files import QUERIES_FILE, QueryTable, write_queries, write_report
from emoclim.pipeline.evaluation.numbers import NUMBERS_FILE, NumbersReport
from emoclim.pipeline.evaluation.page import Examples, write_page
from emoclim.pipeline.evaluation.ranked import Ranked
from emoclim.pipeline.evaluation.result import Evaluation
from emoclim.pipeline.library import Library, library_note
from emoclim.pipeline.machine import limit_threads
from emoclim.pipeline.splits import WHOLE
from emoclim.pipeline.training.trained_runs import Run, open_run, trained_library
from emoclim.pipeline.workspace import Workspace
from emoclim.reports import JointSpace, RetrievalReport, directions, plot_confusion, plot_joint_spaces, plot_per_class
from emoclim.stages import FoldHeads, evaluate

log = logging.getLogger(__name__)

HITS = (1, 2)  # each k of a hit at k, whatever other k there are, where partners are relevant
HITS_MEASURES: tuple[Measure, ...] = ("MRR",)  # of one partner, others would tell no more
MAP_ITEMS = 1000  # per modality, in the picture of the joint space: more cannot be told apart


def evaluate_run(
    run: str | None = None,
    config: EvaluateConfig = EvaluateConfig(),
    *,
    memory: int = 1 << 30,
    plots: bool = True,
    workspace: Workspace = Workspace(),
    device: str = "auto",
    seed: int = 42,
) -> Evaluation:
    """Evaluate a head of a run on a split of the manifests that it was trained on; `seed` is that of the pictures."""
    opened = open_run(workspace, run)
    libraries = {modality: trained_library(workspace, opened, modality) for modality in opened.heads.specs}
    found = measure_run(opened, libraries, config, memory=memory, plots=plots, workspace=workspace, device=device)
    write_evaluation(*found, opened.folder, seed)
    return found[0]


def measure_run(
    opened: Run,
    libraries: Mapping[Modality, Library],
    config: EvaluateConfig,
    *,
    memory: int = 1 << 30,
    plots: bool,
    workspace: Workspace,
    device: str,
) -> tuple[Evaluation, Examples]:
    """Evaluate a head of a run on a split of some libraries; nothing is written."""
    keys = workspace.content_keys()
    ranked = Ranked.of(config, libraries, opened, keys)
    heads = opened.head(config.head)
    numbers = NumbersReport.of(config, libraries, heads, opened.label_map, keys)
    if not ranked.split.features and not numbers.predicted:
        raise ConfigError(
            f"split {config.split} has neither labels that occur in both modalities nor numbers that heads "
            "predict; give a label map, or choose another split"
        )
    number = opened.chosen if config.head is None else config.head
    cautions = [opened.caution(number), *_warnings(ranked, config.split, opened, libraries)]
    warnings = tuple(filter(None, cautions))
    for warning in warnings:
        log.warning(warning)
    settings = {
        "head": number,
        "average": config.average,
        "min_seconds": config.min_seconds,
        "label_map": ranked.noted_map,
        "within": config.within,
        "label_vectors": opened.substitute,
        "items": {
            name: _fingerprint(features.ids, libraries[name], ranked.items[name], keys)
            for name, features in ranked.split.features.items()
        },
    }
    if ranked.by_partner:
        settings["relevant"] = "partner"
    if isinstance(heads, FoldHeads):
        settings["folds"] = len(heads.folds)
    evaluation = Evaluation(
        run=opened.folder.name,
        split=config.split,
        settings=settings,
        report=_measure(ranked, heads, config, memory, choose_device(device)),
        folder=opened.folder / "evaluation" / config.folder_name,
        label_map=ranked.label_map,
        libraries={modality: library_note(library) for modality, library in libraries.items()},
        warnings=warnings,
        n_too_short=ranked.n_too_short,
        plots_written=plots,
        numbers=numbers,
    )
    keys.save()
    return evaluation, Examples(ranked, heads, config.average)


def _measure(
    ranked: Ranked, heads: Heads, config: EvaluateConfig, memory: int, device: torch.device
) -> RetrievalReport:
    hits = sorted({*HITS, *config.ks}) if ranked.by_partner else ()
    measures = HITS_MEASURES if ranked.by_partner and config.measures == MEASURES else config.measures
    across = [pair for pair in directions(ranked.split.features) if pair[0] != pair[1]]
    report = evaluate(
        ranked.split,
        heads,
        pairs=across if ranked.by_partner else None,
        ks=() if ranked.by_partner else config.ks,
        hits=hits,
        measures=measures,
        relevance=ranked.relevance,
        groups=ranked.groups,
        exclude_groups=ranked.exclude_groups,
        average=config.average,
        memory=memory,
        device=device,
    )
    with limit_threads(1):
        if ranked.by_partner:
            return report.of_partners().with_intervals(ranked.groups if config.within else ranked.exclude_groups)
        return report.with_intervals()


def write_evaluation(evaluation: Evaluation, examples: Examples, run: Path, seed: int) -> None:
    """Write all files of an evaluation."""
    write_report(evaluation.folder, evaluation.to_dict())
    report = evaluation.report
    if evaluation.numbers.predicted:
        write_bytes(evaluation.folder / NUMBERS_FILE, parquet_bytes(evaluation.numbers.columns))
    if report.directions:
        scores = {name: direction.scores for name, direction in report.directions.items()}
        table = QueryTable(evaluation.run, evaluation.split, evaluation.settings, scores)
        write_queries(evaluation.folder / QUERIES_FILE, table)
    if evaluation.plots_written and report.directions and not evaluation.by_partner:
        plot_per_class(report, evaluation.folder / "per_class.png", evaluation.shown_metric)
        plot_confusion(report, evaluation.folder / "confusion.png")
        if not isinstance(examples.heads, FoldHeads):  # whose spaces have nothing in common
            _plot_joint_space(examples, evaluation.folder / "joint_space.png", seed)
    if evaluation.plots_written:
        write_page(evaluation, examples, run)


def _warnings(ranked: Ranked, name: str, run: Run, libraries: Mapping[Modality, Library]) -> Iterator[str]:
    """Say which items the heads or the encoders may know already, and which items and classes are not there."""
    if ranked.n_without_group:
        yield f"{ranked.n_without_group} items of split {name} have no group and are left out"
    if name == WHOLE and run.heads.objective.needs and not isinstance(run.heads, FoldHeads):
        yield f"split {WHOLE} has items that run {run.folder.name} was trained on"
    for modality, library in libraries.items():
        manifest = library.manifest
        if manifest.digest() != run.libraries[modality]["digest"]:
            yield (
                f"{manifest.source} changed since run {run.folder.name} was trained: "
                "items of this split may have been trained on"
            )
        if known := contamination(library.note.spec, manifest):
            yield known
        if modality not in ranked.whole.features:
            continue
        labels = (item.label for item in ranked.items[modality].values())
        wanted = sum(ranked.label_map.class_of(modality, label) is not None for label in labels)
        if missing := wanted - len(ranked.whole.features[modality]):
            yield f"{missing} of {wanted} {modality} items of split {name} have no features and are left out"
        there = {ranked.whole.classes[label] for label in ranked.whole.labels[modality].tolist()}
        classes = dict.fromkeys(filter(None, ranked.label_map.maps[modality].values()))
        if empty := [label for label in classes if label not in there]:
            yield f"split {name} has no {modality} of class {', '.join(empty)}"


def _fingerprint(ids: Iterable[str], library: Library, items: Mapping[str, Item], keys: ContentKeys) -> str:
    """Return 12 hex digits of some items of a library, by id and content."""
    known = sorted((id_, key_of(items[id_], library.note.spec, keys)) for id_ in ids)
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]


def _plot_joint_space(examples: Examples, path: Path, seed: int) -> None:
    split = examples.ranked.split
    generator = torch.Generator().manual_seed(seed)
    embeddings, labels = {}, {}
    for modality, features in split.features.items():
        rows = torch.randperm(len(features), generator=generator)[:MAP_ITEMS].sort().values
        embeddings[modality] = examples.heads.vectors(features.select(rows), average=examples.average)[0][0]
        labels[modality] = split.labels[modality][rows]
    plot_joint_spaces([JointSpace(embeddings, labels, split.classes)], path, seed=seed)
