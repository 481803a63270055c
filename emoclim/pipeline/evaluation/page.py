"""Write `report.html`, the page of an evaluation: tables, pictures, and the best and worst queries with their hits."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from emoclim.data import Item, Split, excerpt, thumbnail
from emoclim.errors import DecodeError, RunError
from emoclim.files import read_json
from emoclim.learning import Average, Heads
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.evaluation.result import Evaluation
from emoclim.pipeline.library import Library
from emoclim.reports import DirectionReport, Media, Page, save_page
from emoclim.stages import Hit, search_each

N_EXAMPLES = 3  # queries at either end of a direction, and items found for each
PIXELS, SECONDS = 320, 8.0  # of a preview
PICTURES = {
    "per_class.png": ("By emotion", "precision of each emotion and direction, beside a random order"),
    "confusion.png": ("What comes first", "share of each emotion among the items found first, by emotion of the query"),
    "joint_space.png": ("The joint space", "map of all embeddings: a marker for each modality, a colour per emotion"),
}
SWEEP = ("The sweep that this head is of", "validation scores against the loss weights")
NOTE = (
    "Macro means over emotions in percent, with 95 % bootstrap intervals over queries; below each, the exact "
    "expectation of a random order of the same candidates."
)


class Examples:
    """Choose the queries of a split that went best and worst, and prepare previews of them and of their hits."""

    def __init__(
        self, split: Split, heads: Heads, libraries: Mapping[Modality, Library], *, average: Average = "embeddings"
    ) -> None:
        self._split, self._heads, self._average = split, heads, average
        self._items = {
            modality: {item.id: item for item in library.manifest.items} for modality, library in libraries.items()
        }
        self._classes = {
            modality: dict(zip(features.ids, split.labels[modality].tolist(), strict=True))
            for modality, features in split.features.items()
        }
        self._preview = cache(preview)

    def best_and_worst(self, direction: DirectionReport) -> list[tuple[str, list[list[Media]]]]:
        """Return the best and the worst queries by mAP, or by the last metric, each under a heading."""
        metric = "mAP" if "mAP" in direction.per_query else list(direction.per_query)[-1]
        order = direction.per_query[metric].argsort(descending=True, stable=True)
        ends = {"best": order[:N_EXAMPLES], "worst": order[max(N_EXAMPLES, len(order) - N_EXAMPLES) :].flip(0)}
        return [
            (f"{direction.title}: the queries that went {name}", self._examples(direction, rows))
            for name, rows in ends.items()
            if len(rows)
        ]

    def _examples(self, direction: DirectionReport, rows: torch.Tensor) -> list[list[Media]]:
        queries = self._split.features[direction.query].select(rows)
        candidates = self._split.features[direction.candidate]
        hits = search_each(queries, candidates, self._heads, top=N_EXAMPLES, average=self._average)
        return [
            [self._media(direction.query, name), *(self._hit(direction, name, hit) for hit in found)]
            for name, found in zip(queries.ids, hits, strict=True)
        ]

    def _hit(self, direction: DirectionReport, query: str, hit: Hit) -> Media:
        relevant = self._classes[direction.query][query] == self._classes[direction.candidate][hit.id]
        caption = f"cosine {hit.score:.3f}" + (f", best from {hit.start:.1f} s" if hit.start else "")
        return self._media(direction.candidate, hit.id, hit.start or 0.0, caption, relevant)

    def _media(
        self, modality: Modality, name: str, start: float = 0.0, caption: str = "", relevant: bool | None = None
    ) -> Media:
        item, facts = self._items[modality][name], MODALITIES[modality]
        content, message = self._preview(modality, item, start)
        lines = [f"{facts.name}: {item.label}", caption, message]
        return Media(name, "; ".join(filter(None, lines)), facts.preview, content, relevant)


def preview(modality: Modality, item: Item, start: float) -> tuple[bytes | None, str]:
    """Return the bytes to show; or None with the item's text, or with why its file cannot be shown."""
    if item.text is not None:
        return None, item.text
    try:
        seen = MODALITIES[modality].preview.startswith("image/")
        return (thumbnail(item, PIXELS) if seen else excerpt(item, start, SECONDS)), ""
    except DecodeError as error:
        return None, f"cannot be shown: {error}"


def write_page(evaluation: Evaluation, examples: Examples, run: Path) -> None:
    """Write the page beside the other files of an evaluation."""
    report, folder = evaluation.report, evaluation.folder
    shown = [(folder / name, *about) for name, about in PICTURES.items()] + [(run / "sweep.png", *SWEEP)]
    across = [direction for direction in report.directions.values() if direction.query != direction.candidate]
    page = Page(
        title=f"emoclim: run {evaluation.run}, split {evaluation.split}",
        lines=evaluation.description(),
        warnings=evaluation.warnings,
        tables=[
            ("Retrieval", evaluation.table_rows(), NOTE),
            ("The same over queries", evaluation.table_rows("micro"), "Means over all queries (micro) in percent."),
            (f"{evaluation.shown_metric} by emotion (%)", evaluation.per_class_rows(), ""),
            *((f"The paper's {table.title}", table.rows, table.note) for table in evaluation.paper_tables()),
        ],
        pictures=[(title, path.read_bytes(), text) for path, title, text in shown if path.is_file()],
        examples=[found for direction in across for found in examples.best_and_worst(direction)],
        provenance=json.dumps(_provenance(evaluation, run), indent=2, ensure_ascii=False),
    )
    save_page(page, folder / "report.html")


def _provenance(evaluation: Evaluation, run: Path) -> dict[str, Any]:
    """Return settings and features of the evaluation, and versions and platform of the training."""
    trained: dict[str, Any] = read_json(run / "run.json", RunError, "train again")
    content = evaluation.to_dict()
    kept = {name: content[name] for name in ("run", "split", *evaluation.settings, "libraries", "provenance")}
    return kept | {"trained": {name: trained.get(name) for name in ("versions", "platform")}}
