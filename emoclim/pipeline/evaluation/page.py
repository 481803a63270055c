"""Write `report.html`, the page of an evaluation: the best and worst queries with their hits, tables, and pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic_core import to_jsonable_python

from emoclim.config import Average
from emoclim.data import Features, Item, excerpt, read_prose, still, thumbnail
from emoclim.errors import DecodeError, MissingLibrary, RunError
from emoclim.files import read_json
from emoclim.learning import Heads
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.evaluation.ranked import Ranked
from emoclim.pipeline.evaluation.result import Evaluation
from emoclim.reports import DirectionReport, Media, Page, Row, main_parts, save_page, shorten
from emoclim.stages import EmbeddedQuery, Gallery, Hit, Reason, by_fold, embed, embed_query

N_EXAMPLES = 3  # queries at either end of a direction, and items found for each
PIXELS, SECONDS, MAX_TEXT = 320, 8.0, 600  # of a preview: its size, its length, and the letters of a text
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
PARTNERS_NOTE = (
    "Means over queries in percent, with 95 % bootstrap intervals, for which queries of one group are drawn together; "
    "below each, the exact expectation of a random order of the same candidates."
)
NUMBERS_NOTE = "In the scale of the manifest, with 95 % bootstrap intervals over items, those of one group together."


@dataclass(frozen=True, slots=True)
class Examples:
    """Choose the queries of a split that went best and worst, and prepare previews of them and of their hits."""

    ranked: Ranked
    heads: Heads
    average: Average

    def best_and_worst(self, direction: DirectionReport) -> list[tuple[str, list[list[Media]]]]:
        """Return the best and the worst queries by mAP, or by the last metric, each under a heading."""
        scores = direction.scores.metrics
        order = scores["mAP" if "mAP" in scores else list(scores)[-1]].argsort(descending=True, stable=True)
        ends = {"best": order[:N_EXAMPLES], "worst": order[max(N_EXAMPLES, len(order) - N_EXAMPLES) :].flip(0)}
        return [
            (f"{direction.title}: the queries that went {name}", self._examples(direction, rows))
            for name, rows in ends.items()
            if len(rows)
        ]

    def reasons(self, direction: DirectionReport) -> list[dict[str, Any]]:
        """Return for each query what it ranks, the best first, with all that each score is made of; none if unnamed."""
        features, found = self.ranked.split.features, dict[int, dict[str, Any]]()
        queries, candidates = features[direction.query], features[direction.candidate]
        for heads, part in by_fold(self.heads, queries):
            gallery = Gallery(embed(candidates, heads, self.average))
            for row in part.tolist() if gallery.embedded.names else ():
                asking = self._embedded(queries, row, heads, direction.candidate)
                out = self.ranked.excluded_ids(direction.query, row, direction.candidate)
                hits = gallery.search(asking, top=len(candidates), included=gallery.without(out))
                told = zip(hits, to_jsonable_python(gallery.explain(asking, hits)), strict=True)
                ranked = [{"id": hit.id, "score": hit.score, "reasons": why} for hit, why in told]
                found[row] = {"query": queries.ids[row], "hits": ranked}
        return [found[row] for row in sorted(found)]

    def _examples(self, direction: DirectionReport, rows: torch.Tensor) -> list[list[Media]]:
        features = self.ranked.split.features
        queries, candidates = features[direction.query].select(rows), features[direction.candidate]
        exclude = [self.ranked.excluded_ids(direction.query, row, direction.candidate) for row in rows.tolist()]
        shown: dict[int, list[Media]] = {}
        for heads, part in by_fold(self.heads, queries):
            gallery = Gallery(embed(candidates, heads, self.average))
            for row in part.tolist():
                asking = self._embedded(queries, row, heads, direction.candidate)
                hits = gallery.search(asking, top=N_EXAMPLES, included=gallery.without(exclude[row]))
                shown[row] = self._example(direction, queries.ids[row], hits, gallery.explain(asking, hits))
        return [shown[row] for row in range(len(queries))]

    def _embedded(self, queries: Features, row: int, heads: Heads, candidate: Modality) -> EmbeddedQuery:
        return embed_query(queries.select(torch.tensor([row])), heads, candidate, self.average)

    def _example(
        self, direction: DirectionReport, query: str, hits: Sequence[Hit], reasons: Sequence[Sequence[Reason]]
    ) -> list[Media]:
        asked = self.ranked.items[direction.query][query]
        shown, facts = [_media(direction.query, asked)], MODALITIES[direction.candidate]
        for hit, why in zip(hits, reasons, strict=True):
            item = self.ranked.items[direction.candidate][hit.id]
            relevant = self.ranked.is_relevant(asked, item, direction.query, direction.candidate)
            best = f", best passage {facts.place(hit.start)}" if hit.start else ""
            caption = f"cosine {hit.score:.3f}{best}"
            within = (hit.start or 0.0) - (item.start or 0.0)  # starts count from the beginning of the file
            made = _media(direction.candidate, item, max(0.0, within), caption, relevant)
            shown.append(replace(made, parts=main_parts([(one.name, one.contribution) for one in why])))
        return shown


def shown_reasons(
    asking: Modality, query: Item, asked: Modality, items: Mapping[str, Item], hits: Sequence[Mapping[str, Any]]
) -> list[Media]:
    """Prepare previews of a query and of what it ranks, each with the bars of its score, from what was told of both."""
    partner, shown = query.pair or query.id, [_media(asking, query)]
    for hit in hits:
        item = items[hit["id"]]
        made = _media(asked, item, 0.0, f"cosine {hit['score']:.3f}", (item.pair or item.id) == partner)
        shown.append(replace(made, parts=main_parts([(one["name"], one["contribution"]) for one in hit["reasons"]])))
    return shown


def _media(
    modality: Modality, item: Item, start: float = 0.0, caption: str = "", relevant: bool | None = None
) -> Media:
    facts = MODALITIES[modality]
    content, message = preview(modality, item, start)
    lines = [f"{facts.name}: {shorten(item.label or '–')}", caption, message]
    return Media(item.id, "; ".join(filter(None, lines)), facts.preview, content, relevant)


def preview(modality: Modality, item: Item, start: float) -> tuple[bytes | None, str]:
    """Return the bytes to show; or None with the item's text, or with why its file cannot be shown."""
    try:
        if not MODALITIES[modality].preview:
            return None, shorten(read_prose(item)[0], MAX_TEXT)
        facts = MODALITIES[modality]
        if not facts.preview.startswith("image/"):
            return excerpt(item, start, SECONDS), ""
        return (still(item, start, PIXELS) if facts.timed else thumbnail(item, PIXELS)), ""
    except (DecodeError, MissingLibrary) as error:
        return None, f"cannot be shown: {error}"


def _tables(evaluation: Evaluation) -> list[tuple[str, list[Row], str]]:
    """Return the tables of the page, each with its title and a note."""
    report, numbers, tables = evaluation.report, evaluation.numbers, list[tuple[str, list[Row], str]]()
    if report.directions and evaluation.by_partner:
        tables.append(("Retrieval", report.table_rows(), PARTNERS_NOTE))
    elif report.directions:
        tables += [
            ("Retrieval", report.table_rows(), NOTE),
            ("The same over queries", report.table_rows("micro"), "Means over all queries (micro) in percent."),
            (f"{evaluation.shown_metric} by emotion (%)", evaluation.per_class_rows(), ""),
        ]
    if numbers.predicted:
        tables.append(("Predicted numbers", numbers.table_rows(), NUMBERS_NOTE))
    return tables


def write_page(evaluation: Evaluation, examples: Examples, run: Path) -> None:
    """Write the page beside the other files of an evaluation."""
    report, folder = evaluation.report, evaluation.folder
    shown = [(folder / name, *about) for name, about in PICTURES.items()] + [(run / "sweep.png", *SWEEP)]
    across = [direction for direction in report.directions.values() if direction.query != direction.candidate]
    trained: dict[str, Any] = read_json(run / "run.json", RunError, "train again")
    content = evaluation.to_dict()
    depends = {name: content[name] for name in ("run", "split", *evaluation.settings, "libraries", "provenance")}
    depends["trained"] = {name: trained.get(name) for name in ("versions", "platform")}
    page = Page(
        title=f"emoclim: run {evaluation.run}, split {evaluation.split}",
        lines=evaluation.description(),
        warnings=evaluation.warnings,
        tables=_tables(evaluation),
        pictures=[(title, path.read_bytes(), text) for path, title, text in shown if path.is_file()],
        published=[(f"The paper's {table.title}", table.rows, table.note) for table in evaluation.paper_tables()],
        examples=[found for direction in across for found in examples.best_and_worst(direction)],
        provenance=json.dumps(depends, indent=2, ensure_ascii=False),
    )
    save_page(page, folder / "report.html")
