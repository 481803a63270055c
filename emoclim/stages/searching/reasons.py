"""Tell what a score is made of, where the entries of what items are compared by have names. Used by search.

Invariant: the contributions of a hit add up to its score, and are what the score itself is computed from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from emoclim.learning import Metric


@dataclass(frozen=True, slots=True)
class Reason:
    """What one named dimension adds to the score of a hit.

    Attributes
    ----------
    name
        Such as a word, a label, or a musical quality.
    contribution
        Part of the score; below 0 where the two differ in it. The product of the two entries, divided by the lengths of
        the vectors: of a cosine m and h, ``m_j h_j / (|m| |h|)``; see :func:`score_terms` for distances.
    query, candidate
        The entries of the two vectors, at unit length.
    """

    name: str
    contribution: float
    query: float
    candidate: float


def score_terms(candidates: Tensor, wanted: Tensor, metric: Metric) -> Tensor:
    """Return what each entry of vectors ``(N, E)`` adds to their products with that of a query, ``(N, E)``.

    Both are of unit length, and augmented where scores are distances: the entry that holds half the squared length of a
    candidate is shared out by the squares that it is the sum of, which is exact.
    """
    terms = candidates * wanted
    if metric == "ip":
        return terms
    squares = candidates[:, :-2].square()
    shares = squares / squares.sum(dim=1, keepdim=True).clamp(min=1e-300)
    return terms[:, :-2] + shares * terms[:, -2:-1]


def rank_reasons(names: Sequence[str], terms: Tensor, candidate: Tensor, query: Tensor) -> tuple[Reason, ...]:
    """Name the terms ``(E,)`` of one score, the greatest first; entries behind the last name add nothing."""
    figures = zip(names, terms.tolist(), query.tolist(), candidate.tolist(), strict=False)
    return tuple(sorted((Reason(*each) for each in figures), key=lambda one: -one.contribution))
