"""`emoclim evaluate`: a run and a split -> a report, as JSON and as pictures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Modality
from emoclim.features import Split
from emoclim.heads import Average, Heads
from emoclim.pipeline.contamination import contamination
from emoclim.pipeline.libraries import Library, library_note, manifest_digest, read_splits
from emoclim.pipeline.runs import Run, open_run, trained_library
from emoclim.pipeline.workspace import Workspace, choose_device, write_json
from emoclim.reports.plots import plot_joint_space, plot_per_class
from emoclim.reports.retrieval import RetrievalReport
from emoclim.stages.evaluate import evaluate

log = logging.getLogger(__name__)

MAP_ITEMS = 1000  # per modality, in the picture of the joint space: more cannot be told apart


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one `emoclim evaluate` found.

    Attributes
    ----------
    run
        Name of the run.
    split
        Which split was ranked.
    head
        Index of the pair of heads, the one chosen on validation.
    report
        All numbers.
    folder
        Where they lie, with the pictures.
    ks
        The k of P@k.
    libraries
        What was ranked, by modality, as plain values.
    warnings
        Why the numbers may mislead.
    """

    run: str
    split: str
    head: int
    report: RetrievalReport
    folder: Path
    ks: Sequence[int]
    libraries: dict[Modality, dict[str, Any]]
    warnings: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the table of the report is about."""
        return f"Run {self.run}, split {self.split}, macro means over emotions in percent"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run": self.run,
            "split": self.split,
            "head": self.head,
            "libraries": self.libraries,
            "warnings": list(self.warnings),
            **self.report.to_dict(),
        }


def evaluate_run(
    run: str | None = None,
    *,
    split: str = "test",
    head: int | None = None,
    ks: Sequence[int] = (1, 5),
    average: Average = "embeddings",
    plots: bool = True,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    seed: int = 42,
) -> Evaluation:
    """Evaluate the chosen heads of a run on a split of the manifests they were trained on.

    Parameters
    ----------
    run
        Name or path; None takes the newest.
    split
        ``train``, ``val`` or ``test``.
    head
        Number of a candidate of the run; None takes the one chosen on validation.
    ks
        The k of P@k.
    average
        How an item's segments are brought to one embedding; the papers average embeddings.
    plots
        Draw the pictures too.
    workspace
        Where caches and runs lie.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    seed
        Of the picture of the joint space.

    Raises
    ------
    EmoclimError
        The run, its caches or the split cannot be used.
    """
    opened = open_run(workspace, run)
    libraries = {modality: trained_library(workspace, opened, modality) for modality in opened.sources}
    warnings = _warnings(opened, libraries)
    for warning in warnings:
        log.warning(warning)
    keys = ContentKeys(workspace.caches / "content.json")
    part = read_splits(libraries, opened.label_map, (split,), keys)[split]
    keys.save()
    heads, where = opened.head(head), choose_device(device)
    report = evaluate(part, heads, ks=ks, average=average, device=where)
    folder = opened.folder / "evaluation" / split
    noted = {modality: library_note(library) for modality, library in libraries.items()}
    number = opened.chosen if head is None else head
    evaluation = Evaluation(opened.folder.name, split, number, report, folder, ks, noted, warnings)
    write_json(folder / "report.json", evaluation.to_dict())
    if plots:
        plot_per_class(report, folder / "per_class.png", f"P@{max(ks)}")
        _plot_map(part, heads, average, folder / "joint_space.png", seed)
    return evaluation


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
