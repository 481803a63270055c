"""Draw what the loss weights of a sweep do to its validation score, and how much of that is the noise of seeds.

Used where a run is written. Heads that differ in nothing but their seed are one choice, a point is the mean of one, and
nothing is called a lead without what the best of equal choices would lead by.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from torch import Tensor

from emoclim.reports.plots import OKABE_ITO, new_figure, plain_axes

MAX_COLUMNS = 4
PANEL = (3.0, 2.9)  # inches
LETTER = 0.09  # inches, width of an average one at size 11
MIN_TREND = 20  # choices from which a mean over them is drawn
TREND_PARTS = 6


@dataclass(frozen=True, slots=True)
class SweepPoints:
    """The C choices of a sweep that have a score."""

    columns: Mapping[str, Tensor]  # (C,) by name of a panel
    mean: Tensor  # (C,) score, over seeds
    low: Tensor  # (C,) lowest seed
    high: Tensor  # (C,) highest seed
    seeds: Tensor  # (C,) how many
    noise: float  # standard deviation between seeds of one choice, pooled; nan where there is one of each
    chosen: int | None  # its place

    @property
    def middle(self) -> float:
        """Median over choices."""
        return float(self.mean.quantile(0.5))

    @property
    def luck(self) -> float:
        """How far the best of C equal choices would lie above their median by the noise of seeds.

        The largest of n normal values is expected at the quantile (n - 3/8) / (n + 1/4): G. Blom, "Statistical
        Estimates and Transformed Beta-Variables", 1958. What a seed does to all choices alike counts as noise, so luck
        is rather over- than underrated.
        """
        n = len(self.mean)
        return self.noise * NormalDist().inv_cdf((n - 0.375) / (n + 0.25)) * float(self.seeds.rsqrt().mean())


def sweep_points(columns: Mapping[str, Tensor], score: Tensor, choice: Sequence[int], chosen: int) -> SweepPoints:
    """Group K heads by choice: `choice` numbers it, `chosen` is a head; one without a finite score is left out."""
    score = score.detach().cpu().double()
    known = score.isfinite()
    numbers, place = torch.unique(torch.tensor(choice)[known], return_inverse=True)
    parts = [(place == number).nonzero()[:, 0] for number in range(len(numbers))]
    groups = [score[known][part] for part in parts]
    freedom = len(place) - len(parts)
    squares = sum(float((group - group.mean()).square().sum()) for group in groups)
    first = torch.tensor([int(part[0]) for part in parts], dtype=torch.int64)
    numbered = {int(number): index for index, number in enumerate(numbers)}
    return SweepPoints(
        columns={name: values.detach().cpu().double()[known][first] for name, values in columns.items()},
        mean=score.new_tensor([group.mean() for group in groups]),
        low=score.new_tensor([group.min() for group in groups]),
        high=score.new_tensor([group.max() for group in groups]),
        seeds=score.new_tensor([len(group) for group in groups]),
        noise=math.sqrt(squares / freedom) if freedom else math.nan,
        chosen=numbered.get(choice[chosen]),
    )


def findings(points: SweepPoints, score_name: str) -> list[str]:
    """Sentences: the chosen score beside the median, and whether its lead is more than luck."""
    if not len(points.mean):
        return ["No head has a finite score."]
    span = float(points.high.max()) - points.middle
    digits = min(6, max(0, 2 - math.floor(math.log10(span)))) if span else 3  # to resolve a hundredth of it
    told = f"{score_name[:1].upper()}{score_name[1:]} on validation: median {points.middle:.{digits}f}"
    if points.chosen is None:
        return [f"{told}."]
    best = float(points.mean[points.chosen])
    told += f", chosen {best:.{digits}f}."
    if math.isnan(points.noise):
        return [told, "No choice was trained with two seeds: how much of the differences is noise is not known."]
    noise = f"Seeds of one choice differ by ±{points.noise:.{digits}f} (standard deviation)."
    if len(points.mean) == 1:
        return [told, noise]
    lead, luck = best - points.middle, points.luck
    judged = "beyond" if lead > luck else "within"
    return [
        told,
        f"{noise} The chosen one leads the median by {lead:.{digits}f}, {judged} the {luck:.{digits}f} by which the "
        f"best of {len(points.mean)} equal choices would lead it by luck.",
    ]


def sweep_figure(
    weights: Tensor,
    terms: Sequence[str],
    score: Tensor,
    score_name: str,
    choice: Sequence[int],
    chosen: int,
    settings: Mapping[str, Tensor] | None = None,
) -> Figure:
    """Draw the score of K heads (higher is better) over each column of weights ``(K, T)`` and each other setting."""
    named = {f"weight of {term}": column for term, column in zip(terms, weights.unbind(dim=1), strict=True)}
    points = sweep_points(named | dict(settings or {}), score, choice, chosen)
    rows = -(-len(points.columns) // MAX_COLUMNS)
    across = -(-len(points.columns) // rows)
    size = max(2 * PANEL[0], across * PANEL[0]), rows * PANEL[1] + 1.6
    figure = new_figure(*size)
    counts = f"{_count(len(score), 'head')}, {_count(len(set(choice)), 'choice')}"
    lost = int((~score.isfinite()).sum())
    title = f"What the loss weights do: {counts}" + (f" ({lost} left out, without a finite score)" if lost else "")
    sentences = [title, *findings(points, score_name)]
    wrapped = [textwrap.fill(sentence, int(size[0] / LETTER)) for sentence in sentences]
    figure.suptitle("\n".join(wrapped).replace("-", "−"), x=0.12 / size[0], ha="left", size=11)
    panels = plain_axes(figure, rows, across, sharey=True)
    for axes in panels[len(points.columns) :]:
        axes.set_visible(False)
    for number, (axes, (name, x)) in enumerate(zip(panels, points.columns.items(), strict=False)):
        axes.set(xlabel=name, ylabel="" if number % across else score_name)
        if len(points.mean):
            _draw_panel(axes, x, points)
        _scale(axes, x, is_weight=name in named)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_panel(axes: Axes, x: Tensor, points: SweepPoints) -> None:
    if points.luck > 0:
        ends = points.middle - points.luck, points.middle + points.luck
        axes.axhspan(*ends, color="0.9", linewidth=0, zorder=0, label="median ± luck of the best of equal choices")
    if points.seeds.max() > 1:
        axes.vlines(x, points.low, points.high, "0.6", linewidth=0.8, zorder=1, label="lowest to highest seed")
    size = max(2.5, min(5.0, 60 / len(x) ** 0.5))
    axes.plot(x, points.mean, "o", color="0.45", markersize=size, mew=0, zorder=2, label="one choice, mean over seeds")
    if len(x) >= MIN_TREND:
        axes.plot(*_trend(x, points.mean), color=OKABE_ITO[0], linewidth=1.8, zorder=3, label="mean of like choices")
    if points.chosen is not None:
        at = x[[points.chosen]], points.mean[[points.chosen]]
        axes.plot(*at, "*", color=OKABE_ITO[1], mec="white", markersize=14, zorder=4, clip_on=False, label="chosen")
    _leave_out_wild(axes, points)


def _trend(x: Tensor, y: Tensor) -> tuple[list[float], list[float]]:
    """Mean of both in parts of about equal size, where equal `x` stay together."""
    edges = torch.unique(x.quantile(torch.linspace(0, 1, TREND_PARTS + 1, dtype=x.dtype)[1:-1]))
    part = torch.bucketize(x, edges)
    means = [[float(values[part == one].mean()) for one in torch.unique(part)] for values in (x, y)]
    return means[0], means[1]


def _leave_out_wild(axes: Axes, points: SweepPoints) -> None:
    """Limit the scale, so that a few bad choices hide no difference among the rest, and count those below it."""
    room = float(points.high.max()) - points.middle
    floor = points.middle - 4 * room
    if room > 0 and (n_lower := int((points.mean < floor).sum())):
        axes.set_ylim(floor, points.middle + 1.3 * room)
        axes.text(0.98, 0.03, f"↓ {n_lower} lower", transform=axes.transAxes, size=9, ha="right")


def _scale(axes: Axes, x: Tensor, *, is_weight: bool) -> None:
    """From 0 to 1 for a weight; logarithmic for a setting that spans a decade."""
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if is_weight:
        axes.set(xlim=(-0.04, 1.04), xticks=(0, 0.25, 0.5, 0.75, 1), xticklabels=("0", "", "0.5", "", "1"))
        return
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if len(x) and x.min() > 0 and x.max() >= 10 * x.min():
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if x.max() < 30 * x.min() else (1,)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
