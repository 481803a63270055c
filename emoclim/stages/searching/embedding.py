"""Embed items and queries, once, as what a search compares. Used by the search, by indexes and by reports.

Invariant: what is compared are float32 rows of unit length, and cosines of these rank as the heads' objective does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.config import Average
from emoclim.data import Features
from emoclim.errors import ManifestError, RunError
from emoclim.learning import Heads, Metric, as_candidates, as_queries, squares_of
from emoclim.modality import Modality


@dataclass(frozen=True, slots=True)
class Segments:
    """What passages of N items are compared by; read for hits only."""

    vectors: Tensor  # (R, E) float32, as candidates, of any length
    offsets: Tensor  # (N + 1,) int64: item n owns rows offsets[n] to offsets[n + 1]
    starts: Tensor  # (R,): where each begins, in seconds; of a text its number

    def of(self, row: int) -> tuple[Tensor, Tensor]:
        """Return the vectors and the starts of one item."""
        first, last = self.offsets[row : row + 2].tolist()
        return self.vectors[first:last], self.starts[first:last]


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the items of a library are compared by.

    Attributes
    ----------
    modality
        Of the items.
    ids
        Of N items; any sequence.
    vectors
        ``(N, E)`` float32, rows of unit length, as candidates (see :func:`as_candidates`); may be memory-mapped.
    metric
        Of the heads: what dimensions mean.
    names
        Of the dimensions; or none.
    segments
        Of the items; None where none are kept.
    """

    modality: Modality
    ids: Sequence[str]
    vectors: Tensor
    metric: Metric
    names: tuple[str, ...] = ()
    segments: Segments | None = None

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class EmbeddedQuery:
    """What a query is compared by; see :func:`embed_query`."""

    wanted: Tensor  # (E,) float32 of unit length; zeros where nothing is asked for
    segments: Segments | None = None  # of this one item, as candidates; None where it has one passage


def embed(
    candidates: Features, heads: Heads, average: Average = "embeddings", longest: Tensor | None = None
) -> Embedded:
    """Embed N candidates by one pair of heads (K = 1); of a part of a library, bring them to the length of its longest.

    Raises
    ------
    CacheMismatch
        The features are of other specs than the heads.
    RunError
        The heads make no finite numbers of the candidates.

    Examples
    --------
    >>> from emoclim.data import FeatureSpec
    >>> from emoclim.learning import Banks, IdentityBank
    >>> spec = FeatureSpec("any", "text", 3, "none", {})
    >>> poems = Features(spec, ("a", "b"), torch.eye(2, 3) * 7)
    >>> embed(poems, Heads(Banks({"text": IdentityBank(1, 3)}), {"text": spec})).vectors.tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    modality = candidates.spec.modality
    vectors, metric = heads.vectors(candidates, average=average)
    if not vectors.isfinite().all():
        raise RunError(f"the heads make no finite numbers of the {modality} features; train again")
    rows = normalize(as_candidates(vectors[0], metric, longest), dim=-1).float()
    return Embedded(modality, candidates.ids, rows, metric, tuple(heads.dimension_names), _segments(candidates, heads))


def longest(candidates: Features, heads: Heads, average: Average = "embeddings") -> Tensor | None:
    """Measure the longest of some candidates, which all of a library are brought to; None where that is of no use."""
    vectors, metric = heads.vectors(candidates, average=average)
    return None if metric == "ip" else squares_of(vectors[0]).max()


def embed_query(query: Features, heads: Heads, candidates: Modality, average: Average = "embeddings") -> EmbeddedQuery:
    """Embed one item as a query for candidates of a modality; for errors see :func:`embed`."""
    vectors, metric = heads.vectors(query, average=average, candidates=candidates)
    wanted = normalize(as_queries(vectors[0], metric), dim=-1).float()[0]
    several = query.windows is not None and len(query.windows[0]) > 1
    return EmbeddedQuery(wanted, _segments(query, heads, candidates) if several else None)


def combine(plus: Sequence[EmbeddedQuery], minus: Sequence[EmbeddedQuery] = ()) -> EmbeddedQuery:
    """Ask for what some queries ask for, and for the contrary of what others do.

    Candidates are ranked by the sum of their scores for `plus` less those for `minus`. Passages of queries are told of
    one alone.

    Raises
    ------
    ManifestError
        Nothing is left to ask for.

    Examples
    --------
    >>> rain, voice = (EmbeddedQuery(row) for row in torch.eye(2))
    >>> combine([rain], [voice]).wanted.tolist()
    [0.7071067690849304, -0.7071067690849304]
    """
    if len(plus) == 1 and not minus:
        return plus[0]
    signed = [one.wanted.double() for one in plus] + [-one.wanted.double() for one in minus]
    total = torch.stack(signed).sum(dim=0) if signed else torch.zeros(1)
    if total.norm() < 1e-5:
        raise ManifestError("what is asked for and what is not cancel each other; leave one of them out")
    return EmbeddedQuery(normalize(total, dim=-1).float())


def nearest_start(segments: Segments, row: int, wanted: Tensor, least: int = 1) -> float | None:
    """Find where the passage of an item begins that is nearest to a vector ``(E,)``; None if it has too few."""
    vectors, starts = segments.of(row)
    return float(starts[int((vectors @ wanted).argmax())]) if len(vectors) >= least else None


def as_asked(rows: Tensor, metric: Metric) -> Tensor:
    """Turn rows of :func:`as_candidates`, scaled by any one number, into the queries that ask for the same."""
    if metric == "ip":
        return rows
    squares = rows[:, :-2].square().sum(dim=1, keepdim=True)
    twice = -2 * rows[:, -2:-1]  # squares by what the rows were divided by
    asked = torch.cat([rows[:, :-2] * twice, squares, torch.zeros_like(squares)], dim=1)
    asked[squares[:, 0] == 0, -2] = 1
    return asked


def _segments(items: Features, heads: Heads, candidates: Modality | None = None) -> Segments | None:
    """Embed the passages of items, of queries for candidates of a modality; None where these have none."""
    if (windows := items.windows) is None:
        return None
    segments, offsets, starts = windows
    each = Features(items.spec, tuple(map(str, range(len(segments)))), segments)
    vectors, metric = heads.vectors(each, average="features", candidates=candidates)
    return Segments(as_candidates(vectors[0], metric).float(), offsets, starts)
