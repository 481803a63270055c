"""What is asked of a library: a query as it is compared, and how items are ranked and told. Used by the searcher."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from emoclim.cache import CacheNote
from emoclim.data import Item
from emoclim.index import Filters
from emoclim.pipeline.searching.mixing import EMOTION, Mixed
from emoclim.pipeline.searching.query_kinds import Point
from emoclim.pipeline.searching.result import Emotions
from emoclim.stages import EmbeddedQuery, EmotionPlane, Gallery, Hit, Reason

Reasons = tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """How items are ranked, and what is told of them."""

    top: int
    mix: Mapping[str, float] | None
    why: bool
    only: Filters | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as it is compared with a library."""

    gallery: Gallery
    embedded: Mapping[str, EmbeddedQuery]  # for emotion, and for content where scores are mixed
    emotions: Emotions | None
    mixed: Mixed | None
    own: tuple[CacheNote, Item] | None  # what it is, and how that is encoded; None for several together

    def rank(self, wish: Wish, included: Tensor | None) -> tuple[list[Hit], list[Reasons]]:
        """Rank the items that are flagged; say why, if asked for."""
        if self.mixed is None:
            own = self.embedded[EMOTION]
            hits = self.gallery.search(own, top=wish.top, included=included)
            return hits, self.gallery.explain(own, hits) if wish.why else [()] * len(hits)
        gallery = self.mixed.gallery
        hits = gallery.search(self.embedded, top=wish.top, included=included)
        return hits, gallery.explain(self.embedded, hits, included) if wish.why else [()] * len(hits)

    def count(self, included: Tensor | None) -> int:
        """Count the items that are ranked."""
        ranked = self.mixed.gallery.ranked if self.mixed else None
        if ranked is None:
            return len(self.gallery.embedded) if included is None else int(included.sum())
        return len(ranked) if included is None else int(included[ranked].sum())


@dataclass(frozen=True, slots=True)
class Pointed:
    """A place of valence and arousal, as it is compared with a library; the same as :class:`Asked` to the searcher."""

    plane: EmotionPlane
    at: Point
    emotions: None = None
    mixed: None = None
    own: None = None

    def rank(self, wish: Wish, included: Tensor | None) -> tuple[list[Hit], list[Reasons]]:
        """Rank the items that are flagged; there are no reasons but where they lie."""
        hits = self.plane.search((self.at.valence, self.at.arousal), top=wish.top, included=included)
        return hits, [()] * len(hits)

    def count(self, included: Tensor | None) -> int:
        """Count the items that are ranked."""
        return len(self.plane.places) if included is None else int(included.sum())
