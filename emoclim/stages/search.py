"""One photo (or clip) -> the nearest items of another modality."""

from dataclasses import dataclass

import torch

from emoclim.features import Features
from emoclim.heads import Average, Heads


@dataclass(frozen=True, slots=True)
class Hit:
    """A candidate, as near as it came.

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
    """Rank candidates by their likeness to one query.

    Parameters
    ----------
    query
        Features of one item.
    candidates
        Features of N items.
    heads
        One pair of heads (K = 1), trained on features of the same specs.
    top
        How many to give; all if there are fewer.
    average
        See :meth:`Heads.embed`.

    Returns
    -------
    list of Hit
        Best first; equal scores keep the candidates' order.

    Raises
    ------
    CacheMismatch
        The features are of other specs than the heads.
    """
    wanted = torch.nn.functional.normalize(heads.embed(query, average=average)[0, 0], dim=-1)  # (E,)
    embedded = torch.nn.functional.normalize(heads.embed(candidates, average=average)[0], dim=-1)  # (N, E)
    scores = (embedded.double() @ wanted.double()).float()  # (N,), rounded so that equal items score alike
    best = torch.argsort(scores, descending=True, stable=True)[:top]
    starts = _best_starts(candidates.select(best), heads, wanted)
    return [
        Hit(candidates.ids[row], float(scores[row]), start) for row, start in zip(best.tolist(), starts, strict=True)
    ]


def _best_starts(candidates: Features, heads: Heads, wanted: torch.Tensor) -> list[float | None]:
    """Where the segment nearest to the query begins, for each candidate."""
    if candidates.windows is None:
        return [None] * len(candidates)
    segments, offsets, begins = candidates.windows
    each = Features(candidates.spec, tuple(str(row) for row in range(len(segments))), segments)
    likeness = heads.embed(each, average="features")[0] @ wanted  # (R,)
    starts: list[float | None] = []
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        starts.append(float(begins[first + int(likeness[first:last].argmax())]) if last > first else None)
    return starts
