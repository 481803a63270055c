"""What `emoclim reproduce` made, as files, plain values, sentences and tables.

The files lie in ``reports/<target>``; with chosen rows or another preset, the name goes on with them.
``report.json``: all that was found; ``table.md`` and ``table.tex``, the paper's table with the lines made anew;
``figure.png``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emoclim.pipeline.evaluation.files import REPORT_SCHEMA, write_report
from emoclim.pipeline.paper_rows import PaperRow
from emoclim.pipeline.reproduction_plan import ReproductionPlan
from emoclim.reports import (
    ComparedTable,
    JointSpace,
    PaperTable,
    Row,
    TableFormat,
    by_direction,
    plot_joint_spaces,
    typeset_table,
)

FIGURE = "figure.png"
FORMS: Mapping[str, TableFormat] = {"table.md": "markdown", "table.tex": "latex"}
SEED = 42  # of the maps


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A table or figure of the paper, made anew as far as that was possible."""

    plan: ReproductionPlan  # what was to be done
    table: ComparedTable  # the paper's numbers, and those made anew
    spaces: Sequence[JointSpace]  # panels of the figure; none where there is none
    reports: Mapping[PaperRow, str]  # by row: where all its numbers are, relative to the workspace
    warnings: tuple[str, ...]  # what else a reader of the numbers must know, beside what the plan tells
    lost: float  # share of items that could not be used, of the manifest and encoder where it is largest

    @property
    def complete(self) -> bool:
        """Whether every row was made that was asked for."""
        return not any(one.missing for one in self.plan.rows)

    @property
    def title(self) -> str:
        """Of the table."""
        return self.table.title

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"folder": str(self.plan.folder), **self._content()}

    def _content(self) -> dict[str, Any]:
        """All but the place; the same data, encoders and settings give the same."""
        rows = [
            {
                "row": one.row.name,
                "title": one.title,
                "encoder": one.audio.name,
                "mark": one.mark,
                "departures": [{"kind": found.kind, "told": found.told} for found in one.departures],
                "missing": [missing.what for missing in one.missing],
                "run": one.run or None,
                "report": self.reports.get(one.row),
            }
            for one in self.plan.rows
        ]
        request = self.plan.request
        return {
            "schema": REPORT_SCHEMA,
            "target": request.target,
            "preset": request.preset,
            "notes": self.notes(),
            "rows": rows,
            "table": self.table.to_dict(),
            "warnings": list(self.warnings),
        }

    def notes(self) -> list[str]:
        """What a reader of the numbers must know, in sentences."""
        return self.plan.lines()

    def table_rows(self) -> Sequence[Row]:
        """Rows for a terminal."""
        return by_direction(self.table) if self.plan.request.target == "table1" else self.table.rows()

    def paper_table(self) -> PaperTable:
        """The table in the layout of the paper."""
        lines = [*self.notes(), *(f"Note: {one}." for one in self.warnings)]
        return PaperTable(self.title, " ".join(lines), self.table.rows())

    def summary(self) -> list[str]:
        """A few sentences for a reader, after the table."""
        lines = [f"{one.title}: {one.mark}" + (f" (run {one.run})" if one.run else "") for one in self.plan.rows]
        lines += self.notes()
        lines += [f"note: {one}" for one in self.warnings]
        made = ", ".join(["report.json", "table.md", "table.tex", *([FIGURE] if self.spaces else [])])
        return [*lines, f"{made} are in {self.plan.folder}"]

    def write(self) -> None:
        """Write all files; a folder with other numbers is moved aside first."""
        folder, table = self.plan.folder, self.paper_table()
        write_report(folder, self._content())
        for name, form in FORMS.items():
            aside = folder / f"{name}.partial"
            aside.write_text(typeset_table(table.rows, table.title, table.note, form), encoding="utf-8")
            aside.replace(folder / name)
        if self.spaces:
            plot_joint_spaces(self.spaces, folder / FIGURE, seed=SEED)
