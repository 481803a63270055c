"""Scores over the simplex of four weights, drawn as a triangle in which the first two are added up.

Conventions as in :mod:`emoclim.reports.figures`; the triangle's corners lie at (-1, 0), (1, 0) and (0, HEIGHT).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Polygon
from numpy.typing import NDArray
from torch import Tensor

from emoclim.reports.repeats import group_means

COLOURS = "viridis"
HEIGHT = math.sqrt(3)  # its sides are 2 long
SMOOTHING = 0.06  # of the local mean: a standard deviation, in units of a weight
CELLS = (120, 104)  # of the shade, along x and y
FEW, MANY = 24, 200  # dots: from the first number on they are shaded, from the second on small


def draw_triangle(axes: Axes, weights: Tensor, score: Tensor, terms: Sequence[str], norm: Normalize) -> None:
    """Draw the mean score of each choice of weights as a dot and, where there are many, their local mean as a shade.

    Parameters
    ----------
    axes
        Empty ones, which lose their frame.
    weights
        ``(K, 4)`` float64, each row summing to 1.
    score
        ``(K,)`` float64, finite; dots of higher ones lie on top.
    terms
        Names of the weights.
    norm
        Which scores the colours span.
    """
    axes.set(xlim=(-1, 1), ylim=(0, HEIGHT), aspect="equal")
    axes.set_axis_off()
    edge = Polygon([(-1, 0), (1, 0), (0, HEIGHT)], facecolor="none", edgecolor="0.4", zorder=1)
    axes.add_patch(edge)
    axes.text(0, HEIGHT + 0.06, f"only {terms[0]}\nand {terms[1]}", ha="center", va="bottom", size=11)
    axes.text(-1.15, -0.06, f"only {terms[2]}", ha="left", va="top", size=11)
    axes.text(1.15, -0.06, f"only {terms[3]}", ha="right", va="top", size=11)
    mean = group_means(score, weights)
    x, y = in_triangle(torch.unique(weights, dim=0))
    if len(mean) >= FEW:
        shade = axes.imshow(_shade(x, y, mean, norm), extent=(-1, 1, 0, HEIGHT), origin="lower", zorder=0)
        shade.set(interpolation="bilinear", clip_path=edge)
    order = mean.argsort()
    size, rim = (60.0, 0.8) if len(mean) < MANY else (14.0, 0.0)
    dots = axes.scatter(x[order], y[order], c=mean[order], s=size, cmap=COLOURS, norm=norm, linewidths=rim, zorder=2)
    dots.set(edgecolor="white", clip_on=False)


def in_triangle(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Places x and y ``(K,)`` of weights ``(K, 4)``."""
    return weights[:, 3] - weights[:, 2], HEIGHT * (weights[:, 0] + weights[:, 1])


def colour_scale(score: Tensor, marked: Tensor) -> Normalize:
    """Scores that the colours span.

    Parameters
    ----------
    score
        ``(K,)``, finite.
    marked
        ``(K,)`` bool: those to be within in any case.

    Returns
    -------
    Normalize
        From at most twice as far below the median as above it, so that a few bad heads hide no difference among the
        rest, to the best.
    """
    if not len(score):
        return Normalize(0, 1)
    middle, high = float(score.quantile(0.5)), float(score.max())
    low = max(float(score.min()), middle - 2 * (high - middle))
    low = min([low, *score[marked].tolist()])
    room = 0.0 if high > low else 0.05 * abs(high) or 1.0
    return Normalize(low - room, high + room)


def _shade(x: Tensor, y: Tensor, score: Tensor, norm: Normalize) -> NDArray[np.float64]:
    """Colours ``(rows, columns, 4)`` of the local mean, paler where few points are near."""
    columns, rows = CELLS
    cell = _cell(y, HEIGHT, rows) * columns + _cell(x + 1, 2.0, columns)
    kernels = _kernel(HEIGHT, rows), _kernel(2.0, columns)
    near, total = (
        kernels[0] @ torch.bincount(cell, values, minlength=rows * columns).reshape(rows, columns) @ kernels[1]
        for values in (torch.ones_like(score), score.clamp(min=norm.vmin))
    )
    colours: NDArray[np.float64] = colormaps[COLOURS](norm((total / near.clamp(min=1e-300)).numpy()))
    colours[..., 3] = near / (near + 0.3)
    return colours


def _cell(place: Tensor, length: float, cells: int) -> Tensor:
    return (place / length * cells).long().clamp(0, cells - 1)


def _kernel(length: float, cells: int) -> Tensor:
    """Weight of each cell for each other, ``(cells, cells)``."""
    centre = (torch.arange(cells, dtype=torch.float64) + 0.5) * length / cells
    return (-0.5 * ((centre[:, None] - centre) / (2 * SMOOTHING)).square()).exp()
