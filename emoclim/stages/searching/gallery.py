"""Search a library for the items nearest to queries. Used by the command and by reports."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.config import Average
from emoclim.data import Features
from emoclim.learning import Heads
from emoclim.modality import MODALITIES
from emoclim.stages.searching.embedding import (
    Embedded,
    EmbeddedQuery,
    Segments,
    as_asked,
    embed,
    embed_query,
    nearest_start,
)
from emoclim.stages.searching.ranking import ExactRanker, Ranker, Ranking
from emoclim.stages.searching.reasons import Reason, rank_reasons, score_terms


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
        Percent of the ranked candidates that score lower; estimated where not all were read.
    start
        Where the candidate's best-matching segment begins, in seconds, or which passage of a text it is, from 0; None
        where no segments are kept, and for a text of one passage.
    query_start
        The same of the query's segment that matches the candidate best; None where it has but one.
    parts
        Of a score that is mixed, what it is the mean of, by name; else none. See :class:`MixedGallery`.
    row
        Which candidate it is, from 0.
    exact
        Whether all candidates were read, so that none is missed and the percentile is no estimate.
    """

    id: str
    score: float
    percentile: float
    start: float | None
    query_start: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    row: int = -1
    exact: bool = True


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
    gallery, excluded = Gallery(embed(candidates, heads, average)), exclude or [()] * len(queries)
    found = []
    for row, out in enumerate(excluded):
        query = embed_query(queries.select(torch.tensor([row])), heads, candidates.spec.modality, average)
        found.append(gallery.search(query, top=top, included=gallery.without(out)))
    return found


class Gallery:
    """Candidates that are embedded once, to be ranked for any number of queries; see :func:`search`.

    Reads nothing but vectors, and may be searched from several threads at once. `ranker` is how vectors are ranked, by
    default exactly. `included` are the candidates that are ranked, all by default: flags ``(N,)``, or their rows,
    ascending.
    """

    def __init__(self, embedded: Embedded, ranker: Ranker | None = None) -> None:
        self.embedded = embedded
        self.rank: Ranker = ranker or ExactRanker(embedded.vectors)
        self._rows: dict[str, int] = {}

    def search(self, query: EmbeddedQuery, *, top: int = 5, included: Tensor | None = None) -> list[Hit]:
        """Return the best hits of a query; none for one that asks nothing."""
        if not query.wanted.any():
            return []
        return self.describe(query, self.rank(query.wanted, top, included))

    def explain(self, query: EmbeddedQuery, hits: Sequence[Hit]) -> list[tuple[Reason, ...]]:
        """Tell what the score of each hit of one query is made of; no reasons where dimensions have no names."""
        if not hits:
            return []
        wanted = query.wanted.double()
        entries = self.embedded.vectors[torch.tensor([hit.row for hit in hits])].double()
        terms = score_terms(entries, wanted, self.embedded.metric)
        return [
            rank_reasons(self.embedded.names, own, entry, wanted) for own, entry in zip(terms, entries, strict=True)
        ]

    def like(self, row: int) -> EmbeddedQuery:
        """Make the query for what is like a candidate."""
        embedded, segments = self.embedded, None
        wanted = normalize(as_asked(embedded.vectors[row : row + 1], embedded.metric).double(), dim=-1).float()[0]
        if embedded.segments is not None:
            vectors, starts = embedded.segments.of(row)
            segments = Segments(vectors, torch.tensor([0, len(vectors)]), starts) if len(vectors) > 1 else None
        return EmbeddedQuery(wanted, segments)

    def without(self, excluded: Collection[str]) -> Tensor | None:
        """Flag the candidates that are ranked, ``(N,)``, where some ids are not; None where all are."""
        if not excluded:
            return None
        if not self._rows:  # of a large library this takes a while, and most is searched without it
            self._rows = {id_: row for row, id_ in enumerate(self.embedded.ids)}
        included = torch.ones(len(self.embedded), dtype=torch.bool)
        included[[self._rows[id_] for id_ in excluded if id_ in self._rows]] = False
        return included

    def describe(self, query: EmbeddedQuery, ranking: Ranking) -> list[Hit]:
        """Make the hits of one query, with the passages that fit best."""
        embedded, own = self.embedded, query.segments
        hits = []
        for row, score, percentile in zip(*(each.tolist() for each in ranking[:3]), strict=True):
            start = query_start = None
            if embedded.segments is not None:
                least = 1 if MODALITIES[embedded.modality].timed else 2  # one passage alone has no number worth telling
                start = nearest_start(embedded.segments, row, query.wanted, least)
            if own is not None:  # for one hit, segments rank alike by either, as products and distances are symmetric
                asked = as_asked(embedded.vectors[row : row + 1], embedded.metric)[0]
                query_start = nearest_start(own, 0, asked)
            hits.append(Hit(embedded.ids[row], score, percentile, start, query_start, row=row, exact=ranking.exact))
        return hits
