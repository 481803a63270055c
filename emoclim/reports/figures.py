"""Figures and their files, as all pictures of a report share them.

Conventions: colours are those of Okabe and Ito, which colour-blind readers can tell apart; figures are drawn without
pyplot, so that nothing global changes; a file carries no time and no version, so that the same numbers give the same
bytes, and it appears whole or not at all.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

DPI = 150
TITLE: Mapping[str, Any] = {"loc": "left", "fontweight": "bold", "pad": 10.0}
# M. Okabe and K. Ito, "Color Universal Design", 2008; the yellow comes last because it is faint on white.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def distinct_colours(number: int) -> list[str]:
    """So many distinct colours; beyond the eight of the palette, evenly spaced hues."""
    if number <= len(OKABE_ITO):
        return list(OKABE_ITO[:number])
    return [to_hex(colormaps["turbo"](index / (number - 1))) for index in range(number)]


def single_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of plain axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    axes = figure.add_subplot()
    make_plain(axes)
    return figure, axes


def make_plain(axes: Axes) -> None:
    """Leave two of the four lines around, and draw pale horizontal ones behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure beside `path`, then rename it into place."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a name is a dollar
    picture = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png", metadata={"Software": None})
    aside = path.with_name(f"{path.name}.partial")
    aside.write_bytes(picture.getvalue())
    aside.replace(path)
