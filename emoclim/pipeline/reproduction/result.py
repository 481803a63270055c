"""Hold what of a paper's table can be made anew, how far each row is, and in the end what was made.

Made by the plan, filled by the runner, shown by the command. Invariant: ``report.json`` holds nothing but what follows
from data, encoders and settings, so that the same ones give the same bytes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from emoclim.data import Manifest
from emoclim.files import write_bytes
from emoclim.pipeline.evaluation.files import write_report
from emoclim.pipeline.evaluation.result import class_titles
from emoclim.pipeline.reproduction.departures import KINDS, Departure, mark_of, matching_departures
from emoclim.pipeline.reproduction.request import Request
from emoclim.pipeline.reproduction.rows import RowPlan, RowTest, tests_table
from emoclim.reports import (
    ALL,
    Estimate,
    JointSpace,
    Media,
    Page,
    PaperLine,
    PaperTable,
    Reproduced,
    Results,
    TableFormat,
    plot_joint_spaces,
    save_page,
    typeset_table,
)
from emoclim.reports import Row as Cells

FORMS: Mapping[str, TableFormat] = {"table.md": "markdown", "table.tex": "latex"}
PAGE = "figure.html"
FIGURE, SEED, PERPLEXITY = "figure.png", 42, 5.0  # of the maps; the last is that of the papers' published code

SCHEMA = 2  # of report.json
CHANCE = " by chance"
TESTS = "Differences in percent, with 95 % intervals and p-values of paired randomisation tests, by query."


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A table or figure of a paper, made anew as far as that is possible, or yet to be made."""

    request: Request
    manifests: Mapping[str, Manifest]  # by name of the data
    usable: Mapping[str, Manifest]  # the same without items whose file is missing, or that are known to fail
    rows: dict[str, RowPlan]  # by name
    caches: Mapping[str, int | None]  # by file name: the features it holds; None where it is yet to be made
    data: Mapping[str, Sequence[Departure]]  # by name of the data
    absent: Mapping[str, str]  # manifests that are not there, and how to get them
    folder: Path
    results: dict[str, Results] = field(default_factory=dict)  # by name of a row
    reports: dict[str, list[str]] = field(default_factory=dict)  # by row: of each seed, relative to the workspace
    tests: list[RowTest] = field(default_factory=list)  # between rows
    words: dict[str, Reproduced] = field(default_factory=dict)  # by title of a line of a table of words
    spaces: list[JointSpace] = field(default_factory=list)  # panels of a figure
    examples: list[tuple[str, list[list[Media]]]] = field(default_factory=list)  # of one that is a page, under headings
    warnings: list[str] = field(default_factory=list)  # what else a reader of the numbers must know

    @property
    def complete(self) -> bool:
        """Whether every row can be made that was asked for."""
        return not any(one.missing for one in self.rows.values())

    @property
    def lost(self) -> float:
        """The share of items that cannot be used, of the manifest where it is largest."""
        sizes = ((len(one.items), len(self.usable[name].items)) for name, one in self.manifests.items())
        return max(((n_items - n_usable) / max(n_items, 1) for n_items, n_usable in sizes), default=0.0)

    def notes(self) -> list[str]:
        """Say what a reader of the numbers must know: departures, what is missing, and the paper's own remarks."""
        every = [one for row in self.rows.values() for one in row.departures]
        every = every or [*chain(*self.data.values()), *matching_departures(self.request)]
        settings, table = self.request.settings, self.request.table
        lines = [
            f"Not as in the {settings.source}: {one.description}."
            for kind in KINDS
            for one in every
            if one.kind == kind
        ]
        lacking = [self.absent, *(row.missing for row in self.rows.values())]
        lines += [f"Missing: {what}; {how}." for missing in lacking for what, how in missing.items()]
        if n_seeds := max((len(row.seeds) for row in self.rows.values() if len(row.seeds) > 1), default=0):
            lines.append(f"Own numbers are means over {n_seeds} seeds, with the interval of that mean by Student's t.")
        return list(dict.fromkeys([*(settings.remarks if table.rows else ()), *lines, *table.remarks]))

    @property
    def title(self) -> str:
        """Of the table."""
        return self.request.table.title

    @property
    def table(self) -> PaperTable:
        """The paper's table with what was made below each line, and lines that it does not have last."""
        table, own = self.request.table, self._own()
        note = " ".join([*self.notes(), *(f"Note: {one}." for one in dict.fromkeys(self.warnings))])
        lines = [PaperLine(line.title, line.cells, line.numbers, own.pop(line.title, None)) for line in table.lines]
        lines += [PaperLine(title, own=one) for title, one in own.items()]
        return PaperTable(table.title, table.columns, table.metrics, lines, note)

    def _own(self) -> dict[str, Reproduced]:
        """Return what was made, or why not, by title of a line."""
        if self.request.table.measure == "labels":
            mark = mark_of([*chain(*self.data.values()), *matching_departures(self.request)], "paper")
            return {title: Reproduced(mark, numbers) for title, numbers in self._labels().items()}
        own = dict(self.words)
        for line in self.request.table.lines:
            rows = [row for one in line.rows if (row := self.rows.get(one.name))]
            made = [self.results[row.row.name] for row in rows if row.row.name in self.results]
            parts = [of for one in made if (of := one.get(ALL, one.get(line.title))) is not None]
            if parts or any(row.missing for row in rows):
                mark = "; ".join(dict.fromkeys(row.mark for row in rows))
                own[line.title] = Reproduced(mark, {key: number for of in parts for key, number in of.items()})
            elif line.chance and (random := self._by_chance()):
                own[line.title] = Reproduced(numbers=random)
        for name, found in self.results.items():
            further = (title for title in found if title not in (ALL, *own))
            own |= {title: Reproduced(self.rows[name].mark, found[title]) for title in further}
        return own

    def _by_chance(self) -> dict[str, Estimate]:
        """Return what a random order gives, under the keys of what it is held against."""
        numbers = {key: one for found in self.results.values() for key, one in found.get(ALL, {}).items()}
        return {key.removesuffix(CHANCE): one for key, one in numbers.items() if key.endswith(CHANCE)}

    def _labels(self) -> Results:
        """Count the usable items of each class, and of each label without a partner; this takes no encoder."""
        items = {modality: self.usable[modality].items for modality in self.request.recipe.modalities}
        if self.absent:
            return {}
        label_map = self.request.match(
            {modality: {item.label for item in self.manifests[modality].items if item.label} for modality in items}
        )
        titles, found = class_titles(label_map), Counter[tuple[str, str]]()
        for modality, labels in label_map.maps.items():
            counts = Counter(item.label for item in items[modality])
            for label, name in labels.items():
                alone = " ↔ ".join(label if other == modality else "–" for other in items)
                found[titles[name] if name else alone, f"{modality} items"] += counts[label]
        return {
            title: {key: Estimate(count) for (of, key), count in found.items() if of == title} for title, _ in found
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        manifests = {name: str(manifest.source) for name, manifest in self.manifests.items()}
        return {"folder": str(self.folder), "manifests": manifests, "caches": dict(self.caches)} | self.content()

    def content(self) -> dict[str, Any]:
        """Return what depends on data, encoders and settings alone."""
        return {
            "schema": SCHEMA,
            "paper": self.request.recipe.citation,
            "target": self.request.target,
            "source": self.request.table.source,
            "preset": self.request.preset,
            "notes": self.notes(),
            "rows": [one.to_dict() | {"reports": self.reports.get(name, [])} for name, one in self.rows.items()],
            "table": self.table.to_dict(),
            "tests": to_jsonable_python(self.tests),
            "warnings": list(dict.fromkeys(self.warnings)),
        }

    def made_tables(self) -> list[tuple[list[Cells], str]]:
        """Make rows for a terminal, with titles: what was made beside the numbers of the paper, and tests of rows."""
        table = self.table
        rows = table.rows_by_group() if any(group for *_, group in table.metrics) else table.rows
        return [(rows, self.title)] + [(tests_table(self.tests), f"{self.title}, between rows")] * bool(self.tests)

    def plan_tables(self) -> list[tuple[list[Cells], str]]:
        """Make rows for a terminal, with a title: what is to be done, row by row."""
        rows: list[Cells] = [("row", "the paper's", "encoders here", "training", "run", "own is")]
        for one in self.rows.values():
            encoders = ", ".join(choice.name for choice in one.encoders.values())
            rows.append(
                (one.row.name, one.row.title, encoders, f"{one.row.step}: {one.state}", ", ".join(one.runs), one.mark)
            )
        return [(rows, self.title)]

    def plan_summary(self) -> list[str]:
        """Say what is there, and what is to be done."""
        lines = []
        for name, one in self.manifests.items():
            size = f"{len(one.items):,} items" if f"manifest {one.source}" not in self.absent else "not there"
            lines.append("; ".join([f"{name}: {one.source}, {size}", *one.notes]))
        for cache, held in self.caches.items():
            lines.append(f"{cache}: {'to be made' if held is None else f'holds {held:,} features; none is made again'}")
        return [*lines, *self.notes(), f"results go to {self.folder}"]

    def summary(self) -> list[str]:
        """Say what a reader must know, after the table."""
        runs = {name: f" (run {', '.join(one.runs)})" if one.runs else "" for name, one in self.rows.items()}
        lines = [f"{one.row.title}: {one.mark}{runs[name]}" for name, one in self.rows.items()]
        lines += [*self.notes(), *(f"note: {one}" for one in dict.fromkeys(self.warnings))]
        made = ", ".join(["report.json", *FORMS, *[FIGURE] * bool(self.spaces), *[PAGE] * bool(self.examples)])
        return [*lines, f"{made} are in {self.folder}"]

    def write(self) -> None:
        """Write ``report.json``, the table and the figure; a folder with other numbers is moved aside first."""
        write_report(self.folder, self.content())
        table = self.table
        for name, form in FORMS.items():
            text = typeset_table(table.rows, table.title, table.note, form)
            if self.tests:
                text += "\n" + typeset_table(tests_table(self.tests), f"{table.title}, between rows", TESTS, form)
            write_bytes(self.folder / name, text.encode())
        if self.examples:
            page = Page(self.title, self.notes(), [], self.examples, [(table.title, table.rows, "")], [], [], "")
            save_page(page, self.folder / PAGE)
        if self.spaces:
            plot_joint_spaces(self.spaces, self.folder / FIGURE, seed=SEED, perplexity=PERPLEXITY)
