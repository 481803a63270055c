"""The queries of an evaluation that went best and worst, with what was found for them, to look at and listen to."""

from collections.abc import Mapping
from functools import cache

import torch

from emoclim.data import Item, Split, excerpt, thumbnail
from emoclim.errors import DecodeError
from emoclim.learning import Average, Heads
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.libraries import Library
from emoclim.reports import DirectionReport, Example, Media
from emoclim.stages import Hit, search_each

SHOWN = 3  # queries at either end of a direction, and items found for each
PIXELS, SECONDS = 320, 8.0  # of a preview


class Examples:
    """Makes examples of one split."""

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

    def of(self, direction: DirectionReport) -> list[tuple[str, list[Example]]]:
        """The best and the worst queries of a direction, by mAP or by the last of its metrics, each under a heading."""
        metric = "mAP" if "mAP" in direction.per_query else list(direction.per_query)[-1]
        order = direction.per_query[metric].argsort(descending=True, stable=True)
        ends = {"best": order[:SHOWN], "worst": order[max(SHOWN, len(order) - SHOWN) :].flip(0)}
        return [
            (f"{direction.title}: the queries that went {name}", self._examples(direction, rows))
            for name, rows in ends.items()
            if len(rows)
        ]

    def _examples(self, direction: DirectionReport, rows: torch.Tensor) -> list[Example]:
        queries = self._split.features[direction.query].select(rows)
        candidates = self._split.features[direction.candidate]
        hits = search_each(queries, candidates, self._heads, top=SHOWN, average=self._average)
        return [
            Example(
                self._media(direction.query, name, start=0.0, caption=""),
                [self._hit(direction, name, hit) for hit in found],
            )
            for name, found in zip(queries.ids, hits, strict=True)
        ]

    def _hit(self, direction: DirectionReport, query: str, hit: Hit) -> Media:
        relevant = self._classes[direction.query][query] == self._classes[direction.candidate][hit.id]
        told = f"cosine {hit.score:.3f}"
        if hit.start:
            told += f", best from {hit.start:.1f} s"
        return self._media(direction.candidate, hit.id, start=hit.start or 0.0, caption=told, relevant=relevant)

    def _media(
        self, modality: Modality, name: str, *, start: float, caption: str, relevant: bool | None = None
    ) -> Media:
        item = self._items[modality][name]
        content, problem = self._preview(modality, item, start)
        facts = MODALITIES[modality]
        told = [f"{facts.name}: {item.label}", caption, problem]
        return Media(name, "; ".join(part for part in told if part), facts.preview, content, relevant)


def preview(modality: Modality, item: Item, start: float) -> tuple[bytes | None, str]:
    """The bytes to show, or none and what there is to tell: a text itself, or what is wrong with a file."""
    if item.text is not None:
        return None, item.text
    try:
        seen = MODALITIES[modality].preview.startswith("image/")
        return (thumbnail(item, PIXELS) if seen else excerpt(item, start, SECONDS)), ""
    except DecodeError as error:
        return None, f"cannot be shown: {error}"
