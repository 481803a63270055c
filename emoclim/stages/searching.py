"""Search a library for the items nearest to a query."""

from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from emoclim.config import Average
from emoclim.data import Features
from emoclim.learning import Heads, as_candidates, as_queries


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes
    ----------
    id
        Of the candidate.
    score
        Cosine of the query's and the candidate's embeddings, in [-1, 1].
    start
        Seconds at which the candidate's best-matching segment begins; None where no segments are kept.
    """

    id: str
    score: float
    start: float | None


def search(
    query: Features, candidates: Features, heads: Heads, *, top: int = 5, average: Average = "embeddings"
) -> list[Hit]:
    """Rank candidates by their likeness to one query; see :func:`search_each`."""
    return search_each(query, candidates, heads, top=top, average=average)[0]


def search_each(
    queries: Features, candidates: Features, heads: Heads, *, top: int = 5, average: Average = "embeddings"
) -> list[list[Hit]]:
    """Rank candidates by their likeness to each of some queries.

    Parameters
    ----------
    queries
        Features of Q items.
    candidates
        Features of N items.
    heads
        One pair of heads (K = 1), trained on features of the same specs.
    top
        How many to give for each; all if there are fewer.
    average
        See :meth:`Heads.vectors`.

    Returns
    -------
    list of list of Hit
        For each query, best first; equal scores keep the candidates' order.

    Raises
    ------
    CacheMismatch
        The features are of other specs than the heads.
    """
    asked, metric = heads.vectors(queries, average=average)
    wanted = normalize(as_queries(asked[0], metric), dim=-1)  # (Q, E)
    embedded = normalize(as_candidates(heads.vectors(candidates, average=average)[0][0], metric), dim=-1)  # (N, E)
    return [_hits(candidates, heads, embedded, one, top) for one in wanted]


def _hits(candidates: Features, heads: Heads, embedded: torch.Tensor, wanted: torch.Tensor, top: int) -> list[Hit]:
    """Return the best hits of one query's vector ``(E,)``."""
    scores = (embedded.double() @ wanted.double()).float()  # (N,), rounded so that equal items score alike
    best = torch.argsort(scores, descending=True, stable=True)[:top]
    starts = _best_starts(candidates.select(best), heads, wanted)
    return [
        Hit(candidates.ids[row], float(scores[row]), start) for row, start in zip(best.tolist(), starts, strict=True)
    ]


def _best_starts(candidates: Features, heads: Heads, wanted: torch.Tensor) -> list[float | None]:
    """Find where the segment nearest to the query begins, for each candidate."""
    if candidates.windows is None:
        return [None] * len(candidates)
    segments, offsets, begins = candidates.windows
    each = Features(candidates.spec, tuple(str(row) for row in range(len(segments))), segments)
    found, metric = heads.vectors(each, average="features")
    likeness = as_candidates(found[0], metric) @ wanted  # (R,)
    starts: list[float | None] = []
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        starts.append(float(begins[first + int(likeness[first:last].argmax())]) if last > first else None)
    return starts
