"""Rank items by how near their emotions lie to a place of valence and arousal. Used by search."""

from collections.abc import Sequence

import torch
from torch import Tensor

from emoclim.stages.searching.gallery import Hit
from emoclim.stages.searching.ranking import ROWS_AT_ONCE, as_rows, rank


class EmotionPlane:
    """Items that lie in the mean of the places of their emotions, by how likely each is.

    Parameters
    ----------
    ids
        Of N items; any sequence.
    emotions
        How likely each of C classes is for each item, ``(N, C)``; may be memory-mapped. An item of which none is known
        is not ranked.
    coordinates
        Valence and arousal of the classes, ``(C, 2)``.

    Examples
    --------
    >>> plane = EmotionPlane(("waltz", "dirge"), torch.eye(2), torch.tensor([[0.8, 0.6], [-0.6, -0.8]]))
    >>> [(hit.id, round(hit.score, 2), hit.percentile) for hit in plane.search((0.8, 0.0))]
    [('waltz', -0.6, 50.0), ('dirge', -1.61, 0.0)]
    """

    def __init__(self, ids: Sequence[str], emotions: Tensor, coordinates: Tensor) -> None:
        self._ids = ids
        blocks = [rows.double() @ coordinates.double() for rows in torch.split(emotions, ROWS_AT_ONCE)]
        self.places = torch.cat(blocks).float()  # (N, 2)

    def search(self, at: tuple[float, float], *, top: int = 5, included: Tensor | None = None) -> list[Hit]:
        """Return the nearest items, scored by the negative distance; equal scores keep their order.

        `included` is as for :class:`Gallery`.
        """
        rows = as_rows(included, len(self.places))
        scores = -(self.places - torch.tensor(at)).square().sum(dim=1).sqrt()
        known = rows[scores[rows].isfinite()]
        ranking = rank(scores[known], 0.0, lambda some: scores[some], top, known)
        figures = zip(*(each.tolist() for each in ranking[:3]), strict=True)
        return [Hit(self._ids[row], score, percentile, None, row=row) for row, score, percentile in figures]
