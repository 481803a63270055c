"""Search by several likenesses at once, such as emotion and content. Used by the command."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emoclim.errors import ManifestError, RunError
from emoclim.stages.searching.embedding import EmbeddedQuery
from emoclim.stages.searching.gallery import Gallery, Hit
from emoclim.stages.searching.ranking import ROWS_AT_ONCE, as_rows, error, rank, rescore, scan
from emoclim.stages.searching.reasons import Reason, rank_reasons, score_terms


@dataclass(frozen=True, slots=True)
class _Part:
    """The scores of one gallery for a query, standardised over what is ranked."""

    vectors: Tensor
    wanted: Tensor
    own_rows: Tensor | None  # of each candidate of the first gallery; None where they are the same
    scores: Tensor  # (n,) of what is ranked, in single precision
    mean: float
    spread: float  # 0 where all score alike

    def standard(self, scores: Tensor) -> Tensor:
        return (scores.double() - self.mean) / self.spread if self.spread else torch.zeros_like(scores).double()

    def exact(self, rows: Tensor) -> Tensor:
        return self.standard(rescore(self.vectors, self.wanted, self.own(rows)))

    def own(self, rows: Tensor) -> Tensor:
        return rows if self.own_rows is None else self.own_rows[rows]

    @property
    def error(self) -> float:
        """How far standardised scores may lie from exact ones."""
        return (error(self.wanted) / self.spread) if self.spread else 0.0


class MixedGallery:
    """Galleries of the same items, ranked by the weighted mean of their scores.

    Each score is standardised over the candidates that are ranked for a query, so that a weight means the same whatever
    the scale of a score: 1 is a standard deviation above their mean. Passages are those of the first gallery.

    Parameters
    ----------
    galleries
        By name; their candidates may be embedded by different encoders and are matched by id.
    weights
        By the same names, finite and not negative, one of them above 0.

    Attributes
    ----------
    lacking
        Ids of candidates that a gallery lacks and another has, by its name; these are not ranked.
    ranked
        Rows of all others in the first gallery, ascending; None where these are all that it has.

    Raises
    ------
    RunError
        No candidate is in all galleries.
    """

    def __init__(self, galleries: Mapping[str, Gallery], weights: Mapping[str, float]) -> None:
        self.galleries = dict(galleries)
        total = sum(weights[name] for name in galleries)
        self.weights = {name: weights[name] / total for name in galleries}
        self.lead = next(iter(self.galleries.values()))
        self.lacking: dict[str, tuple[str, ...]] = dict.fromkeys(galleries, ())
        self.ranked: Tensor | None = None
        self._rows: dict[str, Tensor] = {}  # (N,) of the first gallery's candidates, in each; what is lost has any
        listed = {name: one.embedded.ids for name, one in galleries.items()}
        own = self.lead.embedded.ids
        if any(ids is not own and list(ids) != list(own) for ids in listed.values()):
            self._match(listed)

    @property
    def ids(self) -> frozenset[str]:
        """Of what is ranked."""
        ids = self.lead.embedded.ids
        return frozenset(ids if self.ranked is None else (ids[row] for row in self.ranked.tolist()))

    def search(
        self, queries: Mapping[str, EmbeddedQuery], *, top: int = 5, included: Tensor | None = None
    ) -> list[Hit]:
        """Return the best hits of a query, as embedded for each gallery; see :meth:`Gallery.search`.

        One for which a gallery of some weight asks nothing has none.
        """
        if not all(queries[name].wanted.any() for name, weight in self.weights.items() if weight):
            return []
        rows = self._included(included)
        parts = {name: self._part(name, queries[name].wanted, rows) for name in self.galleries}

        def mixed(values: Mapping[str, Tensor]) -> Tensor:
            return torch.stack([self.weights[name] * one for name, one in values.items()]).sum(dim=0).float()

        bound = sum(self.weights[name] * part.error for name, part in parts.items()) + 2.0**-22 * math.sqrt(len(rows))
        approximate = mixed({name: part.standard(part.scores) for name, part in parts.items()})
        ranking = rank(
            approximate, bound, lambda some: mixed({k: one.exact(some) for k, one in parts.items()}), top, rows
        )
        exact = {name: part.exact(ranking.rows).tolist() for name, part in parts.items()}
        hits = self.lead.describe(next(iter(queries.values())), ranking)
        return [replace(hit, parts={name: values[n] for name, values in exact.items()}) for n, hit in enumerate(hits)]

    def explain(
        self, queries: Mapping[str, EmbeddedQuery], hits: Sequence[Hit], included: Tensor | None = None
    ) -> list[tuple[Reason, ...]]:
        """Tell what the score of each hit of one query is made of, each term less its mean over what is ranked.

        A gallery whose dimensions have no names is one reason, called by its own.
        """
        reasons, rows = [list[Reason]() for _ in hits], self._included(included)
        found = torch.tensor([hit.row for hit in hits], dtype=torch.int64)
        for name, one in self.galleries.items():
            part, names, metric = self._part(name, queries[name].wanted, rows), one.embedded.names, one.embedded.metric
            wanted, entries = part.wanted.double(), part.vectors[part.own(found)].double()
            blocks = (part.vectors[part.own(some)].double() for some in torch.split(rows, ROWS_AT_ONCE))
            mean = torch.stack([score_terms(some, wanted, metric).sum(dim=0) for some in blocks]).sum(dim=0) / len(rows)
            terms = score_terms(entries, wanted, metric) - mean
            terms = self.weights[name] * terms / part.spread if part.spread else torch.zeros_like(terms)
            if not names:
                names, terms = (f"{name} as a whole",), terms.sum(dim=1, keepdim=True)
                entries, wanted = score_terms(entries, wanted, metric).sum(dim=1, keepdim=True), wanted.new_ones(1)
            for told, own, entry in zip(reasons, terms, entries, strict=True):
                told += rank_reasons(names, own, entry, wanted)
        return [tuple(sorted(told, key=lambda one: -one.contribution)) for told in reasons]

    def like(self, row: int) -> dict[str, EmbeddedQuery]:
        """Make the query for what is like a candidate of the first gallery, as embedded for each."""
        if self.ranked is not None and row not in self.ranked:
            raise ManifestError(
                f"{self.lead.embedded.ids[row]} lacks features for a part of mixed scores; search without --mix"
            )
        places = {name: int(self._rows[name][row]) if name in self._rows else row for name in self.galleries}
        return {name: one.like(places[name]) for name, one in self.galleries.items()}

    def _match(self, listed: Mapping[str, Sequence[str]]) -> None:
        """Find the first gallery's candidates in the others, by id."""
        places = {name: {id_: row for row, id_ in enumerate(ids)} for name, ids in listed.items()}
        every = dict.fromkeys(id_ for ids in listed.values() for id_ in ids)
        self.lacking = {name: tuple(id_ for id_ in every if id_ not in own) for name, own in places.items()}
        lost = frozenset(id_ for ids in self.lacking.values() for id_ in ids)
        own = self.lead.embedded.ids
        self.ranked = torch.tensor([row for row, id_ in enumerate(own) if id_ not in lost], dtype=torch.int64)
        if not len(self.ranked):
            raise RunError(f"no item of the library has features for each of {' and '.join(listed)}; extract it again")
        self._rows = {name: torch.tensor([of.get(id_, 0) for id_ in own]) for name, of in places.items()}

    def _included(self, included: Tensor | None) -> Tensor:
        """List the rows of the first gallery that are ranked."""
        if self.ranked is None or included is None:
            return as_rows(self.ranked if included is None else included, len(self.lead.embedded))
        flags = torch.zeros(len(self.lead.embedded), dtype=torch.bool)
        flags[self.ranked] = True
        chosen = as_rows(included, len(flags))
        return chosen[flags[chosen]]

    def _part(self, name: str, wanted: Tensor, rows: Tensor) -> _Part:
        """Score what is ranked by one gallery."""
        vectors, own_rows = self.galleries[name].embedded.vectors, self._rows.get(name)
        own = rows if own_rows is None else own_rows[rows]
        scores = scan(vectors, wanted, own)
        if len(own) and scores.max() - scores.min() <= 2 * error(wanted):
            scores = rescore(vectors, wanted, own)  # which may be all alike
        return _Part(vectors, wanted, own_rows, scores, *moments(scores))


def moments(scores: Tensor) -> tuple[float, float]:
    """Return the mean and the standard deviation of scores; 0 for this if all are equal or there are none."""
    if not len(scores) or bool((scores == scores[0]).all()):
        return 0.0, 0.0
    scores = scores.double()
    return float(scores.mean()), float(scores.std(correction=0))
