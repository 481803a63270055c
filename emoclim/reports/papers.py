"""Lay out tables of papers, with what was measured here below what the paper printed.

Used by evaluations and by the reproduction of papers. Invariant: what a paper printed is passed in and shown to the
letter; own shares, from 0 to 1, are shown in percent, and counts as they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, Literal

from pydantic_core import to_jsonable_python

from emoclim.reports.queries import Intervals
from emoclim.reports.retrieval import RetrievalReport
from emoclim.reports.tables import Estimate, Row, to_markdown
from emoclim.reports.tagging import METRICS, TaggingReport

TableFormat = Literal["latex", "markdown"]

UNKNOWN = "–"
BOTH = ("paper", "own")
ALL = ""  # title of what is measured over all classes, or all tags

Numbers = Mapping[str, Estimate]  # by key of a metric: "image_audio P@5", "audio items", "ROC-AUC"
Results = Mapping[str, Numbers]  # by title of a line

LATEX_SIGNS = {"→": r"$\rightarrow$", "↔": r"$\leftrightarrow$", "±": r"$\pm$", "–": "--"}
SPECIAL = re.compile("[%_&#]")


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What was made anew for one line."""

    mark: str = ""  # in which way it is, or is not, what the paper has; or why it was not made
    numbers: Mapping[str, Estimate | str] = field(default_factory=dict)  # as Numbers, or what stands as it is


@dataclass(frozen=True, slots=True)
class PaperLine:
    """One line of a table."""

    title: str
    cells: tuple[str, ...] = ()  # what stands before the numbers
    printed: Sequence[str] = ()  # the paper's numbers, one for each metric; none in a line that it does not have
    own: Reproduced | None = None  # None where nothing was to be made anew


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table of a paper with what was made anew."""

    title: str
    columns: tuple[str, ...]  # names of the title and of the cells
    metrics: Sequence[tuple[str, str, str]]  # name, key among the numbers, and the heading above several
    lines: Sequence[PaperLine]
    note: str = ""

    @property
    def headings(self) -> tuple[str, ...]:
        """What stands above each number."""
        return tuple(f"{group} {name}".strip() for name, _, group in self.metrics)

    @property
    def rows(self) -> list[Row]:
        """Rows of text in the layout of the paper, names of the columns first."""
        rows: list[Row] = [(*self.columns, *self.headings)]
        for line in self.lines:
            if line.printed:
                rows.append((line.title, *line.cells, *line.printed))
            if line.own:
                rows += self._own_rows(line, line.own)
        return rows

    def _own_rows(self, line: PaperLine, own: Reproduced) -> list[Row]:
        title = " ".join(filter(None, ["own" if line.printed else f"own: {line.title}", own.mark and f"({own.mark})"]))
        blank = ("",) * (len(self.columns) - 1)
        found = [own.numbers.get(key) for _, key, _ in self.metrics]
        rows: list[Row] = [(title, *blank, *map(_shown, found))]
        if any(ends := [one.ends if isinstance(one, Estimate) else "" for one in found]):
            rows.append(("95 % interval", *blank, *ends))
        return rows

    def rows_by_group(self) -> list[Row]:
        """Make rows for a terminal: one for each heading above several numbers, own numbers beside the paper's.

        Lines of which nothing was to be made are left out.
        """
        groups = list(dict.fromkeys(group for *_, group in self.metrics))
        names = list(dict.fromkeys(name for name, *_ in self.metrics))
        rows: list[Row] = [(self.columns[0], "own is", "", *(f"{name} {who}" for name in names for who in BOTH))]
        for line in self.lines:
            if line.own:
                own, columns = line.own, zip(self.metrics, line.printed or repeat(UNKNOWN), strict=False)
                shown = {(name, group): (text, _shown(own.numbers.get(key))) for (name, key, group), text in columns}
                for group in groups:
                    first = (line.title, own.mark.partition(":")[0]) if group == groups[0] else ("", "")
                    pairs = (shown.get((name, group), (UNKNOWN, UNKNOWN)) for name in names)
                    rows.append((*first, group, *(cell for pair in pairs for cell in pair)))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        lines = []
        for line in self.lines:
            own = line.own.numbers if line.own else {}
            found = {name: own.get(key) for name, (_, key, _) in zip(self.headings, self.metrics, strict=True)}
            lines.append(
                {
                    "title": line.title,
                    "cells": line.cells,
                    "paper": dict(zip(self.headings, line.printed, strict=False)),
                    "mark": line.own.mark if line.own else None,
                    "own": {name: number for name, number in found.items() if number},
                }
            )
        plain = {"title": self.title, "columns": self.columns, "metrics": self.headings, "lines": lines}
        return dict(to_jsonable_python(plain))


def _shown(number: Estimate | str | None) -> str:
    if number is None or isinstance(number, str):
        return number or UNKNOWN
    return f"{number.value:,}" if isinstance(number.value, int) else f"{100 * number.value:.2f}"


def retrieval_results(report: RetrievalReport, titles: Mapping[str, str]) -> dict[str, dict[str, Estimate]]:
    """Return macro means as :data:`ALL`, and those of each class under its title, with counts of items."""
    found: dict[str, dict[str, Estimate]] = {title: {} for title in (ALL, *titles.values())}
    for name, direction in report.directions.items():
        ends = direction.intervals or Intervals({}, {}, {})
        parts = [(ALL, direction.metrics, ends.macro, direction.n_queries)]
        parts += [
            (titles[label], one.metrics, ends.classes.get(label, {}), one.n_queries)
            for label, one in direction.per_class.items()
        ]
        for title, shares, sure, n_items in parts:
            if direction.query == direction.candidate:
                found[title][f"{direction.query} items"] = Estimate(n_items)
            for metric, share in shares.items():
                found[title][f"{name} {metric}"] = replace(sure.get(metric, Estimate(share)), value=share)
        found[ALL] |= {f"{name} {metric} by chance": Estimate(share) for metric, share in direction.random.items()}
    return found


def tagging_results(report: TaggingReport) -> Results:
    """Return ROC-AUC and PR-AUC, means over all tags, over those of each group, and by what heads learnt from."""
    scores = {"": report.macro}
    scores |= {f"{one.name} ": one for one in report.per_group}
    scores |= {f"{100 * one.fraction:g} % ": one.macro for one in report.curve}
    found = {f"{of}{name}": getattr(score, key) for of, score in scores.items() for name, key in METRICS.items()}
    return {ALL: {name: score.estimate for name, score in found.items() if score}}


def typeset_table(rows: Sequence[Sequence[str]], title: str, note: str, form: TableFormat) -> str:
    """Format a header row and the rows below it, with a title and a note on how to read them."""
    from tabulate import tabulate

    align = ["left"] + ["right"] * (len(rows[0]) - 1)
    if form == "markdown":
        cells = [[to_markdown(cell) for cell in row] for row in rows]
        text = tabulate(cells[1:], cells[0], tablefmt="github", colalign=align, disable_numparse=True)
        return "\n".join([f"### {to_markdown(title)}", "", to_markdown(note), "", text, ""])
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    text = tabulate(cells[1:], cells[0], tablefmt="latex_booktabs", colalign=align, disable_numparse=True)
    caption = SPECIAL.sub(r"\\\g<0>", f"{title}. {note}")
    text = "\n".join([r"\begin{table}", rf"\caption{{{caption}}}", text, r"\end{table}", ""])
    for sign, command in LATEX_SIGNS.items():
        text = text.replace(sign, command)
    return text
