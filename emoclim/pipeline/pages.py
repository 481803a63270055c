"""`report.html` of an evaluation: all numbers, pictures and examples on one page that needs nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emoclim.errors import RunError
from emoclim.pipeline.evaluation_result import Evaluation
from emoclim.pipeline.examples import Examples
from emoclim.pipeline.workspace import read_json
from emoclim.reports import Page, Picture, Table, save_page

PICTURES = {
    "per_class.png": ("By emotion", "precision of each emotion and direction, beside a random order"),
    "confusion.png": ("What comes first", "share of each emotion among the items found first, by emotion of the query"),
    "joint_space.png": ("The joint space", "map of all embeddings: dots are images, crosses music, colours emotions"),
}
SWEEP = ("The sweep that this head is of", "validation scores against the loss weights")


def write_page(evaluation: Evaluation, examples: Examples, run: Path) -> None:
    """Write the page beside the other files of an evaluation."""
    report, folder = evaluation.report, evaluation.folder
    shown = [(folder / name, *about) for name, about in PICTURES.items()] + [(run / "sweep.png", *SWEEP)]
    across = [direction for direction in report.directions.values() if direction.query != direction.candidate]
    page = Page(
        title=f"emoclim: run {evaluation.run}, split {evaluation.split}",
        lines=evaluation.about(),
        warnings=evaluation.warnings,
        tables=_tables(evaluation),
        pictures=[Picture(title, path.read_bytes(), text) for path, title, text in shown if path.is_file()],
        examples=[found for direction in across for found in examples.of(direction)],
        provenance=json.dumps(_provenance(evaluation, run), indent=2, ensure_ascii=False),
    )
    save_page(page, folder / "report.html")


def _tables(evaluation: Evaluation) -> Sequence[Table]:
    note = (
        "Macro means over emotions in percent, with 95 % bootstrap intervals over queries; below each, the exact "
        "expectation of a random order of the same candidates."
    )
    return [
        Table("Retrieval", evaluation.table_rows(), note),
        Table("The same over queries", evaluation.table_rows("micro"), "Means over all queries (micro) in percent."),
        Table(f"{evaluation.shown_metric} by emotion (%)", evaluation.per_class_rows()),
        *(Table(f"The paper's {table.title}", table.rows, table.note) for table in evaluation.paper_tables()),
    ]


def _provenance(evaluation: Evaluation, run: Path) -> dict[str, Any]:
    """Settings and features of the evaluation, and with what the run was trained."""
    trained = read_json(run / "run.json", RunError, "train again")
    content = evaluation.to_dict()
    told = {name: content[name] for name in ("run", "split", *evaluation.settings, "libraries", "provenance")}
    return told | {"trained": {name: trained.get(name) for name in ("versions", "platform")}}
