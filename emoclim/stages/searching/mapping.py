"""Lay out the items of a library in a plane, so that they can be looked at. Used by search."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.learning import Metric
from emoclim.reports import in_plane

MOST = 20_000  # points that a map has
LANDMARKS = 4_000  # of these that are laid out together, which takes some 20 s; the others lie between them
NEAR = 5  # landmarks that another point lies between


class ItemMap(NamedTuple):
    """Where some items of a library lie in a plane."""

    rows: Tensor  # (P,) int64, ascending: which items
    points: Tensor  # (P, 2) float32; the longer side runs from 0 to 1, the other lies in the middle


def lay_out(vectors: Tensor, metric: Metric = "ip", *, most: int = MOST, seed: int = 0) -> ItemMap:
    """Lay out N items by what they are compared by.

    Parameters
    ----------
    vectors
        ``(N, E)``, as candidates; see :func:`embed`.
    metric
        What these mean.
    most
        Points of the map; of more items, as many are drawn.
    seed
        What draws them, and begins the map.

    Returns
    -------
    ItemMap
        The same for the same items, whatever was laid out before.

    Notes
    -----
    L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008), by cosines, or by distances where
    scores are distances. Of more than 4,000 items as many are laid out, and each other lies in the mean of the five
    nearest of these, weighted by inverse squared distances. Only neighbourhoods mean something; axes, sizes of groups
    and distances between groups do not.

    Examples
    --------
    >>> rows, points = lay_out(torch.eye(8), most=6)
    >>> len(rows), points.shape, float(points.amin()) >= 0, float(points.amax()) <= 1
    (6, torch.Size([6, 2]), True, True)
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(vectors), generator=generator)[:most].sort().values
    drawn = vectors[rows].double()
    drawn = normalize(drawn, dim=1) if metric == "ip" else drawn[:, :-2]
    chosen = torch.randperm(len(drawn), generator=generator)[:LANDMARKS].sort().values
    laid = in_plane(drawn[chosen], seed, metric="cosine" if metric == "ip" else "euclidean").double()
    places = laid if len(chosen) == len(drawn) else _between(drawn, drawn[chosen], laid)
    if not len(places):
        return ItemMap(rows, places.float())
    least, greatest = places.amin(dim=0), places.amax(dim=0)
    span = (greatest - least).amax().clamp(min=1e-12)
    return ItemMap(rows, ((places - (least + greatest) / 2) / span + 0.5).float())


def _between(points: Tensor, landmarks: Tensor, laid: Tensor) -> Tensor:
    """Find places ``(N, 2)`` of points ``(N, E)`` between those of the landmarks that are nearest to each."""
    places = []
    for some in torch.split(points, 1024):
        distances, nearest = torch.cdist(some, landmarks).topk(NEAR, largest=False)
        weights = 1 / (distances.square() + 1e-9)
        weights = weights / weights.sum(dim=1, keepdim=True)
        places.append((weights[:, :, None] * laid[nearest]).sum(dim=1))
    return torch.cat(places)
