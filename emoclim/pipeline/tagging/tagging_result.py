"""What an evaluation of tagging found, and its files in ``runs/<run>/tagging/<manifest>``.

``report.json``: all numbers (the same seed gives the same bytes); ``scores.parquet``: one row for each item and tag;
``tags.png`` and ``curve.png``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.data import SPLITS
from emoclim.errors import name_some
from emoclim.pipeline.evaluation.files import REPORT_SCHEMA, write_report
from emoclim.pipeline.papers import paper_tables
from emoclim.pipeline.tagging.config import On
from emoclim.pipeline.training.run_files import write_parquet
from emoclim.reports import PaperTable, TaggingReport, plot_curve, plot_tags, tagging_results

TAGS_PICTURE = "tags.png"


@dataclass(frozen=True, slots=True)
class TaggingResult:
    """What one `emoclim evaluate --tagging` found."""

    run: str
    head: int  # number of the candidate whose head embeds
    on: On  # what the tagging heads take: its `embeddings`, or the `features` it takes itself
    split: str
    # path of the manifest, as a note beside the cache names it, and 12 hex digits of what it says
    manifest: Mapping[str, str]
    items: Mapping[str, int]  # by split, how many items there are
    untagged: Mapping[str, int]  # by split, how many of them have no tag at all
    untagged_kept: bool  # whether these count, as negatives of every tag
    report: TaggingReport
    folder: Path  # where they lie, with the pictures
    warnings: tuple[str, ...]  # why the numbers may mislead
    plots: bool  # whether pictures are drawn
    interrupted: bool = False

    @property
    def shows_curve(self) -> bool:
        """Whether other shares of the training items were learnt from than all of them."""
        return [one.fraction for one in self.report.curve] != [1.0]

    @property
    def learnt_from(self) -> str:
        """The largest share, which all numbers but the curve are of: ``"10 % of the training items (512)"``."""
        most = self.report.curve[-1]
        return f"{100 * most.fraction:.3g} % of the training items ({most.n_train})"

    @property
    def title(self) -> str:
        """What the table of the report is about."""
        control = " (control: shuffled tags)" if self.report.provenance["shuffled_tags"] else ""
        seeds = f"{n} seeds" if (n := len(self.report.seeds)) > 1 else "one seed"
        learnt = f", learnt from {self.learnt_from}" if self.shows_curve else ""
        return f"Run {self.run}, tags from {self.on}{control}, {self.report.n_test} {self.split} items, {seeds}{learnt}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "schema": REPORT_SCHEMA,
            "run": self.run,
            "head": self.head,
            "on": self.on,
            "split": self.split,
            "manifest": dict(self.manifest),
            "items": dict(self.items),
            "untagged": {"kept": self.untagged_kept, **self.untagged},
            "warnings": list(self.warnings),
            **self.report.to_dict(),
        }

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        sizes = ", ".join(f"{self.items[split]} {split}" for split in SPLITS)
        lines = [f"{self._manifest_name}: {sizes} items, {len(self.report.tags)} tags"]
        if self.shows_curve:
            lines.append(f"tables of all tags, groups and single tags are of heads that learnt from {self.learnt_from}")
        if any(self.untagged.values()):
            bare = ", ".join(f"{self.untagged[split]} {split}" for split in SPLITS)
            fate = "count, as negatives of every tag" if self.untagged_kept else "are left out"
            lines.append(f"items without any tag ({bare}) {fate}; numbers with and without them cannot be compared")
        macro = self.report.macro
        if macro.without_average_precision:
            lines.append(left_out(macro.without_average_precision, "no positive item to be found"))
        if other := set(macro.without_roc_auc) - set(macro.without_average_precision):
            lines.append(left_out(sorted(other), "only positive items (ROC-AUC)"))
        pictures = " and pictures" if (self.folder / TAGS_PICTURE).is_file() else ""
        return [*lines, f"Numbers{pictures} are in {self.folder}"]

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the report's table."""
        return self.report.table_rows()

    def paper_tables(self) -> tuple[PaperTable, ...]:
        """Return the papers' tables of tagging with this result in them."""
        differing = {
            f"{self.split} items": self.split != "test",
            "shuffled tags": self.report.provenance["shuffled_tags"],
            self.learnt_from: self.shows_curve,
        }
        name = ", ".join([self._manifest_name, self.on, *(what for what, told in differing.items() if told)])
        return paper_tables(tagging_results(self.report), name, ("tagging",))

    @property
    def _manifest_name(self) -> str:
        return self.manifest["path"].rpartition("/")[2]

    def write(self) -> None:
        """Write ``report.json``, ``scores.parquet`` and the pictures."""
        write_report(self.folder, self.to_dict())
        write_parquet(_score_columns(self.report), self.folder / "scores.parquet")
        if self.plots:
            plot_tags(self.report, self.folder / TAGS_PICTURE)
            if len(self.report.curve) > 1:
                plot_curve(self.report, self.folder / "curve.png")


def left_out(tags: Sequence[str], why: str) -> str:
    """Say which tags do not count, and why."""
    return f"{len(tags)} tag{'s' * (len(tags) > 1)} left out, having {why}: {name_some(tags)}"


def _score_columns(report: TaggingReport) -> dict[str, Any]:
    """Make a row for each test item and tag: whether it has it, and how likely the head of each seed holds that."""
    columns: dict[str, Any] = {
        "id": [id_ for id_ in report.ids for _ in report.tags],
        "tag": list(report.tags) * len(report.ids),
        "relevant": report.relevant.flatten().numpy(),
    }
    return columns | {
        f"probability_{seed}": values.flatten().numpy()
        for seed, values in zip(report.seeds, report.probabilities, strict=True)
    }
