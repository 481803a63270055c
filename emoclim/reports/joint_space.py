"""Draw joint spaces: the embeddings of several modalities in one plane, one panel for each pair of heads.

Used by evaluations and by the reproduction of papers; conventions as in :mod:`emoclim.reports.plots`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from emoclim.modality import MODALITIES, Modality
from emoclim.reports.plots import MAX_LETTERS, TITLE, distinct_colours, new_figure, save_figure
from emoclim.reports.tables import shorten

NOTE_WIDTH = 45  # letters


@dataclass(frozen=True, slots=True)
class JointSpace:
    """What one pair of heads makes of a split."""

    embeddings: Mapping[Modality, Tensor]  # (N, E)
    labels: Mapping[Modality, Tensor]  # (N,) int64 into `classes`
    classes: Sequence[str]
    title: str = "Joint embedding space (t-SNE)"
    note: str = ""  # what stands below the panel


def plot_joint_spaces(spaces: Sequence[JointSpace], path: Path, *, seed: int, perplexity: float = 30.0) -> None:
    """Draw spaces of the same classes side by side: a colour per class, a marker per modality.

    L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008), on cosine distances; `perplexity` is
    lowered to a third of the items where there are few. Only neighbourhoods mean something in such a map; axes, sizes
    of groups and distances between groups do not.
    """
    width, height = (8.0, 5.6) if len(spaces) == 1 else (4.2 * len(spaces) + 1.8, 4.6)
    figure = new_figure(width, height)
    for axes, space in zip(figure.subplots(1, len(spaces), squeeze=False)[0], spaces, strict=True):
        _draw(axes, space, seed, perplexity)
        axes.set_title(space.title, **TITLE)
        axes.set_xlabel(fill(space.note, NOTE_WIDTH))
    figure.legend(handles=_legend(spaces), loc="outside right upper", frameon=False)
    save_figure(figure, path)


def _draw(axes: Axes, space: JointSpace, seed: int, perplexity: float) -> None:
    modalities = _in_order(space)
    points = torch.cat([space.embeddings[modality].detach().cpu().double() for modality in modalities])
    places = _in_plane(points, seed, perplexity)
    colours = distinct_colours(len(space.classes))
    blocks = torch.split(places, [len(space.embeddings[modality]) for modality in modalities])
    for modality, block in zip(modalities, blocks, strict=True):
        colour = [colours[label] for label in space.labels[modality].tolist()]
        marker = MODALITIES[modality].marker
        edge = 0.0 if marker in Line2D.filled_markers else 1.0
        axes.scatter(block[:, 0], block[:, 1], s=18, c=colour, marker=marker, linewidths=edge, alpha=0.75)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.8")


def _legend(spaces: Sequence[JointSpace]) -> list[Line2D]:
    """Make one entry per class, then one per modality, with how many items a single panel shows."""
    first = spaces[0]
    colours = distinct_colours(len(first.classes))
    entries = [(shorten(name, MAX_LETTERS), colour, "s") for name, colour in zip(first.classes, colours, strict=True)]
    entries.append((" ", "none", "none"))
    for modality in _in_order(first):
        size = f" ({len(first.embeddings[modality])})" if len(spaces) == 1 else ""
        entries.append((f"{MODALITIES[modality].name}{size}", "0.35", MODALITIES[modality].marker))
    return [Line2D([], [], color=colour, marker=mark, linestyle="none", label=name) for name, colour, mark in entries]


def _in_order(space: JointSpace) -> list[Modality]:
    return [modality for modality in MODALITIES if modality in space.embeddings]


def _in_plane(points: Tensor, seed: int, perplexity: float) -> Tensor:
    """Find places ``(N, 2)`` of points ``(N, E)`` float64."""
    from sklearn.manifold import TSNE  # takes a second, which no other plot should wait for

    if len(points) < 2:
        return points.new_zeros(len(points), 2)
    differing = int((points != points[0]).any(dim=0).sum())
    start = "pca" if differing >= 2 else "random"  # equal embeddings, of a collapsed head, have no principal axes
    neighbours = min(perplexity, (len(points) - 1) / 3)
    mapping = TSNE(metric="cosine", init=start, perplexity=neighbours, random_state=seed)
    return torch.from_numpy(mapping.fit_transform(points.numpy()))
