"""What an evaluation found, as plain values, sentences and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.data import LabelMap
from emoclim.metrics import Mean
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.evaluation_files import REPORT_SCHEMA
from emoclim.reports import Intervals, PaperTable, RetrievalReport, Row, retrieval_tables


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one `emoclim evaluate` found."""

    run: str
    split: str
    # what else the numbers depend on: `head`, the number of the candidate, `average` and `min_seconds`
    settings: Mapping[str, Any]
    report: RetrievalReport
    intervals: Mapping[str, Intervals]
    folder: Path
    ks: Sequence[int]
    label_map: LabelMap
    libraries: Mapping[Modality, Mapping[str, Any]]  # what was ranked, by modality, as plain values
    warnings: tuple[str, ...]  # why the numbers may mislead
    n_too_short: int  # recordings that were left out as too short
    plots_written: bool  # whether pictures and page were made

    @property
    def title(self) -> str:
        """What the table of the report is about."""
        return f"Run {self.run}, split {self.split}, macro means over emotions in percent"

    @property
    def shown_metric(self) -> str:
        """The precision that tables by emotion show: P@5, as the papers do, or the deepest."""
        return "P@5" if 5 in self.ks else f"P@{max(self.ks)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        content = self.report.to_dict()
        for name, direction in content["directions"].items():
            direction["intervals"] = self.intervals[name].to_dict()
        return {
            "schema": REPORT_SCHEMA,
            "run": self.run,
            "split": self.split,
            **self.settings,
            "libraries": dict(self.libraries),
            "warnings": list(self.warnings),
            **content,
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        made = "report.html" if self.plots_written else "no pictures"
        return [*self.hidden(), f"Numbers and {made} are in {self.folder}"]

    def hidden(self) -> list[str]:
        """What means do not show, in sentences."""
        lines = [
            f"{direction.title}: {direction.n_without_relevant} of {direction.n_queries} queries have no relevant "
            "candidate; they score 0 and count"
            for direction in self.report.directions.values()
            if direction.n_without_relevant
        ]
        if self.settings["min_seconds"]:
            lines.append(f"{self.n_too_short} recordings shorter than {self.settings['min_seconds']:g} s are left out")
        if self.report.provenance.get("kin") == "own group":
            lines.append("items of one group are no candidates of each other within their modality")
        return lines

    def about(self) -> list[str]:
        """What was ranked, in sentences."""
        sizes = {one.query: one.n_queries for one in self.report.directions.values()}
        lines = [
            f"{MODALITIES[modality].name.capitalize()}: {size} items, features {self.report.encoders[modality]}."
            for modality, size in sizes.items()
        ]
        return [
            *lines,
            f"Head {self.settings['head']}; an item's segments are averaged as {self.report.average}.",
            *(f"{line[0].upper()}{line[1:]}." for line in self.hidden()),
        ]

    def table_rows(self, mean: Mean = "macro") -> list[Row]:
        """Means with their intervals."""
        return self.report.table_rows(self.intervals, mean)

    def per_class_rows(self) -> list[Row]:
        """The shown precision by emotion, under the names of both taxonomies."""
        return self.report.per_class_rows(self.shown_metric, self.label_map.names())

    def paper_tables(self) -> tuple[PaperTable, ...]:
        """The papers' tables with this result in them."""
        names = self.label_map.names()
        both = zip(*(names[modality].values() for modality in sorted(names, reverse=True)), strict=True)
        classes = {name: " ↔ ".join(pair) for name, pair in zip(self.report.classes, both, strict=True)}
        encoder = self.report.encoders.get("audio", self.run)
        return retrieval_tables(self.report, self.intervals, f"own: {encoder}, {self.split}", classes)
