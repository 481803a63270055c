"""Evaluate a run on a split (`emoclim evaluate`): numbers as JSON, scores per query, pictures and a page.

The files lie in ``runs/<run>/evaluation/<split>``; other than by default, the name goes on with what differs:
``test-head-17-features``.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from emoclim.cache import key_of
from emoclim.config import Average, EvaluateConfig
from emoclim.data import ContentKeys, Item, Split, contents_of, join_groups
from emoclim.encoders import choose_device
from emoclim.errors import ConfigError
from emoclim.learning import Heads
from emoclim.modality import Modality
from emoclim.pipeline.encoders import contamination
from emoclim.pipeline.evaluation.files import QUERIES_FILE, QueryTable, write_queries, write_report
from emoclim.pipeline.evaluation.page import Examples, write_page
from emoclim.pipeline.evaluation.result import Evaluation
from emoclim.pipeline.library import Library, labelled_items, library_note, read_splits
from emoclim.pipeline.machine import few_threads
from emoclim.pipeline.training.trained_runs import Run, open_run, trained_library
from emoclim.pipeline.workspace import Workspace
from emoclim.reports import JointSpace, plot_confusion, plot_joint_spaces, plot_per_class
from emoclim.stages import evaluate

log = logging.getLogger(__name__)

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
    opened, where = open_run(workspace, run), choose_device(device)
    libraries = {modality: trained_library(workspace, opened, modality) for modality in opened.sources}
    keys = workspace.content_keys()
    whole = read_splits(libraries, opened.label_map, (config.split,), keys, every_class=False)[config.split]
    part = whole.lasting(config.min_seconds) if config.min_seconds else whole
    if empty := [modality for modality, features in part.features.items() if not len(features)]:
        raise ConfigError(
            f"split {config.split} has no {empty[0]} of {config.min_seconds:g} s or more; lower --min-seconds"
        )
    items = {name: {item.id: item for item in one.manifest.items} for name, one in libraries.items()}
    number = opened.chosen if config.head is None else config.head
    warnings = tuple(filter(None, [opened.caution(number), *_warnings(whole, config.split, opened, libraries)]))
    for warning in warnings:
        log.warning(warning)
    heads = opened.head(config.head)
    report = evaluate(
        part,
        heads,
        ks=config.ks,
        measures=config.measures,
        exclude_groups=_groups(part, items, keys),
        average=config.average,
        memory=memory,
        device=where,
    )
    with few_threads(1):
        report = report.with_intervals()
    evaluation = Evaluation(
        run=opened.folder.name,
        split=config.split,
        settings={
            "head": number,
            "average": config.average,
            "min_seconds": config.min_seconds,
            "items": {name: _fingerprint(part, library, items[name], keys) for name, library in libraries.items()},
        },
        report=report,
        folder=opened.folder / "evaluation" / config.folder_name,
        label_map=opened.label_map,
        libraries={modality: library_note(library) for modality, library in libraries.items()},
        warnings=warnings,
        n_too_short=sum(map(len, whole.features.values())) - sum(map(len, part.features.values())),
        plots_written=plots,
    )
    keys.save()
    write_report(evaluation.folder, evaluation.to_dict())
    scores = {name: direction.scores for name, direction in report.directions.items()}
    table = QueryTable(evaluation.run, evaluation.split, evaluation.settings, scores)
    write_queries(evaluation.folder / QUERIES_FILE, table)
    if plots:
        plot_per_class(report, evaluation.folder / "per_class.png", evaluation.shown_metric)
        plot_confusion(report, evaluation.folder / "confusion.png")
        _plot_joint_space(part, heads, config.average, evaluation.folder / "joint_space.png", seed)
        write_page(evaluation, Examples(part, heads, config.average, opened.label_map, items), opened.folder)
    return evaluation


def _groups(
    split: Split, known: Mapping[Modality, Mapping[str, Item]], keys: ContentKeys
) -> dict[Modality, torch.Tensor] | None:
    """Number the items by modality, those of one group or of equal content alike; None if each is alone."""
    numbers, grouped = {}, False
    for modality, features in split.features.items():
        items = [known[modality][id_] for id_ in features.ids]
        groups = [item.group for item in join_groups(items, contents_of(items, keys))]
        places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        numbers[modality] = torch.tensor([places[group] for group in groups], dtype=torch.int64)
        grouped |= any(item.group for item in items) or len(places) < len(items)
    return numbers if grouped else None


def _warnings(split: Split, name: str, run: Run, libraries: Mapping[Modality, Library]) -> Iterator[str]:
    """Say which items the heads or the encoders may know already, and which items and classes are not there."""
    for modality, library in libraries.items():
        manifest = library.manifest
        if manifest.digest() != run.digests[modality]:
            yield (
                f"{manifest.source} changed since run {run.folder.name} was trained: "
                "items of this split may have been trained on"
            )
        if known := contamination(library.note.spec, manifest):
            yield known
        wanted = len(labelled_items(manifest, run.label_map, name))
        if missing := wanted - len(split.features[modality]):
            yield f"{missing} of {wanted} {modality} items of split {name} have no features and are left out"
        counts = split.labels[modality].bincount(minlength=len(split.classes)).tolist()
        if empty := [label for label, count in zip(split.classes, counts, strict=True) if not count]:
            yield f"split {name} has no {modality} of class {', '.join(empty)}"


def _fingerprint(split: Split, library: Library, items: Mapping[str, Item], keys: ContentKeys) -> str:
    """Return 12 hex digits of the items of a library that are in a split, by id and content."""
    ids = split.features[library.manifest.modality].ids
    known = sorted((id_, key_of(items[id_], library.note.spec, keys)) for id_ in ids)
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]


def _plot_joint_space(split: Split, heads: Heads, average: Average, path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings, labels = {}, {}
    for modality, features in split.features.items():
        rows = torch.randperm(len(features), generator=generator)[:MAP_ITEMS].sort().values
        embeddings[modality] = heads.vectors(features.select(rows), average=average)[0][0]
        labels[modality] = split.labels[modality][rows]
    plot_joint_spaces([JointSpace(embeddings, labels, split.classes)], path, seed=seed)
