"""Draw an evaluation of tagging as PNG files; conventions as in :mod:`emoclim.reports.plots`."""

import math
from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from emoclim.reports.plots import DPI, OKABE_ITO, TITLE, make_plain, save_figure
from emoclim.reports.tables import Estimate
from emoclim.reports.tagging import FractionReport, TaggingReport, TagScore

METRICS: tuple[tuple[str, Callable[[TagScore], Estimate | None], Callable[[TagScore], float | None]], ...] = (
    ("ROC-AUC", lambda score: score.roc_auc, lambda score: 0.5),
    ("PR-AUC", lambda score: score.average_precision, lambda score: score.random),
)


def plot_tags(report: TaggingReport, path: Path) -> None:
    """Draw both metrics of each tag with their intervals, the most frequent tag on top, beside random scores."""
    scores = sorted(report.per_tag, key=lambda score: score.n_positive)
    figure, panels = _panels(9.0, 1.4 + 0.21 * len(scores))
    for axes, (name, value, random) in zip(panels, METRICS, strict=True):
        axes.grid(axis="x", color="0.9", linewidth=0.8)
        for place, score in enumerate(scores):
            if (chance := random(score)) is not None:
                axes.vlines(100 * chance, place - 0.4, place + 0.4, "black", linewidth=1.6)
            if (found := value(score)) is not None:
                if found.low is not None and found.high is not None:
                    axes.hlines(place, 100 * found.low, 100 * found.high, OKABE_ITO[0], linewidth=1.8)
                axes.plot(100 * found.value, place, "o", color=OKABE_ITO[0], markersize=5, clip_on=False)
        axes.set_yticks(range(len(scores)), [f"{score.name} ({score.n_positive})" for score in scores])
        axes.set_ylim(-0.7, len(scores) - 0.3)
        axes.set_xlim(0, 100)
        axes.set_xlabel(f"{name} (%), 95 % interval; black: random scores")
    panels[1].tick_params(labelleft=False)
    share = report.curve[-1].fraction
    learnt = f", learnt from {100 * share:.3g} % of the training items" if share < 1 else ""
    panels[0].set_title(f"Tagging, tag by tag (how many of {report.n_test} items have it){learnt}", **TITLE)
    save_figure(figure, path)


def plot_curve(report: TaggingReport, path: Path) -> None:
    """Draw the macro metrics against the number of training items: what more of them would be worth."""
    figure, panels = _panels(8.4, 3.8)
    for axes, (name, value, random) in zip(panels, METRICS, strict=True):
        known = [(one, found) for one in report.curve if (found := value(one.macro)) is not None]
        _curve(axes, known)
        if (chance := random(report.macro)) is not None:
            axes.axhline(100 * chance, color="black", linewidth=1.2, linestyle="--")
        axes.set_xscale("log")
        axes.set_xticks([one.n_train for one in report.curve], [f"{100 * one.fraction:.3g}" for one in report.curve])
        axes.minorticks_off()
        axes.set_xlabel(f"% of the training items, {report.curve[-1].n_train} at most")
        axes.set_ylabel(f"{name} (%)")
    panels[0].set_title("Tagging with fewer items; dashed: random scores", **TITLE)
    save_figure(figure, path)


def _curve(axes: Axes, known: list[tuple[FractionReport, Estimate]]) -> None:
    """Draw means over seeds with their deviation, in a band of the 95 % intervals over test items."""
    places = [one.n_train for one, _ in known]
    low, high = (
        [math.nan if end is None else 100 * end for end in ends]
        for ends in ([found.low for _, found in known], [found.high for _, found in known])
    )
    deviations = [100 * (found.deviation or 0) for _, found in known]
    axes.fill_between(places, low, high, color=OKABE_ITO[0], alpha=0.15, linewidth=0)
    axes.errorbar(
        places, [100 * found.value for _, found in known], deviations, color=OKABE_ITO[0], marker="o", capsize=3
    )


def _panels(width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make two plain axes side by side."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    panels = [figure.add_subplot(1, 2, number) for number in (1, 2)]
    for axes in panels:
        make_plain(axes)
    return figure, panels
