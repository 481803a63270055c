"""`emoclim evaluate`: a run and a split -> a report, as JSON, as a table of queries, as pictures and as a page.

The files lie in ``runs/<run>/evaluation/<split>``; other than by default, the name goes on with what differs:
``test-head-17-features``.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from emoclim.cache import manifest_digest
from emoclim.data import ContentKeys, Split, contents_of, join_groups
from emoclim.errors import ConfigError
from emoclim.learning import Average, Heads
from emoclim.metrics import Measure
from emoclim.modality import Modality
from emoclim.pipeline.contamination import contamination
from emoclim.pipeline.evaluation_files import QUERIES_FILE, QueryTable, write_queries, write_report
from emoclim.pipeline.evaluation_page import Examples, write_page
from emoclim.pipeline.evaluation_result import Evaluation
from emoclim.pipeline.library import Library, key_of, library_note, read_splits
from emoclim.pipeline.runs import Run, open_run, trained_library
from emoclim.pipeline.workspace import Workspace, choose_device, few_threads
from emoclim.reports import intervals, plot_confusion, plot_joint_space, plot_per_class
from emoclim.stages import evaluate

log = logging.getLogger(__name__)

MAP_ITEMS = 1000  # per modality, in the picture of the joint space: more cannot be told apart
KS = (1, 5, 10)
MEASURES: tuple[Measure, ...] = ("MRR", "mAP", "R-precision")


def evaluate_run(
    run: str | None = None,
    *,
    split: str = "test",
    head: int | None = None,
    ks: Sequence[int] = KS,
    measures: Sequence[Measure] = MEASURES,
    average: Average = "embeddings",
    min_seconds: float = 0.0,
    memory: int = 1 << 30,
    plots: bool = True,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    seed: int = 42,
) -> Evaluation:
    """Evaluate the chosen heads of a run on a split of the manifests they were trained on."""
    opened = open_run(workspace, run)
    libraries = {modality: trained_library(workspace, opened, modality) for modality in opened.sources}
    warnings = _warnings(opened, libraries)
    for warning in warnings:
        log.warning(warning)
    keys = ContentKeys(workspace.caches / "content.json")
    whole = read_splits(libraries, opened.label_map, (split,), keys, every_class=False)[split]
    part = whole.lasting(min_seconds) if min_seconds else whole
    if empty := [modality for modality, features in part.features.items() if not len(features)]:
        raise ConfigError(f"split {split} has no {empty[0]} of {min_seconds:g} s or more; lower --min-seconds")
    warnings += _missing(whole, split, opened, libraries)
    heads, where = opened.head(head), choose_device(device)
    report = evaluate(
        part,
        heads,
        ks=ks,
        measures=measures,
        kin=_kin(part, libraries, keys),
        average=average,
        memory=memory,
        device=where,
    )
    number = opened.chosen if head is None else head
    settings = {
        "head": number,
        "average": average,
        "min_seconds": min_seconds,
        "items": {
            modality: _fingerprint(part.features[modality].ids, libraries[modality], keys) for modality in libraries
        },
    }
    keys.save()
    scores = {name: direction.scores(report.classes) for name, direction in report.directions.items()}
    with few_threads(1):
        ends = {name: intervals(name, found) for name, found in scores.items()}
    noted = {modality: library_note(library) for modality, library in libraries.items()}
    folder = opened.folder / "evaluation" / _folder_name(split, head, average, min_seconds, ks, measures)
    n_short = sum(len(whole.features[modality]) - len(part.features[modality]) for modality in part.features)
    evaluation = Evaluation(
        opened.folder.name, split, settings, report, ends, folder, ks, opened.label_map, noted, warnings, n_short, plots
    )
    write_report(folder, evaluation.to_dict())
    write_queries(folder / QUERIES_FILE, QueryTable(opened.folder.name, split, settings, scores))
    if plots:
        plot_per_class(report, folder / "per_class.png", evaluation.shown_metric, ends)
        plot_confusion(report, folder / "confusion.png")
        _plot_map(part, heads, average, folder / "joint_space.png", seed)
        write_page(evaluation, Examples(part, heads, libraries, average=average), opened.folder)
    return evaluation


def _kin(split: Split, libraries: Mapping[Modality, Library], keys: ContentKeys) -> dict[Modality, torch.Tensor] | None:
    """By modality, a number for each item, the same for one group and equal content; None if each is alone."""
    owners, grouped = {}, False
    for modality, features in split.features.items():
        known = {item.id: item for item in libraries[modality].manifest.items}
        items = [known[id_] for id_ in features.ids]
        owners[modality] = [item.group for item in join_groups(items, contents_of(items, keys))]
        grouped |= any(item.group for item in items) or len(set(owners[modality])) < len(items)
    if not grouped:
        return None
    numbers = {modality: {owner: n for n, owner in enumerate(dict.fromkeys(own))} for modality, own in owners.items()}
    return {
        modality: torch.tensor([numbers[modality][owner] for owner in own], dtype=torch.int64)
        for modality, own in owners.items()
    }


def _missing(split: Split, name: str, run: Run, libraries: Mapping[Modality, Library]) -> tuple[str, ...]:
    """What of a split is not there to be ranked."""
    told = []
    for modality, library in libraries.items():
        labels = [item.label for item in library.manifest.items if item.split == name]
        wanted = sum(run.label_map.class_of(modality, label) is not None for label in labels)
        if missing := wanted - len(split.features[modality]):
            told.append(f"{missing} of {wanted} {modality} items of split {name} have no features and are left out")
        counts = split.labels[modality].bincount(minlength=len(split.classes)).tolist()
        if empty := [label for label, count in zip(split.classes, counts, strict=True) if not count]:
            told.append(f"split {name} has no {modality} of class {', '.join(empty)}")
    for warning in told:
        log.warning(warning)
    return tuple(told)


def _fingerprint(ids: Sequence[str], library: Library, keys: ContentKeys) -> str:
    """Digest of which items these are, by id and content: 12 hex."""
    items = {item.id: item for item in library.manifest.items}
    known = sorted((id_, key_of(items[id_], library.note.spec, keys)) for id_ in ids)
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]


def _folder_name(
    split: str,
    head: int | None,
    average: Average,
    min_seconds: float,
    ks: Sequence[int],
    measures: Sequence[Measure],
) -> str:
    """The split, and whatever is not by default."""
    differing = {
        f"head-{head}": head is not None,
        average: average != "embeddings",
        f"{min_seconds:g}s": min_seconds > 0,
        f"k-{'-'.join(map(str, ks))}": tuple(ks) != KS,
        "-".join(measures): tuple(measures) != MEASURES,
    }
    return "-".join([split, *(name for name, differs in differing.items() if differs)])


def _warnings(run: Run, libraries: Mapping[Modality, Library]) -> tuple[str, ...]:
    """What a reader of the numbers should know about the data behind them."""
    found = []
    for modality, library in libraries.items():
        if manifest_digest(library.manifest) != run.digests[modality]:
            found.append(
                f"{library.manifest.source} changed since run {run.folder.name} was trained: "
                "items of this split may have been trained on"
            )
        if told := contamination(library.note.spec, library.manifest):
            found.append(told)
    return tuple(found)


def _plot_map(split: Split, heads: Heads, average: Average, path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings, labels = {}, {}
    for modality, features in split.features.items():
        rows = torch.randperm(len(features), generator=generator)[:MAP_ITEMS].sort().values
        embeddings[modality] = heads.embed(features.select(rows), average=average)[0]
        labels[modality] = split.labels[modality][rows]
    plot_joint_space(embeddings, labels, split.classes, path, seed=seed)
