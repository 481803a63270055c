"""Draw joint spaces: the embeddings of several modalities in one plane, one panel for each pair of heads.

Used by evaluations and by the reproduction of papers; conventions as in :mod:`emoclim.reports.plots`.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
MIN_POINTS = 4  # to fit a plane to


@dataclass(frozen=True, slots=True)
class JointSpace:
    """What one pair of heads makes of a split."""

    embeddings: Mapping[Modality, Tensor]  # (N, E)
    labels: Mapping[Modality, Tensor]  # (N,) int64 into `classes`
    classes: Sequence[str]
    title: str = "Joint embedding space (t-SNE)"
    note: str = ""  # what stands below the panel
    tags: Tensor | None = None  # (C, E) of the classes themselves, named where they lie
    fitted: Modality | None = None  # to which UMAP fits the plane, into which all else is brought; None: t-SNE of all


def plot_joint_spaces(spaces: Sequence[JointSpace], path: Path, *, seed: int, perplexity: float = 30.0) -> None:
    """Draw spaces side by side: a colour per class, a marker per modality.

    L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008), on cosine distances; `perplexity` is
    lowered to a third of the items where there are few. Or, where a modality is named, L. McInnes et al., "UMAP:
    Uniform Manifold Approximation and Projection for Dimension Reduction" (2018), fitted to that modality; what has two
    dimensions is drawn as it is. Only neighbourhoods mean something in such a map; axes, sizes of groups and distances
    between groups do not.
    """
    classes = list(dict.fromkeys(name for space in spaces for name in space.classes))
    colours = dict(zip(classes, distinct_colours(len(classes)), strict=True))
    width, height = (8.0, 5.6) if len(spaces) == 1 else (4.2 * len(spaces) + 1.8, 4.6)
    figure = new_figure(width, height)
    for axes, space in zip(figure.subplots(1, len(spaces), squeeze=False)[0], spaces, strict=True):
        _draw(axes, space, colours, seed, perplexity)
        axes.set_title(space.title, **TITLE)
        axes.set_xlabel(fill(space.note, NOTE_WIDTH))
    figure.legend(handles=_legend(spaces, colours), loc="outside right upper", frameon=False)
    save_figure(figure, path)


def _draw(axes: Axes, space: JointSpace, colours: Mapping[str, str], seed: int, perplexity: float) -> None:
    modalities = _in_order(space)
    parts = [space.embeddings[modality] for modality in modalities] + ([] if space.tags is None else [space.tags])
    points = torch.cat([part.detach().cpu().double() for part in parts])
    sizes = list(map(len, parts))
    if space.fitted is None:
        places = in_plane(points, seed, perplexity)
    else:
        start = sum(sizes[: modalities.index(space.fitted)])
        places = _brought(points, slice(start, start + len(space.embeddings[space.fitted])), seed)
    *blocks, named = [*torch.split(places, sizes), *[places[:0]] * (space.tags is None)]
    for name, place in zip(space.classes, named.tolist(), strict=False):
        axes.annotate(shorten(name, MAX_LETTERS), place, color=colours[name], ha="center", weight="bold")
        axes.update_datalim([place])
    for modality, block in zip(modalities, blocks, strict=True):
        colour = [colours[space.classes[label]] for label in space.labels[modality].tolist()]
        marker = MODALITIES[modality].marker
        edge = 0.0 if marker in Line2D.filled_markers else 1.0
        axes.scatter(block[:, 0], block[:, 1], s=18, c=colour, marker=marker, linewidths=edge, alpha=0.75)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.8")


def _legend(spaces: Sequence[JointSpace], colours: Mapping[str, str]) -> list[Line2D]:
    """Make one entry per class, then one per modality, with how many items a single panel shows."""
    first = spaces[0]
    entries: list[tuple[str, str, str]] = [(shorten(name, MAX_LETTERS), one, "s") for name, one in colours.items()]
    entries.append((" ", "none", "none"))
    for modality in _in_order(first):
        size = f" ({len(first.embeddings[modality])})" if len(spaces) == 1 else ""
        entries.append((f"{MODALITIES[modality].name}{size}", "0.35", MODALITIES[modality].marker))
    return [Line2D([], [], color=colour, marker=mark, linestyle="none", label=name) for name, colour, mark in entries]


def _in_order(space: JointSpace) -> list[Modality]:
    return [modality for modality in MODALITIES if modality in space.embeddings]


def in_plane(points: Tensor, seed: int, perplexity: float = 30.0, metric: str = "cosine") -> Tensor:
    """Find places ``(N, 2)`` of points ``(N, E)`` float64 by t-SNE, on distances that scikit-learn has."""
    from sklearn.manifold import TSNE  # takes a second, which no other plot should wait for

    if len(points) < 2:
        return points.new_zeros(len(points), 2)
    differing = int((points != points[0]).any(dim=0).sum())
    start = "pca" if differing >= 2 else "random"  # equal embeddings, of a collapsed head, have no principal axes
    neighbours = min(perplexity, (len(points) - 1) / 3)
    mapping = TSNE(metric=metric, init=start, perplexity=neighbours, random_state=seed)
    return torch.from_numpy(mapping.fit_transform(points.numpy()))


def _brought(points: Tensor, fitted: slice, seed: int) -> Tensor:
    """Find places ``(N, 2)`` of points ``(N, E)`` float64, in a plane that is fitted to some of them."""
    own = points[fitted]
    if points.shape[1] == 2 or len(own) < MIN_POINTS:
        return points[:, :2]
    with warnings.catch_warnings(), _own_threads():
        warnings.simplefilter("ignore")  # on packages that it would like to have, and on seeds
        from umap import UMAP  # compiles for seconds, and is an extra

        mapping = UMAP(n_neighbors=min(15, len(own) - 1), metric="cosine", init="pca", random_state=seed, n_jobs=1)
        placed = mapping.fit_transform(own.numpy())
        rest = torch.cat([points[: fitted.start], points[fitted.stop :]])
        brought = torch.from_numpy(mapping.transform(rest.numpy())) if len(rest) else points[:0, :2]
    return torch.cat([brought[: fitted.start], torch.from_numpy(placed), brought[fitted.start :]]).double()


@contextmanager
def _own_threads() -> Iterator[None]:
    """Set back how many threads torch computes with, which numba raises to all cores behind its back."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
