"""Draw an evaluation of tagging as PNG files; conventions as in :mod:`emoclim.reports.plots`."""

from math import nan
from pathlib import Path

from emoclim.reports.plots import MAX_LETTERS, OKABE_ITO, TITLE, new_figure, plain_axes, save_figure
from emoclim.reports.tables import shorten
from emoclim.reports.tagging import METRICS, SeedMean, TaggingReport


def plot_tags(report: TaggingReport, path: Path) -> None:
    """Draw both metrics of each tag with their intervals, the most frequent tag on top, beside random scores."""
    scores = sorted(report.per_tag, key=lambda score: score.n_positive)
    figure = new_figure(9.0, 1.4 + 0.21 * len(scores))
    panels = plain_axes(figure, columns=2)
    for axes, (name, key) in zip(panels, METRICS.items(), strict=True):
        axes.grid(axis="x", color="0.9", linewidth=0.8)
        known = [(place, found) for place, score in enumerate(scores) if (found := getattr(score, key))]
        chances = [(place, 100 * chance) for place, score in enumerate(scores) if (chance := score.random[key])]
        for place, chance in chances:
            axes.vlines(chance, place - 0.4, place + 0.4, "black", linewidth=1.6)
        values, low, high = _in_percent([found for _, found in known])
        places = [place for place, _ in known]
        axes.hlines(places, low, high, OKABE_ITO[0], linewidth=1.8)
        axes.plot(values, places, "o", color=OKABE_ITO[0], markersize=5, clip_on=False)
        axes.set_yticks(
            range(len(scores)), [f"{shorten(score.name, MAX_LETTERS)} ({score.n_positive})" for score in scores]
        )
        axes.set(xlim=(0, 100), ylim=(-0.7, len(scores) - 0.3))
        axes.set_xlabel(f"{name} (%), 95 % interval; black: random scores")
    panels[1].tick_params(labelleft=False)
    share = report.curve[-1].fraction
    learnt = f", learnt from {100 * share:.3g} % of the training items" if share < 1 else ""
    panels[0].set_title(f"Tagging, tag by tag (how many of {report.n_test} items have it){learnt}", **TITLE)
    save_figure(figure, path)


def plot_curve(report: TaggingReport, path: Path) -> None:
    """Draw the macro metrics against the number of training items: what more of them would be worth.

    Means over seeds have their deviation, in a band of the 95 % intervals over test items.
    """
    figure = new_figure(8.4, 3.8)
    panels = plain_axes(figure, columns=2)
    for axes, (name, key) in zip(panels, METRICS.items(), strict=True):
        known = [(one.n_train, found) for one in report.curve if (found := getattr(one.macro, key))]
        values, low, high = _in_percent([found for _, found in known])
        places, deviations = [n_train for n_train, _ in known], [100 * (found.deviation or 0) for _, found in known]
        axes.fill_between(places, low, high, color=OKABE_ITO[0], alpha=0.15, linewidth=0)
        axes.errorbar(places, values, deviations, color=OKABE_ITO[0], marker="o", capsize=3)
        if chance := report.macro.random[key]:
            axes.axhline(100 * chance, color="black", linewidth=1.2, linestyle="--")
        axes.set_xscale("log")
        axes.set_xticks([one.n_train for one in report.curve], [f"{100 * one.fraction:.3g}" for one in report.curve])
        axes.minorticks_off()
        axes.set_xlabel(f"% of the training items, {report.curve[-1].n_train} at most")
        axes.set_ylabel(f"{name} (%)")
    panels[0].set_title("Tagging with fewer items; dashed: random scores", **TITLE)
    save_figure(figure, path)


def _in_percent(found: list[SeedMean]) -> list[list[float]]:
    """Means, lower and upper ends; nan where there is no interval."""
    ends = ((one.mean for one in found), (one.low for one in found), (one.high for one in found))
    return [[nan if end is None else 100 * end for end in column] for column in ends]
