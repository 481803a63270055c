"""Test the rows of a table against each other, query by query. Used by the runner."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from emoclim.config import CompareConfig
from emoclim.errors import EmoclimError
from emoclim.metrics import holm
from emoclim.pipeline.evaluation.compare import compare_runs
from emoclim.pipeline.reproduction.result import Reproduction
from emoclim.pipeline.reproduction.rows import RowTest
from emoclim.pipeline.workspace import Workspace


def compare_rows(plan: Reproduction, workspace: Workspace) -> list[RowTest]:
    """Test each row against its base, or the first, as `emoclim compare --over-seeds` does; warn where that fails."""
    found: list[RowTest] = []
    made = list(plan.results)
    for name in made:
        base = plan.rows[name].row.base
        against = base if base in made else made[0]
        if name == against:
            continue
        if plan.reports[name] == plan.reports[against]:
            plan.warnings.append(f"{name} and {against} are the same run, so nothing is tested")
            continue
        try:
            found += _tests(plan, name, against, workspace)
        except EmoclimError as error:
            plan.warnings.append(f"{name} and {against} cannot be tested: {error}")
    corrected = holm(torch.tensor([one.p for one in found], dtype=torch.float64)).tolist()
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _tests(plan: Reproduction, name: str, against: str, workspace: Workspace) -> Iterator[RowTest]:
    """Test one row against another by every number of the table that is of queries, by each label map of both."""
    headings = {key: head for (_, key, _), head in zip(plan.table.metrics, plan.table.headings, strict=True)}
    keys = [key for key in headings if not key.endswith((" items", " by chance"))]
    begins = list(plan.request.rankings(plan.rows[name].row))
    for number, begin in enumerate(begins):
        reports = [place for of in (against, name) for place in plan.reports[of][number :: len(begins)]]
        folders = [str((workspace.root / report).parent) for report in reports]
        metrics = dict.fromkeys(key.removeprefix(begin).split(" ", 1)[1] for key in keys if key.startswith(begin))
        report = compare_runs(folders, CompareConfig(over_seeds=True), metrics=list(metrics), workspace=workspace)
        for line in report.lines:
            heading = headings.get(f"{begin}{line.direction} {line.metric}")
            if heading and line.difference and line.p is not None and line.p_holm is not None:
                yield RowTest(name, against, heading, line.difference, line.p, line.p_holm)
