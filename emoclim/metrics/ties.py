"""Compute expected metrics where candidates are tied, from counts alone: nothing here sees a score.

Convention: candidates of equal score form a block without order inside, and a metric is its mean over all orders of the
block. A random order is the case of one block that holds every candidate.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

CELLS = 1 << 20  # of query and place, looked at at once; 8 MB each time


@dataclass(frozen=True, slots=True)
class TieBlock:
    """One block of tied candidates per query, and what ranks above it.

    Notes
    -----
    F. McSherry and M. Najork, "Computing information retrieval performance measures efficiently in the presence of tied
    scores", ECIR 2008, section 2.
    """

    above: Tensor  # (Q,) int64: candidates that rank strictly above the block
    size: Tensor  # (Q,) int64: candidates in the block
    hits_above: Tensor  # (Q,) int64: relevant ones above it
    hits: Tensor  # (Q,) int64: relevant ones in it

    @classmethod
    def count(cls, above: Tensor, tied: Tensor, relevant: Tensor) -> Self:
        """Count by query what ranks above a block and what is in it, given ``(Q, C)`` of each class or candidate."""
        return cls(above.sum(dim=1), tied.sum(dim=1), (above * relevant).sum(dim=1), (tied * relevant).sum(dim=1))

    def precision_at(self, k: int | Tensor) -> Tensor:
        """Compute the share of relevant candidates among the first `k`, ``(Q,)`` float64; 0 where a k is 0.

        The k-th place is in the block, or the block is the last one.
        """
        places = torch.as_tensor(k, device=self.above.device)
        inside = torch.minimum(places - self.above, self.size)
        chance = self.hits.double() / self.size.clamp(min=1)
        return (self.hits_above + inside * chance) / places.clamp(min=1)

    def hit_at(self, k: int) -> Tensor:
        """Compute the chance that a relevant candidate is among the first `k`, ``(Q,)`` float64; k is as above."""
        inside = torch.minimum(k - self.above, self.size)
        missed = torch.ones_like(inside, dtype=torch.float64)
        for place in range(int(inside.max()) if len(inside) else 0):
            left = 1 - self.hits / (self.size - place).clamp(min=1).double()
            missed = torch.where(place < inside, missed * left.clamp(min=0), missed)
        return torch.where(self.hits_above > 0, 1.0, 1 - missed)

    def reciprocal_rank(self) -> Tensor:
        """Compute one over the rank of the first relevant candidate, which is in the block; 0 if none is."""
        values = (self.hits > 0) / (self.above.double() + 1.0)
        mixed = ((self.hits > 0) & (self.hits < self.size)).nonzero()[:, 0]
        if len(mixed):
            cases = torch.stack([self.above, self.size, self.hits], dim=1)[mixed]
            distinct, which = _distinct(cases)
            last = int((distinct[:, 1] - distinct[:, 2]).max()) + 1
            parts = torch.split(distinct, max(1, CELLS // last))
            values[mixed] = torch.cat([_first_hit(*part.unbind(dim=1)) for part in parts])[which]
        return values


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of counts, and which of them each row is; ``torch.unique`` of rows is slow."""
    which = rows[:, 0]
    for column in rows.T[1:]:
        which = torch.unique(which * (column.max() + 1) + column, return_inverse=True)[1]
    one = which.new_empty(int(which.max()) + 1)
    one[which] = torch.arange(len(rows), device=rows.device)
    return rows[one], which


def _first_hit(above: Tensor, size: Tensor, hits: Tensor) -> Tensor:
    """Average one over the rank of the first of `hits` relevant candidates among `size` in random order."""
    place = torch.arange(int((size - hits).max()) + 1, dtype=torch.float64, device=above.device)
    # Chance that this place of the block holds a relevant candidate, given that no earlier one does.
    hazard = (hits[:, None] / (size[:, None] - place).clamp(min=1)).clamp(max=1.0)
    none_before = torch.ones_like(hazard)
    none_before[:, 1:] = (1.0 - hazard).cumprod(dim=1)[:, :-1]
    # Summed in order: the zeros behind, as many as the other blocks call for, must not change the last bit.
    return (none_before * hazard / (above[:, None] + place + 1.0)).cumsum(dim=1)[:, -1]


def random_average_precision(n_relevant: Tensor, n_candidates: Tensor) -> Tensor:
    """Compute the average precision of a random order, ``(Q,)`` float64, from counts ``(Q,)`` int64."""
    most = int(n_candidates.max()) if len(n_candidates) else 0
    inverse = 1.0 / torch.arange(1, most + 1, dtype=torch.float64, device=n_candidates.device)
    harmonic = torch.cat([inverse.new_zeros(1), inverse.cumsum(0)])[n_candidates]
    # Given a relevant candidate at one place, each other place holds a relevant one with this chance.
    company = (n_relevant - 1) / (n_candidates - 1).clamp(min=1).double()
    values = (harmonic + company * (n_candidates - harmonic)) / n_candidates.clamp(min=1)
    return values.where(n_relevant > 0, 0.0)
