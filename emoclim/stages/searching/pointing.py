"""Rank items by how near their emotions lie to a place of valence and arousal. Used by search."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from emoclim.stages.searching.gallery import Hit
from emoclim.stages.searching.ranking import as_rows, rank


class EmotionPlane:
    """Items that lie in the mean of the places of their emotions, by how likely each is.

    Parameters
    ----------
    ids
        Of N items; any sequence.
    emotions
        How likely each of C classes is for each item, in blocks ``(n, C)`` of the N. An item of which that is not known
        is not ranked.
    coordinates
        Valence and arousal of the classes, ``(C, 2)``.

    Examples
    --------
    >>> plane = EmotionPlane(("waltz", "dirge"), [torch.eye(2)], torch.tensor([[0.8, 0.6], [-0.6, -0.8]]))
    >>> [(hit.id, round(hit.score, 2), hit.percentile) for hit in plane.search((0.8, 0.0))]
    [('waltz', -0.6, 50.0), ('dirge', -1.61, 0.0)]
    """

    def __init__(self, ids: Sequence[str], emotions: Iterable[Tensor], coordinates: Tensor) -> None:
        self._ids = ids
        self.places = torch.cat([block.double() @ coordinates.double() for block in emotions]).float()  # (N, 2)

    def search(self, at: tuple[float, float], *, top: int = 5, included: Tensor | None = None) -> list[Hit]:
        """Return the nearest items, scored by the negative distance; equal scores keep their order.

        Their parts are where they lie. `included` is as for :class:`Gallery`.
        """
        rows = as_rows(included, len(self.places))
        scores = -(self.places - torch.tensor(at)).square().sum(dim=1).sqrt()
        known = rows[scores[rows].isfinite()]
        ranking = rank(scores[known], 0.0, lambda some: scores[some], top, known)
        hits = []
        for row, score, percentile in zip(*(each.tolist() for each in ranking[:3]), strict=True):
            place = dict(zip(("valence", "arousal"), self.places[row].tolist(), strict=True))
            hits.append(Hit(self._ids[row], score, percentile, None, parts=place, row=row))
        return hits
