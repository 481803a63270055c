"""`emoclim reproduce`: manifests -> a table or the figure of the extended paper, beside the paper's own numbers."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from emoclim.data import Manifest, match_labels
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.departures import emotions, mark_of
from emoclim.pipeline.evaluation.files import REPORT_FILE
from emoclim.pipeline.paper_rows import PaperRow, Target
from emoclim.pipeline.reproduction_plan import ReproductionPlan, Request, RowPlan
from emoclim.pipeline.reproduction_planning import plan_reproduction
from emoclim.pipeline.reproduction_result import Reproduction
from emoclim.pipeline.reproduction_steps import Steps
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.reports import (
    DIRECTIONS,
    METRICS,
    TABLE_5,
    ComparedTable,
    JointSpace,
    Number,
    Own,
    class_numbers,
    figure_2,
    macro_numbers,
    table_1,
    table_2,
    table_3,
    table_4,
    table_5,
    tagging_numbers,
)

log = logging.getLogger(__name__)

Names = Sequence[str]


@dataclass(slots=True)
class Made:
    """What was made of the rows so far: lines of the table by their title, panels, and where all numbers are."""

    lines: dict[str, Own] = field(default_factory=dict)
    spaces: list[JointSpace] = field(default_factory=list)
    reports: dict[PaperRow, str] = field(default_factory=dict)


def reproduce(
    request: Request,
    *,
    download: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    track: Track = silent,
    tell: Callable[[str], object] = log.info,
) -> Reproduction:
    """Extract, train and evaluate what a table or figure shows, as far as its encoders can be had."""
    look = partial(plan_reproduction, request, place=True, download=download, workspace=workspace, track=track)
    steps = Steps(look(), workspace, batch_size, workers, device, track)
    if steps.extract():
        steps.plan = look()
    plan = steps.plan
    made = Made()
    possible = [row for row in plan.rows if not row.missing]
    for number, row in enumerate(possible, start=1):
        tell(f"{number} of {len(possible)}: {row.title}, run {row.run}")
        steps.train(row)
        MEASURES[request.target](steps, row, made)
    rows = _with_missing(plan, made.lines)
    table = _mapping(plan) if request.target == "table2" else TABLES[request.target](rows)
    result = Reproduction(plan, table, made.spaces, made.reports, tuple(dict.fromkeys(steps.warnings)), steps.lost())
    result.write()
    return result


def _retrieval(
    steps: Steps, row: RowPlan, made: Made, *, directions: Names = DIRECTIONS, metrics: Names = METRICS
) -> None:
    found = steps.evaluate(row)
    steps.warnings += found.notes() if directions == DIRECTIONS else ()
    made.lines[row.title] = Own(row.mark, macro_numbers(found.report, found.intervals, directions, metrics))
    made.reports[row.row] = _place(found.folder, steps)


def _classes(steps: Steps, row: RowPlan, made: Made) -> None:
    found = steps.evaluate(row)
    steps.warnings += found.notes()
    names = found.label_map.names()
    for name in found.report.classes:
        title = f"{names['image'][name]} ↔ {names['audio'][name]}"
        made.lines[title] = Own(row.mark, class_numbers(found.report, found.intervals, name))
    made.reports[row.row] = _place(found.folder, steps)


def _tagging(steps: Steps, row: RowPlan, made: Made) -> None:
    found = steps.tag(row)
    made.lines[row.title] = Own(row.mark, tagging_numbers(found.report))
    made.reports[row.row] = _place(found.folder, steps)


def _panel(steps: Steps, row: RowPlan, made: Made) -> None:
    space = steps.embed(row)
    sizes = (Number(len(space.labels[modality])) for modality in MODALITIES if modality in space.labels)
    made.lines[row.title] = Own(row.mark, tuple(sizes))
    made.spaces.append(space)


def _place(folder: Path, steps: Steps) -> str:
    return (folder / REPORT_FILE).relative_to(steps.workspace.root).as_posix()


MEASURES: Mapping[Target, Callable[[Steps, RowPlan, Made], None]] = MappingProxyType(
    {
        "table1": _retrieval,
        "table3": partial(_retrieval, directions=("image_audio",), metrics=("P@5", "MRR")),
        "table4": _tagging,
        "table5": _classes,
        "figure2": _panel,
    }
)
TABLES: Mapping[Target, Callable[[Mapping[str, Own]], ComparedTable]] = MappingProxyType(
    {
        "table1": table_1,
        "table3": table_3,
        "table4": table_4,
        "table5": table_5,
        "figure2": figure_2,
    }
)


def _with_missing(plan: ReproductionPlan, lines: Mapping[str, Own]) -> dict[str, Own]:
    """The lines in the order of the plan, with those that could not be made."""
    missing = [row for row in plan.rows if row.missing]
    if plan.request.target == "table5":
        return {**lines, **{title: Own(row.mark) for row in missing for title, *_ in TABLE_5}}
    return {row.title: Own(row.mark) if row.missing else lines[row.title] for row in plan.rows}


def _mapping(plan: ReproductionPlan) -> ComparedTable:
    """Table 2 needs no encoder: it is about labels."""
    modalities: tuple[Modality, ...] = ("image", "audio")
    named = {modality: _labels(plan.manifests[modality]) for modality in modalities}
    counts = {modality: _labels(plan.usable[modality]) for modality in modalities}
    marks = {modality: mark_of(plan.data[modality]) for modality in modalities}
    return table_2(match_labels(named), counts, {modality: emotions(modality) for modality in modalities}, marks)


def _labels(manifest: Manifest) -> Counter[str]:
    return Counter(item.label for item in manifest.items if item.label is not None)
