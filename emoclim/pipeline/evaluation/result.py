"""Hold what an evaluation found, and show it as plain values, sentences and tables, those of papers among them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from emoclim.data import MATCHING, LabelMap
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.evaluation.numbers import NumbersReport
from emoclim.recipes import find_recipe, recipe_names
from emoclim.reports import (
    ALL,
    DirectionReport,
    PaperLine,
    PaperTable,
    Reproduced,
    Results,
    RetrievalReport,
    Row,
    retrieval_results,
    shorten,
)

SCHEMA = 2  # of report.json
OTHER_DATA = "All lines but those of one's own are the paper's: other data, not comparable."


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one `emoclim evaluate` found."""

    run: str
    split: str
    settings: Mapping[str, Any]  # what else the numbers depend on: `head`, `average`, `min_seconds`, `label_map` ...
    report: RetrievalReport
    folder: Path
    label_map: LabelMap
    libraries: Mapping[Modality, Mapping[str, Any]]  # what was ranked, by modality, as plain values
    warnings: tuple[str, ...]  # why the numbers may mislead
    n_too_short: int  # items that were left out as too short
    plots_written: bool  # whether pictures and page were made
    numbers: NumbersReport  # how well valence and arousal are predicted, where they are

    @property
    def title(self) -> str:
        """What the table of the report is about."""
        means = "means over pairs" if self.by_partner else "macro means over emotions"
        part = f"{self.settings['folds']} folds" if "folds" in self.settings else f"split {self.split}"
        return f"Run {self.run}{self._mark}, {part}, {means} in percent"

    @property
    def by_partner(self) -> bool:
        """Whether what is relevant to an item is the one that it belongs to, not what has its label."""
        return self.settings.get("relevant") == "partner"

    @property
    def _mark(self) -> str:
        return " (substitute vectors)" if self.settings["label_vectors"] else ""

    @property
    def shown_metric(self) -> str:
        """The precision that tables by emotion show: P@5, as the papers do, or the deepest."""
        precisions = [name for name in self.report.metrics if name.startswith("P@")]
        return "P@5" if "P@5" in precisions else max(precisions, key=lambda name: int(name[2:]), default="")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        own = to_jsonable_python(self, include={"run", "split", "libraries", "warnings"})
        numbers = {"numbers": self.numbers.to_dict()} if self.numbers.predicted else {}
        return {"schema": SCHEMA, **own, **self.settings, **self.report.to_dict(), **numbers}

    def summary(self) -> list[str]:
        """Return a few sentences for a reader, after the tables."""
        made = "Numbers, pictures and report.html" if self.plots_written else "Numbers"
        return [*self.notes(), *self.numbers.notes(), f"{made} are in {self.folder}"]

    def notes(self) -> list[str]:
        """Say which queries and candidates the means count, and which they do not."""
        lines = [
            f"{direction.title}: {direction.n_without_relevant} of {direction.n_queries} queries have no relevant "
            "candidate; they score 0 and count"
            for direction in self.report.directions.values()
            if direction.n_without_relevant
        ]
        lines += [
            f"{direction.title}: {direction.n_finding_nothing} of {direction.n_queries} queries retrieve nothing, as "
            "their emotion is none of the candidates'; they score 0 and count"
            for direction in self.report.directions.values()
            if direction.n_finding_nothing
        ]
        if self.settings["min_seconds"]:
            lines.append(f"{self.n_too_short} recordings shorter than {self.settings['min_seconds']:g} s are left out")
        if noted := self.settings["label_map"]:
            by = "as labels match" if noted["name"] == MATCHING else f"by the label map {noted['name']}"
            lines.append(f"what is relevant to what is {by}")
        lines += filter(None, [self.settings["label_vectors"]])
        if "folds" in self.settings:
            lines.append(
                "each item is ranked among those of its fold, or predicted, by heads that were trained without them"
            )
        if self.by_partner:
            lines += ["relevant to an item is the one that it belongs to", *map(_hits, self.report.directions.values())]
        if self.settings["within"]:
            lines.append("each item ranks those of its own group only")
        elif self.report.provenance.get("excluded") == "own group":
            lines.append("items of one group are no candidates of each other within their modality")
        return lines

    def description(self) -> list[str]:
        """Say what was ranked, by what."""
        sizes = {one.query: one.n_queries for one in self.report.directions.values()}
        return [
            *(
                f"{MODALITIES[modality].name.capitalize()}: {size} items, features {self.report.encoders[modality]}."
                for modality, size in sizes.items()
            ),
            f"Head {self.settings['head']}; an item's segments are averaged as {self.report.average}.",
            *(f"{line[0].upper()}{line[1:]}." for line in self.notes()),
        ]

    def per_class_rows(self) -> list[Row]:
        """Return the shown precision by emotion, under the names of each modality's taxonomy."""
        return self.report.per_class_rows(self.shown_metric, self.label_map.names())

    def results(self) -> Results:
        """Return the means over all classes, and those of each class under what each taxonomy calls it."""
        return retrieval_results(self.report, class_titles(self.label_map))

    def paper_tables(self) -> tuple[PaperTable, ...]:
        """Return the papers' tables with this result in them."""
        if self.by_partner:
            return ()
        encoders = " + ".join(self.report.encoders.values()) or self.run
        results = dict(self.results())
        if noted := self.settings["label_map"]:
            results[ALL] = {**results[ALL], **{f"{noted['name']} {key}": one for key, one in results[ALL].items()}}
        return paper_tables(results, f"{encoders}{self._mark}, {self.split}", ("retrieval", "classes"))


def _hits(direction: DirectionReport) -> str:
    """Say how many queries find their partner among the first few; of those tied, the share expected."""
    counts = {name: share * direction.n_queries for name, share in direction.micro.items() if name.startswith("hit@")}
    told = (f"{name} {round(count, 2):g} of {direction.n_queries}" for name, count in counts.items())
    return f"{direction.title}: {', '.join(told)}"


def class_titles(label_map: LabelMap) -> dict[str, str]:
    """``"excitement ↔ exciting"`` for each class: what the labels of each modality call it."""
    names = label_map.names()
    ordered = [names[modality].values() for modality in MODALITIES if modality in names]
    return {name: " ↔ ".join(map(shorten, called)) for name, *called in zip(label_map.classes, *ordered, strict=True)}


def paper_tables(results: Results, name: str, measures: Iterable[str]) -> tuple[PaperTable, ...]:
    """Return the tables of all papers that show one of `measures` of what was measured, with own lines below."""
    tables = []
    known_tables = [(paper, table) for paper in recipe_names() for table in find_recipe(paper).tables.values()]
    for paper, table in known_tables:
        by_class = {title: numbers for title, numbers in results.items() if title != ALL}
        own = by_class if table.measure == "classes" else {name: results[ALL]}
        known = {key for numbers in own.values() for key in numbers}
        if table.printed and table.measure in measures and known & {metric.key for metric in table.metrics}:
            lines = [PaperLine(line.title, line.cells, line.numbers) for line in table.lines]
            lines += [PaperLine(title, own=Reproduced(numbers=numbers)) for title, numbers in own.items()]
            tables.append(PaperTable(f"{paper}, {table.title}", table.columns, table.metrics, lines, OTHER_DATA))
    return tuple(tables)
