"""The picture of a sweep: what the loss weights do to validation, and whether that is more than noise.

Conventions as in :mod:`emoclim.reports.figures` and :mod:`emoclim.reports.repeats`; lengths are inches, measured from
the lower left corner of the figure.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from torch import Tensor

from emoclim.reports.figures import DPI, OKABE_ITO, make_plain, save_figure
from emoclim.reports.repeats import Scored, group_means, luck_of, noise_of, scored, trend_of
from emoclim.reports.triangle import COLOURS, colour_scale, draw_triangle, in_triangle

CHOSEN: Mapping[str, Any] = {"marker": "*", "color": OKABE_ITO[1], "markeredgecolor": "white", "markersize": 13}
EVEN: Mapping[str, Any] = {"marker": "o", "color": "none", "mec": "black", "mew": 1.8, "markersize": 15}
NOISE: Mapping[str, Any] = {"color": "0.88", "linewidth": 0, "zorder": 0, "label": "even weights ± noise of repeats"}
TREND: Mapping[str, Any] = {"color": OKABE_ITO[0], "linewidth": 1.8, "marker": "o", "markersize": 4.5}
TOP, BOTTOM, LEFT = 1.55, 1.15, 6.0  # margins of the panels
PANEL, GAP, HEADING = 2.05, 0.2, 0.45  # a panel's width, and what lies between two and above each
BARS = 41  # odd, so that equal scores stand in the middle one
TEMPERATURE = "temperature"


def plot_sweep(
    weights: Tensor,
    terms: Sequence[str],
    metrics: Mapping[str, Tensor],
    score: Tensor,
    score_name: str,
    chosen: int,
    path: Path,
    *,
    temperature: Tensor | None = None,
) -> None:
    """Write what :func:`sweep_figure` draws into the PNG file `path`."""
    save_figure(sweep_figure(weights, terms, metrics, score, score_name, chosen, temperature=temperature), path)


def sweep_figure(
    weights: Tensor,
    terms: Sequence[str],
    metrics: Mapping[str, Tensor],
    score: Tensor,
    score_name: str,
    chosen: int,
    *,
    temperature: Tensor | None = None,
) -> Figure:
    """Draw the score over the simplex of the loss weights, and each metric against each weight.

    Parameters
    ----------
    weights
        ``(K, 4)``, each row summing to 1.
    terms
        Names of the four terms; the first two share a corner of the triangle.
    metrics
        ``(K,)`` shares from 0 to 1, by name; nan is left out.
    score
        ``(K,)``: what the choice was made by, higher is better, of each head by itself: one that was averaged over
        repeats hides their noise. A head whose score is not finite is left out, and counted.
    score_name
        What it is called.
    chosen
        Row of the chosen head.
    temperature
        ``(K,)``, positive; where it varies, it is drawn as a weight is.

    Returns
    -------
    Figure
        A dot in the triangle is the mean over all heads of its weights, one in a panel is one head. The marks of the
        chosen head and of even weights are means over repeats, at the same temperature if there are such.
    """
    temperature = torch.ones(len(weights)) if temperature is None else temperature
    heads = scored(weights, temperature, metrics, score, chosen)
    columns = {f"weight of {term}": column for term, column in zip(terms, heads.weights.unbind(dim=1), strict=True)}
    if len(torch.unique(heads.temperature)) > 1:
        columns[TEMPERATURE] = heads.temperature
    height = max(7.8, TOP + BOTTOM + 1.75 * len(metrics) - HEADING)
    figure = Figure(figsize=(LEFT + len(columns) * (PANEL + GAP), height), dpi=DPI)
    _tell(figure, heads, weights, score_name)
    norm = colour_scale(heads.score, heads.even | heads.chosen)
    triangle = _place(figure, 0.6, 2.95, 4.5, height - TOP - 3.35)
    draw_triangle(triangle, heads.weights, heads.score, terms, norm)
    _mark(triangle, *in_triangle(heads.weights), heads)
    _draw_scores(_place(figure, 0.8, 1.75, 4.1, 0.7), _place(figure, 0.8, 1.57, 4.1, 0.18), heads, score_name, norm)
    _draw_panels(figure, columns, heads)
    shown = [zip(*axes.get_legend_handles_labels()[::-1], strict=True) for axes in figure.axes]
    entries = {label: handle for pairs in shown for label, handle in pairs}
    figure.legend(entries.values(), entries.keys(), loc="lower center", ncols=5, frameon=False)
    return figure


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _tell(figure: Figure, heads: Scored, weights: Tensor, score_name: str) -> None:
    """Lines of text at the top: what was tried, what came of it, and what luck alone would give."""
    n_lost = len(weights) - len(heads.score)
    counts = _count(len(weights), "head"), _count(len(torch.unique(weights, dim=0)), "choice")
    title = f"What the loss weights do: {', '.join(counts)} of weights"
    title += f" ({n_lost} left out, without a finite score)" if n_lost else ""
    across, up = figure.get_size_inches()
    figure.text(0.3 / across, 1 - 0.2 / up, title, va="top", size=15, weight="bold")
    for row, line in enumerate(_findings(heads, score_name)):
        figure.text(0.3 / across, 1 - (0.6 + 0.26 * row) / up, line.replace("-", "−"), va="top", size=11)


def _findings(heads: Scored, score_name: str) -> list[str]:
    """The chosen score beside those of even weights and of the middle, and the noise."""
    if not len(heads.score):
        return ["No head has a finite score."]
    by_setting = group_means(heads.score, heads.setting)
    best, even, middle = _mean(heads.score[heads.chosen]), _mean(heads.score[heads.even]), _middle(by_setting)
    span = float(heads.score.max() - heads.score.min())
    digits = min(6, max(0, 2 - math.floor(math.log10(span)))) if span else 3  # to resolve a hundredth of it
    named = {"chosen": best, "even weights": even, "median": middle}
    values = ", ".join(f"{name} {value:.{digits}f}" for name, value in named.items() if not math.isnan(value))
    noise = noise_of(heads.score, heads.setting)
    if math.isnan(noise):
        doubt = "Nothing was trained twice: how much of the differences is noise is not known."
    elif noise <= 1e-6 * span:
        doubt = "Repeats have equal scores: their noise is that of the metrics."
    else:
        doubt = f"Repeats differ by ±{noise:.{digits}f}."
        if len(by_setting) > 1 and not math.isnan(best):
            doubt += (
                f" The chosen setting leads the median by {best - middle:.{digits}f}; were all {len(by_setting)} "
                f"alike, the best would still lead it by about {luck_of(noise, heads.setting):.{digits}f}, by luck."
            )
    return [f"{score_name[:1].upper()}{score_name[1:]} on validation: {values}.", doubt]


def _mean(values: Tensor) -> float:
    return float(values.nanmean())


def _middle(values: Tensor) -> float:
    return float(values.nanquantile(0.5)) if len(values) else math.nan


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _mark(axes: Axes, x: Tensor, y: Tensor, heads: Scored) -> None:
    """Mark the chosen head and even weights."""
    named = ", ".join(f"{weight:.2f}" for weight in heads.weights[heads.chosen][:1].flatten().tolist())
    if len(torch.unique(heads.temperature)) > 1:
        named += f"; {TEMPERATURE} {_mean(heads.temperature[heads.chosen]):.3g}"
    for label, which, style in (
        ("even weights (0.25 each)", heads.even, EVEN),
        (f"chosen ({named})", heads.chosen, CHOSEN),
    ):
        if which.any():
            place = _mean(x[which]), _mean(y[which])
            axes.plot(*([value] for value in place), linestyle="none", zorder=4, clip_on=False, label=label, **style)


def _band(axes: Axes, values: Tensor, heads: Scored, *, upright: bool = False) -> None:
    """A band of the noise of repeats around even weights, where both are known."""
    middle, noise = _mean(values[heads.even]), noise_of(values, heads.setting)
    if noise > 1e-9 and math.isfinite(middle):
        (axes.axvspan if upright else axes.axhspan)(middle - noise, middle + noise, **NOISE)


def _draw_scores(axes: Axes, below: Axes, heads: Scored, score_name: str, norm: Normalize) -> None:
    """How many heads have which score, over the scale of the colours."""
    colours = ScalarMappable(norm, COLOURS)
    scale = axes.figure.colorbar(colours, cax=below, orientation="horizontal")
    scale.outline.set_visible(False)
    scale.locator = MaxNLocator(5)
    below.set_xlabel(f"{score_name} (bars: number of heads)")
    axes.set_axis_off()
    low, high = below.get_xlim()
    edges = torch.linspace(low, high, BARS + 1, dtype=torch.float64)
    counts = torch.histogram(heads.score, edges).hist
    middle, top = (edges[1:] + edges[:-1]) / 2, max(1.0, float(counts.max()))
    axes.bar(middle, counts, 0.9 * (edges[1:] - edges[:-1]), color=colours.to_rgba(middle.numpy()))
    axes.set(xlim=(low, high), ylim=(0, 1.7 * top))
    if n_lower := int((heads.score < low).sum()):
        axes.text(0, 0.68, f"← {n_lower} lower", transform=axes.transAxes, size=9)
    _band(axes, heads.score, heads, upright=True)
    _mark(axes, heads.score, torch.full_like(heads.score, 1.45 * top), heads)


def _draw_panels(figure: Figure, columns: Mapping[str, Tensor], heads: Scored) -> None:
    """A row for each metric, a column for each weight."""
    height = (figure.get_figheight() - TOP - BOTTOM + HEADING) / max(1, len(heads.metrics))
    for row, (name, values) in enumerate(heads.metrics.items()):
        bottom = BOTTOM + (len(heads.metrics) - 1 - row) * height
        panels = [
            _place(figure, LEFT + n * (PANEL + GAP), bottom, PANEL, height - HEADING) for n in range(len(columns))
        ]
        for axes, (label, x) in zip(panels, columns.items(), strict=True):
            axes.sharey(panels[0])
            _draw_panel(axes, x, values, heads)
            _scale_below(axes, label, x)
            axes.tick_params(labelleft=axes is panels[0], labelbottom=row == len(heads.metrics) - 1)
            axes.set_xlabel(label if row == len(heads.metrics) - 1 else "")
        told = {
            "★": _mean(values[heads.chosen]),
            "○": _mean(values[heads.even]),
            "median": _middle(values),
            "repeats ±": noise_of(values, heads.setting),
        }
        numbers = "     ".join(f"{key} {value:.1f}" for key, value in told.items() if math.isfinite(value))
        for axes, text, side, weight in ((panels[0], f"{name} (%)", 0, "bold"), (panels[-1], numbers, 1, "normal")):
            axes.set_title(text, loc=("left", "right")[side], size=10.5, weight=weight, pad=7.0)


def _draw_panel(axes: Axes, x: Tensor, y: Tensor, heads: Scored) -> None:
    make_plain(axes)
    axes.margins(y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
    if not y.isfinite().any():
        axes.set(ylim=(0, 100))
        return
    _band(axes, y, heads)
    size = max(2.4, min(5.0, 60 / max(1, len(x)) ** 0.5))
    axes.plot(x, y, "o", color="0.5", markersize=size, markeredgewidth=0, alpha=0.5, zorder=1, label="one head")
    at, mean, error = trend_of(x, y, heads.setting)
    if len(at):
        axes.errorbar(at, mean, 2 * error, zorder=3, label="mean of like weights ± 2 standard errors", **TREND)
    _mark(axes, x, y, heads)


def _scale_below(axes: Axes, label: str, x: Tensor) -> None:
    """A weight goes from 0 to 1; a temperature is drawn by its logarithm where it spans a decade."""
    if label != TEMPERATURE:
        axes.set(xlim=(-0.06, 1.06), xticks=(0, 0.5, 1))
        return
    wide = float(x.max() / x.min())
    if wide >= 10:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(4) if wide < 10 else LogLocator(subs=(1, 2, 5) if wide < 30 else (1,)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
