"""Test whether the rows of a table differ, query by query, as `emoclim compare --over-seeds` does."""

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
    """Test each row that was made against its base, or the first; what cannot be is told as a warning."""
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
    """Test one row against another by every number of the table that is of queries."""
    folders = [str((workspace.root / report).parent) for of in (against, name) for report in plan.reports[of]]
    headings = {key: head for (_, key, _), head in zip(plan.table.metrics, plan.table.headings, strict=True)}
    metrics = dict.fromkeys(key.split(" ", 1)[1] for key in headings if not key.endswith((" items", " by chance")))
    report = compare_runs(folders, CompareConfig(over_seeds=True), metrics=list(metrics), workspace=workspace)
    for line in report.lines:
        heading = headings.get(f"{line.direction} {line.metric}")
        if heading and line.difference and line.p is not None and line.p_holm is not None:
            yield RowTest(name, against, heading, line.difference, line.p, line.p_holm)
