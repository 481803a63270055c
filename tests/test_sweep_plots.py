"""The picture of a sweep: what it shows, what it says of noise, and that it can be read whatever is drawn."""

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from emoclim.reports.repeats import group_means, luck_of, noise_of, scored, trend_of
from emoclim.reports.sweep_plots import plot_sweep, sweep_figure
from emoclim.reports.triangle import HEIGHT, colour_scale, in_triangle
from emoclim.sweep import simplex_points

TERMS = ("image → music", "music → image", "image → image", "music → music")
METRICS = ("P@5 image → music", "P@5 music → image", "MRR image → music", "MRR music → image")
EVEN, CHOSEN, DOTS, TREND, NOISE = "even weights (0.25 each)", "chosen (", "one head", "mean of", "even weights ± noise"


def sweep(n_weights: int, *, repeats: int = 1, temperatures: Sequence[float] = (0.07,), noise: float = 0.01) -> Any:
    """Arguments for a picture: metrics rise with the first two weights, up to a half."""
    generator = torch.Generator().manual_seed(n_weights)
    weights = torch.tensor(simplex_points(n_weights, 4, 1)).repeat(repeats * len(temperatures), 1)
    temperature = torch.tensor(temperatures).repeat_interleave(n_weights).repeat(repeats)
    clean = 0.2 + 0.2 * (weights[:, 0] + weights[:, 1]).clamp(max=0.5)
    metrics = {name: clean + noise * torch.randn(len(weights), generator=generator) for name in METRICS}
    score = torch.stack(list(metrics.values())).mean(dim=0)
    return {
        "weights": weights,
        "terms": TERMS,
        "metrics": metrics,
        "score": score,
        "score_name": "mean of P@5 and MRR",
        "chosen": int(score.argmax()),
        "temperature": temperature,
    }


def panels(figure: Figure) -> list[list[Axes]]:
    """Those of each metric, from the first weight to the last; before them lie triangle, bars and colours."""
    rest = figure.axes[3:]
    width = len(rest) // len(METRICS)
    return [rest[first : first + width] for first in range(0, len(rest), width)]


def line(axes: Axes, label: str) -> Any:
    """The line of a label that begins so, or None."""
    found = [one for one in axes.get_lines() if str(one.get_label()).startswith(label)]
    assert len(found) < 2
    return found[0] if found else None


def place(axes: Axes, label: str) -> list[float]:
    """Where the one point of a mark lies."""
    mark = line(axes, label)
    assert mark is not None
    ((x, y),) = mark.get_xydata()
    return [x, y]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def headings(axes: Axes) -> str:
    return axes.get_title(loc="left") + axes.get_title(loc="right")


@pytest.mark.parametrize("n_heads", [1, 8, 64, 1000])
def test_every_head_is_in_every_panel(n_heads: int) -> None:
    given = sweep(n_heads)
    rows = panels(sweep_figure(**given))
    assert [len(row) for row in rows] == [4, 4, 4, 4]
    for row, values in zip(rows, given["metrics"].values(), strict=True):
        assert len({axes.get_ylim() for axes in row}) == 1
        for axes, weight in zip(row, given["weights"].unbind(dim=1), strict=True):
            dots = line(axes, DOTS)
            assert dots is not None
            expected = torch.stack([weight, 100 * values], dim=1).double()
            torch.testing.assert_close(torch.from_numpy(dots.get_xydata()), expected, rtol=0, atol=1e-4)


def test_marks_stand_at_the_chosen_head_and_at_even_weights() -> None:
    given = sweep(64)
    weights, chosen = given["weights"], given["chosen"]
    assert chosen != 0
    figure = sweep_figure(**given)
    for mark, head in ((CHOSEN, chosen), (EVEN, 0)):
        x, y = in_triangle(weights[head : head + 1])
        assert place(figure.axes[0], mark) == pytest.approx([float(x), float(y)], abs=1e-6)
        assert place(figure.axes[1], mark)[0] == pytest.approx(float(given["score"][head]))
        for row, values in zip(panels(figure), given["metrics"].values(), strict=True):
            for axes, weight in zip(row, weights[head].tolist(), strict=True):
                assert place(axes, mark) == pytest.approx([weight, 100 * float(values[head])], rel=1e-5)
    assert f"chosen ({', '.join(f'{weight:.2f}' for weight in weights[chosen].tolist())})" in legend(figure)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_corners_and_centre_of_the_triangle() -> None:
    weights = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0.25, 0.25, 0.25, 0.25]])
    x, y = in_triangle(weights)
    assert x.tolist() == [0, 0, -1, 1, 0]
    assert y.tolist() == pytest.approx([HEIGHT, HEIGHT, 0, 0, HEIGHT / 2])


def test_a_dot_of_the_triangle_is_the_mean_of_its_weights_and_the_best_lie_on_top() -> None:
    given = sweep(30, repeats=3, temperatures=(0.05, 0.1))
    (dots,) = sweep_figure(**given).axes[0].collections
    values = np.asarray(dots.get_array())
    assert len(values) == 30
    assert (np.diff(values) >= 0).all()
    expected = given["score"].reshape(6, 30).mean(dim=0).sort().values
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize(("n_weights", "shaded"), [(8, False), (64, True), (1000, True)])
def test_the_triangle_is_shaded_where_there_is_something_to_average(n_weights: int, shaded: bool) -> None:
    assert bool(sweep_figure(**sweep(n_weights)).axes[0].images) == shaded


def test_the_shade_shows_which_region_is_good() -> None:
    """Scores rise from the base of the triangle to its top, so the colours do, from dark to light."""
    given = sweep(200, noise=0.0)
    given["score"] = given["weights"][:, :2].sum(dim=1)
    (image,) = sweep_figure(**given).axes[0].images
    column = np.asarray(image.get_array())[:, 60]  # from the base to the top
    light = column[:, :3].mean(axis=1)
    assert (np.diff(light[10:-10:8]) > 0).all()
    assert (column[:, 3] > 0.5).mean() > 0.9


def test_one_wild_head_hides_no_difference_among_the_rest() -> None:
    score = torch.linspace(0.4, 0.5, 51).double()
    score[20] = -50.0
    nothing = torch.zeros(51, dtype=torch.bool)
    norm = colour_scale(score, nothing)
    assert norm.vmin == pytest.approx(0.35, abs=0.01)
    assert norm.vmax == 0.5
    assert colour_scale(score, score < 0).vmin == -50.0
    given = sweep(51) | {"score": score, "chosen": 50}
    assert [text.get_text() for text in sweep_figure(**given).axes[1].texts] == ["← 1 lower"]


def test_bars_count_the_heads() -> None:
    given = sweep(64, repeats=2)
    axes = sweep_figure(**given).axes[1]
    low, high = axes.get_xlim()
    edges = torch.linspace(low, high, 42)
    expected = [int(((given["score"] >= a) & (given["score"] < b)).sum()) for a, b in pairwise(edges)]
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert heights[:-1] == expected[:-1]
    assert heights[-1] == expected[-1] + 1  # the best lies on the last edge
    assert sum(heights) == 128 - sum(int(text.get_text().split()[1]) for text in axes.texts)


def test_noise_is_told_where_there_are_repeats() -> None:
    given = sweep(64, repeats=3)
    figure = sweep_figure(**given)
    by_repeat = given["score"].reshape(3, 64)
    noise = by_repeat.var(dim=0).mean().sqrt()
    middle = by_repeat.mean(dim=0).quantile(0.5)
    lead = by_repeat.mean(dim=0)[given["chosen"] % 64] - middle
    assert f"Repeats differ by ±{noise:.3f}. The chosen setting leads the median by {lead:.3f}" in texts(figure)[2]
    name, values = next(iter(given["metrics"].items()))
    first = panels(figure)[0]
    spread = 100 * values.reshape(3, 64).var(dim=0).mean().sqrt()
    assert headings(first[0]) == f"{name} (%)"
    assert f"repeats ± {spread:.1f}" in headings(first[3])
    band: Any
    (band,) = [patch for patch in first[0].patches if str(patch.get_label()).startswith(NOISE)]
    even = 100 * float(values[::64].mean())
    assert band.get_extents().height > 0
    assert (band.get_y(), band.get_height()) == pytest.approx((even - float(spread), 2 * float(spread)), rel=1e-4)


def test_noise_is_not_made_up_where_there_are_none() -> None:
    figure = sweep_figure(**sweep(64))
    assert texts(figure)[2] == "Nothing was trained twice: how much of the differences is noise is not known."
    assert not any("±" in headings(axes) for row in panels(figure) for axes in row)
    assert not any(label.startswith(NOISE) for label in legend(figure))


def test_scores_averaged_over_repeats_hide_no_noise() -> None:
    given = sweep(64, repeats=3)
    given["score"] = given["score"].reshape(3, 64).mean(dim=0).repeat(3)
    figure = sweep_figure(**given)
    assert texts(figure)[2] == "Repeats have equal scores: their noise is that of the metrics."
    assert "repeats ±" in headings(panels(figure)[0][3])


def test_marks_of_repeated_heads_stand_at_their_means() -> None:
    given = sweep(64, repeats=3)
    row = panels(sweep_figure(**given))[1]
    values = 100 * given["metrics"][METRICS[1]].reshape(3, 64).mean(dim=0)
    assert place(row[0], CHOSEN)[1] == pytest.approx(float(values[given["chosen"] % 64]), rel=1e-5)
    assert place(row[0], EVEN)[1] == pytest.approx(float(values[0]), rel=1e-5)


def test_a_temperature_that_varies_has_a_column_of_its_own() -> None:
    given = sweep(20, temperatures=(0.02, 0.07, 0.3))
    given["chosen"] = 27  # the eighth weights at the second temperature
    figure = sweep_figure(**given)
    rows = panels(figure)
    assert [len(row) for row in rows] == [5, 5, 5, 5]
    last = rows[3][4]
    assert (last.get_xlabel(), last.get_xscale()) == ("temperature", "log")
    trend: Any = last.containers[0]
    assert trend.lines[0].get_xdata().tolist() == pytest.approx([0.02, 0.07, 0.3])
    even_there = 100 * float(given["metrics"][METRICS[3]][20])
    assert place(last, EVEN) == pytest.approx([0.07, even_there], rel=1e-5)  # not the mean over temperatures
    assert any(label.endswith("; temperature 0.07)") for label in legend(figure))
    assert len(panels(sweep_figure(**given | {"temperature": None}))[0]) == 4


def test_lost_heads_are_left_out_and_counted() -> None:
    given = sweep(64)
    given["chosen"] = 40
    expected = torch.ones(64, dtype=torch.bool)
    for head, score in ((3, math.nan), (7, -math.inf), (9, math.inf)):
        given["score"][head] = score
        expected[head] = False
    figure = sweep_figure(**given)
    assert texts(figure)[0].endswith(": 64 heads, 64 choices of weights (3 left out, without a finite score)")
    dots = line(panels(figure)[0][0], DOTS)
    assert dots is not None
    np.testing.assert_allclose(dots.get_xdata(), given["weights"][expected, 0], rtol=1e-6)


def test_a_metric_that_is_not_known_of_a_head_is_left_out() -> None:
    given = sweep(64)
    values = given["metrics"][METRICS[0]]
    values[5] = math.nan
    figure = sweep_figure(**given)
    assert f"median {100 * float(values.nanquantile(0.5)):.1f}" in headings(panels(figure)[0][3])
    assert "nan" not in "".join(headings(axes) for row in panels(figure) for axes in row)


def test_nothing_but_lost_heads() -> None:
    given = sweep(8)
    given["score"] = torch.full((8,), -math.inf)
    figure = sweep_figure(**given)
    assert texts(figure) == [
        "What the loss weights do: 8 heads, 8 choices of weights (8 left out, without a finite score)",
        "No head has a finite score.",
    ]
    assert legend(figure) == []


def test_no_even_weights_among_them() -> None:
    given = sweep(64)
    given = given | {name: given[name][1:] for name in ("weights", "score", "temperature")}
    given["metrics"] = {name: values[1:] for name, values in given["metrics"].items()}
    figure = sweep_figure(**given | {"chosen": 0})
    assert all(line(axes, EVEN) is None for axes in figure.axes)
    assert "even" not in texts(figure)[1]


def test_the_same_file_each_time(tmp_path: Path) -> None:
    given = sweep(30, repeats=2)
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    plot_sweep(**given, path=first)
    plot_sweep(**given, path=second)
    assert first.read_bytes() == second.read_bytes()
    plot_sweep(**given | {"chosen": 3}, path=second)
    assert first.read_bytes() != second.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"first.png", "second.png"}
    with Image.open(first) as picture:
        assert set(picture.info) == {"dpi"}  # neither time nor version
        assert 1.4 < picture.width / picture.height < 2  # of a slide


def equal_scores() -> Any:
    given = sweep(64, repeats=3, noise=0.0)
    given["metrics"] = {name: torch.full((192,), 0.25) for name in METRICS}
    return given | {"score": torch.full((192,), 0.3)}


def losses() -> Any:
    given = sweep(64, repeats=3)
    name = "− validation loss at even weights"
    return given | {"score": given["score"] - 14, "score_name": name}


def two_metrics() -> Any:
    given = sweep(64)
    return given | {"metrics": {name: given["metrics"][name] for name in METRICS[:2]}}


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(sweep(1), id="1"),
        pytest.param(sweep(8), id="8"),
        pytest.param(sweep(64, repeats=3), id="64x3"),
        pytest.param(sweep(1000), id="1000"),
        pytest.param(sweep(40, repeats=2, temperatures=(0.005, 0.02, 0.07, 0.3)), id="temperatures"),
        pytest.param(sweep(40, temperatures=(0.05, 0.07, 0.1)), id="near temperatures"),
        pytest.param(equal_scores(), id="equal"),
        pytest.param(losses(), id="losses"),
        pytest.param(two_metrics(), id="two metrics"),
    ],
)
def test_every_text_can_be_read(given: Any) -> None:
    """All texts lie within the picture, and none on another."""
    figure = sweep_figure(**given)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = {text: text.get_window_extent(renderer) for text in shown if in_use(text, figure)}
    assert len(boxes) > 25
    for text, box in boxes.items():
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{text.get_text()!r} is cut off"
    for (one, here), (other, there) in combinations(boxes.items(), 2):
        assert not here.overlaps(there), f"{one.get_text()!r} lies on {other.get_text()!r}"


def in_use(text: Text, figure: Figure) -> bool:
    """Whether a text is drawn: labels of ticks outside the limits, or of axes without a frame, are not."""
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    return axes.axison and min(limits) <= tick.get_loc() <= max(limits)
    return True


def test_noise_of_repeats() -> None:
    """Two settings with deviations -1, 0, 1 and -2, 2: (2 + 8) / (2 + 1)."""
    values = torch.tensor([9.0, 100, 10, 104, 11, 7], dtype=torch.float64)
    setting = torch.tensor([4, 2, 4, 2, 4, 9])
    assert noise_of(values, setting) == pytest.approx(math.sqrt(10 / 3))
    assert group_means(values, setting).tolist() == [102, 10, 7]
    assert math.isnan(noise_of(values, torch.arange(6)))
    assert math.isnan(noise_of(values[:0], setting[:0]))
    values[5] = math.nan
    assert noise_of(values, setting) == pytest.approx(math.sqrt(10 / 3))


@pytest.mark.parametrize("n_settings", [2, 8, 64, 500])
def test_luck_is_what_the_best_of_equal_settings_gains(n_settings: int) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = 0.3 * torch.randn(4000, n_settings, 3, generator=generator, dtype=torch.float64)
    gained = (drawn.mean(dim=2).amax(dim=1)).mean()
    setting = torch.arange(n_settings).repeat_interleave(3)
    assert luck_of(0.3, setting) == pytest.approx(float(gained), rel=0.08)


def test_trend_has_zero_by_itself_and_equal_shares_of_the_rest() -> None:
    x = torch.cat([torch.zeros(10), torch.arange(1, 51) / 50]).double()
    y = 3 * x + 1
    at, mean, error = trend_of(x, y, torch.arange(60))
    assert at.tolist() == pytest.approx([0, 0.11, 0.31, 0.51, 0.71, 0.91])
    torch.testing.assert_close(mean, 3 * at + 1)
    assert error[0] == 0
    assert error[1] == pytest.approx(float(y[10:20].std()) / math.sqrt(10))


def test_trend_counts_a_setting_once_and_skips_what_rests_on_few() -> None:
    setting = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5, 6])
    x = (setting > 4).double()
    y = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 100, 100], dtype=torch.float64)
    at, mean, _ = trend_of(x, y, setting)
    assert (at.tolist(), mean.tolist()) == ([0], [(2 + 4 + 5 + 6 + 7) / 5])
    y[0] = math.nan
    assert trend_of(x, y, setting)[1].tolist() == [(2.5 + 4 + 5 + 6 + 7) / 5]
    assert [len(part) for part in trend_of(x[:2], y[:2], setting[:2])] == [0, 0, 0]


def test_scored_finds_repeats() -> None:
    weights = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0]]).repeat(3, 1)
    temperature = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.2, 0.2])
    score = torch.tensor([1, 2, math.nan, 4, 5, 6])
    found = scored(weights, temperature, {"P@5": score / 10}, score, 3)
    assert found.score.tolist() == [1, 2, 4, 5, 6]
    assert found.metrics["P@5"].tolist() == pytest.approx([10, 20, 40, 50, 60])
    assert found.chosen.tolist() == [False, True, True, False, False]
    assert found.even.tolist() == [True, False, False, False, False]
    alone = scored(weights[1:], temperature[1:], {}, score[1:], 4)
    assert alone.even.tolist() == [False, False, True, False]
