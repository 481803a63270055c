"""Search a library for the items nearest to queries. Used by the command and by reports."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.config import Average
from emoclim.data import Features
from emoclim.errors import RunError
from emoclim.learning import Heads, as_candidates, as_queries
from emoclim.modality import MODALITIES, Modality
from emoclim.stages.reasons import Reason, rank_reasons, score_terms


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes
    ----------
    id
        Of the candidate.
    score
        Cosine of the query's and the candidate's embeddings, in [-1, 1]; of mixed scores their mean.
    percentile
        Percent of the ranked candidates that score lower.
    start
        Where the candidate's best-matching segment begins, in seconds, or which passage of a text it is, from 0; None
        where no segments are kept, and for a text of one passage.
    query_start
        The same of the query's segment that matches the candidate best; None where it has but one.
    parts
        Of a score that is mixed, what it is the mean of, by name; else none. See :class:`MixedGallery`.
    """

    id: str
    score: float
    percentile: float
    start: float | None
    query_start: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


class Ranking(NamedTuple):
    """The best candidates of one query, best first; equal scores keep their order."""

    rows: Tensor  # (T,), int64
    scores: Tensor  # (T,)
    percentiles: Tensor  # (T,), percent of the ranked candidates that score lower


def rank(scores: Tensor, included: Tensor, top: int) -> Ranking:
    """Rank those candidates that are included, by scores and flags ``(N,)``."""
    order = torch.argsort(scores, descending=True, stable=True)
    best = order[included[order]][:top]
    lower = torch.searchsorted(scores[included].sort().values, scores[best])
    return Ranking(best, scores[best], 100 * lower.double() / max(1, int(included.sum())))


def search(
    queries: Features,
    candidates: Features,
    heads: Heads,
    *,
    top: int = 5,
    average: Average = "embeddings",
    exclude: Sequence[Collection[str]] = (),
) -> list[list[Hit]]:
    """Rank candidates by their likeness to each of some queries.

    Parameters
    ----------
    queries
        Features of Q items.
    candidates
        Features of N items, of the same modality or another.
    heads
        One pair of heads (K = 1), trained on features of the same specs.
    top
        How many to give for each query; all if there are fewer.
    average
        See :meth:`Heads.vectors`.
    exclude
        By query, ids of candidates that are not ranked for it, such as itself; by default none.

    Returns
    -------
    list of list of Hit
        For each query, best first; equal scores keep the candidates' order. A query for which the heads ask for
        nothing has none.

    Raises
    ------
    CacheMismatch
        The features are of other specs than the heads.
    RunError
        The heads make no finite numbers of the candidates.

    Examples
    --------
    >>> from emoclim import FeatureSpec, Split, TrainConfig, make_objective, train_heads
    >>> specs = {name: FeatureSpec("noise", name, 8, "none", {}) for name in ("text", "speech")}
    >>> rows = {name: Features(spec, tuple("abcd"), torch.eye(4, 8)) for name, spec in specs.items()}
    >>> split = Split(rows, {name: torch.tensor([0, 0, 1, 1]) for name in specs}, ("calm", "glad"))
    >>> config = TrainConfig(epochs=1, batches_per_epoch=2, val_batches=1, batch_size=8)
    >>> objective = make_objective("emo_clim", tuple(specs), [{}])
    >>> heads = train_heads(split, split, objective, [(1, 1, 0, 0)], config, device="cpu").heads
    >>> found = search(rows["text"], rows["speech"], heads, top=3)
    >>> [len(hits) for hits in found]
    [3, 3, 3, 3]
    >>> "a" in {hit.id for hit in search(rows["text"], rows["text"], heads, exclude=["a", "b", "c", "d"])[0]}
    False
    """
    return Gallery(candidates, heads, average).search(queries, top=top, exclude=exclude)


class Gallery:
    """Candidates that are embedded once, to be ranked for any number of queries; see :func:`search`."""

    def __init__(self, candidates: Features, heads: Heads, average: Average = "embeddings") -> None:
        self.candidates, self.heads, self.average = candidates, heads, average
        vectors, metric = heads.vectors(candidates, average=average)
        if not vectors.isfinite().all():
            raise RunError(f"the heads make no finite numbers of the {candidates.spec.modality} features; train again")
        self.entries = normalize(as_candidates(vectors[0], metric), dim=-1).double()  # (N, E)
        self.metric, self.names = metric, heads.dimension_names  # of these entries; there may be no names
        self._rows = {id_: row for row, id_ in enumerate(candidates.ids)}

    def search(self, queries: Features, *, top: int = 5, exclude: Sequence[Collection[str]] = ()) -> list[list[Hit]]:
        """Return the best hits of each query."""
        excluded = exclude or [()] * len(queries)
        return [
            self.describe(queries.select(torch.tensor([row])), one, rank(self.scores(one), self.included(out), top))
            if one.any()
            else []
            for row, (one, out) in enumerate(zip(self.wanted(queries), excluded, strict=True))
        ]

    def explain(self, query: Features, hits: Sequence[Hit]) -> list[tuple[Reason, ...]]:
        """Tell what the score of each hit of one query is made of; no reasons where dimensions have no names."""
        wanted, entries = self.wanted(query)[0].double(), self.entries[self.rows(hits)]
        terms = score_terms(entries, wanted, self.metric)
        return [rank_reasons(self.names, own, entry, wanted) for own, entry in zip(terms, entries, strict=True)]

    def rows(self, hits: Sequence[Hit]) -> Tensor:
        """Find which candidates some hits are, ``(n,)`` int64."""
        return torch.tensor([self._rows[hit.id] for hit in hits], dtype=torch.int64)

    @property
    def ranked(self) -> frozenset[str]:
        """Ids of all candidates."""
        return frozenset(self.candidates.ids)

    def select(self, hits: Sequence[Hit]) -> Features:
        """Select the features of some hits."""
        return self.candidates.select(self.rows(hits))

    def wanted(self, queries: Features) -> Tensor:
        """Return what candidates are compared with, ``(Q, E)``: unit rows, or zeros for a query that asks nothing."""
        vectors, metric = self.heads.vectors(queries, average=self.average, candidates=self.candidates.spec.modality)
        return normalize(as_queries(vectors[0], metric), dim=-1)

    def scores(self, wanted: Tensor) -> Tensor:
        """Return how each candidate scores, ``(N,)``, by the vector ``(E,)`` of one query."""
        return (self.entries @ wanted.double()).float()  # rounded so that equal items score alike

    def included(self, excluded: Collection[str]) -> Tensor:
        """Tell which candidates are ranked, ``(N,)``, where some ids are not."""
        included = torch.ones(len(self.candidates), dtype=torch.bool)
        included[[self._rows[id_] for id_ in excluded if id_ in self._rows]] = False
        return included

    def describe(self, query: Features, wanted: Tensor, ranking: Ranking) -> list[Hit]:
        """Make the hits of one query, with the passages that fit best."""
        chosen = self.candidates.select(ranking.rows)
        starts = self._best_starts(chosen, wanted.expand(len(chosen), -1))
        figures = zip(chosen.ids, ranking.scores.tolist(), ranking.percentiles.tolist(), starts, strict=True)
        hits = [Hit(*each) for each in figures]
        if not hits or query.windows is None or len(query.windows[0]) < 2:
            return hits
        vectors, metric = self.heads.vectors(chosen, average=self.average)
        repeated = query.select(torch.zeros(len(hits), dtype=torch.int64))
        # The two change places: for one hit, segments rank alike by either, as products and distances are symmetric
        starts = self._best_starts(repeated, as_queries(vectors[0], metric), self.candidates.spec.modality)
        return [replace(hit, query_start=start) for hit, start in zip(hits, starts, strict=True)]

    def _best_starts(self, items: Features, wanted: Tensor, candidates: Modality | None = None) -> list[float | None]:
        """Find where the segment nearest to its vector of ``(N, E)`` begins, for each of N items; see Heads.vectors."""
        if items.windows is None:
            return [None] * len(items)
        segments, offsets, begins = items.windows
        each = Features(items.spec, tuple(str(row) for row in range(len(segments))), segments)
        found, metric = self.heads.vectors(each, average="features", candidates=candidates)
        vectors = as_candidates(found[0], metric)  # (R, E)
        starts: list[float | None] = []
        least = 1 if MODALITIES[items.spec.modality].timed else 2  # one passage alone has no number worth telling
        for first, last, one in zip(offsets[:-1].tolist(), offsets[1:].tolist(), wanted, strict=True):
            best = int((vectors[first:last] @ one).argmax()) if last - first >= least else None
            starts.append(None if best is None else float(begins[first + best]))
        return starts
