"""Pictures of an evaluation and of a training, and what all pictures of the reports share, as PNG files.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; figures are drawn without pyplot, so that
nothing global changes; a file carries no time and no version, so that the same numbers give the same bytes.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from emoclim.errors import ConfigError
from emoclim.files import write_bytes
from emoclim.reports.retrieval import RetrievalReport
from emoclim.reports.tables import shorten

DPI = 150
MAX_LETTERS = 24  # of a name in a picture
TITLE: Mapping[str, Any] = {"loc": "left", "fontweight": "bold", "pad": 10.0}
# M. Okabe and K. Ito, "Color Universal Design", 2008; the yellow comes last because it is faint on white.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
DARK = 0.55  # share from which a cell is so dark that black does not show on it


def distinct_colours(number: int) -> list[str]:
    """So many distinct colours; beyond the eight of the palette, evenly spaced hues."""
    if number <= len(OKABE_ITO):
        return list(OKABE_ITO[:number])
    return [to_hex(colormaps["turbo"](index / (number - 1))) for index in range(number)]


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of so many inches."""
    return Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))


def plain_axes(figure: Figure, rows: int = 1, columns: int = 1, *, sharey: bool = False) -> list[Axes]:
    """Add panels with two of the four lines around each, and pale horizontal ones behind."""
    panels = list(figure.subplots(rows, columns, sharey=sharey, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
    return panels


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a name is a dollar
    picture = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png", metadata={"Software": None})
    write_bytes(path, picture.getvalue())


def plot_per_class(report: RetrievalReport, path: Path, metric: str = "P@5") -> None:
    """Draw one metric for each class and direction, with whiskers where intervals are known, and random orders."""
    if metric not in report.metrics:
        raise ConfigError(f"the report has no metric {metric!r}; take one of {', '.join(report.metrics)}")
    n_directions = len(report.directions)
    width = 0.8 / n_directions
    sure = any(direction.intervals for direction in report.directions.values())
    bars, entries = n_directions * len(report.classes), n_directions + 1 + sure
    figure = new_figure(max(2.5 + 0.38 * bars, 1.7 * entries), 4.2)
    (axes,) = plain_axes(figure)
    colours = distinct_colours(n_directions)
    for index, direction in enumerate(report.directions.values()):
        places = {name: place + (index - (n_directions - 1) / 2) * width for place, name in enumerate(report.classes)}
        shown = {places[name]: one for name, one in direction.per_class.items() if one.n_queries}
        heights = [100 * one.metrics[metric] for one in shown.values()]
        axes.bar(list(shown), heights, 0.9 * width, color=colours[index], label=direction.title)
        if direction.intervals:
            for name, found in direction.intervals.classes.items():
                if (one := found[metric]).low is not None and one.high is not None:
                    axes.vlines(places[name], 100 * one.low, 100 * one.high, "0.35", linewidth=1.2)
        _mark(axes, list(shown), [100 * one.random[metric] for one in shown.values()], 0.9 * width)
    axes.set_xticks(range(len(report.classes)), [shorten(name, MAX_LETTERS) for name in report.classes])
    axes.set(xlim=(-0.6, len(report.classes) - 0.4), ylim=(0, 100), ylabel=f"{metric} (%)")
    axes.set_title(f"Retrieval by emotion: {metric}", **TITLE)
    handles, _ = axes.get_legend_handles_labels()
    handles.append(Line2D([], [], color="black", linewidth=1.6, label="random order"))
    if sure:
        handles.append(Line2D([], [], color="0.35", linewidth=1.2, marker="|", linestyle="none", label="95 % interval"))
    figure.legend(handles=handles, loc="outside lower center", ncols=entries, frameon=False)
    save_figure(figure, path)


def plot_confusion(report: RetrievalReport, path: Path) -> None:
    """Draw, by direction, of which class the first candidate is, by class of the query; nothing without P@1."""
    shown = [direction for direction in report.directions.values() if direction.confusion]
    if not shown:
        return
    n_columns = min(2, len(shown))
    n_rows = -(-len(shown) // n_columns)
    size = 1.6 + 0.5 * len(report.classes)
    names = [shorten(name, MAX_LETTERS) for name in report.classes]
    figure = new_figure(n_columns * (size + 0.6), n_rows * size)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).flat
    for axes, direction in zip(panels, shown, strict=False):
        table = [[shares.get(name, 0.0) for name in report.classes] for shares in direction.confusion.values()]
        axes.imshow(table, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_yticks(range(len(table)), [shorten(name, MAX_LETTERS) for name in direction.confusion])
        axes.set_title(direction.title, **TITLE)
        axes.set(xlabel="found first", ylabel="asked for")
        for row, shares in enumerate(table):
            for column, share in enumerate(shares):
                colour = "white" if share > DARK else "black"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=9)
    for axes in list(figure.axes)[len(shown) :]:
        axes.set_visible(False)
    save_figure(figure, path)


def plot_history(train: Tensor, val: Tensor, best: Tensor, path: Path) -> None:
    """Draw losses ``(T, K)`` by epoch and mark the epochs that were kept, ``(K,)`` int64 from 0."""
    n_epochs, n_heads = val.shape
    epochs = range(1, n_epochs + 1)
    figure = new_figure(6.4, 4.0)
    (axes,) = plain_axes(figure)
    opacity = max(0.25, n_heads**-0.5)
    for values, colour, name in ((train, OKABE_ITO[0], "train"), (val, OKABE_ITO[1], "validation")):
        names = [name, *["_"] * (n_heads - 1)]  # a name that begins with _ is not in the legend
        axes.plot(epochs, values.cpu().numpy(), color=colour, alpha=opacity, linewidth=1.8, label=names)
    kept = val.cpu().gather(0, best.cpu()[None])[0]
    axes.plot(best.cpu() + 1, kept, "o", color="black", markersize=6, zorder=3, label="kept epoch")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Loss by epoch", **TITLE)
    for line in axes.legend(frameon=False).get_lines():
        line.set_alpha(1)
    save_figure(figure, path)


def _mark(axes: Axes, centres: Sequence[float], heights: Sequence[float], width: float) -> None:
    """Short black lines with a white edge, which show on a bar of any colour."""
    left, right = ([centre + side * width / 2 for centre in centres] for side in (-1, 1))
    axes.hlines(heights, left, right, "white", linewidth=3.5)
    axes.hlines(heights, left, right, "black", linewidth=1.6)
