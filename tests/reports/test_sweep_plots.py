"""The picture of a sweep: what it shows, what it says of noise, and that it can be read whatever is drawn."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from emoclim.learning.sweep import simplex_points
from emoclim.reports.sweep_plots import sweep_figure, sweep_points

CHOICE, SEEDS, BAND, TREND = "one choice", "lowest to highest seed", "median ±", "mean of like choices"


def sweep(n_choices: int, n_terms: int = 4, *, seeds: int = 1, noise: float = 0.01) -> dict[str, Any]:
    """Arguments for a picture: the score rises with the first weight."""
    points = torch.tensor(simplex_points(n_choices, n_terms, 1)) if n_terms > 1 else torch.ones(n_choices, 1)
    clean = 0.2 + 0.1 * points[:, 0].repeat(seeds)
    score = clean + noise * torch.randn(len(clean), generator=torch.Generator().manual_seed(n_choices))
    return {
        "weights": points.repeat(seeds, 1),
        "terms": [f"term {number}" for number in range(n_terms)],
        "score": score,
        "score_name": "mean of P@5 and MRR",
        "choice": list(range(n_choices)) * seeds,
        "chosen": int(score.reshape(seeds, n_choices).mean(dim=0).argmax()),
    }


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def points(axes: Axes, label: str) -> np.ndarray:
    """Places of all that is drawn under a label that begins so."""
    (line,) = [one for one in axes.get_lines() if str(one.get_label()).startswith(label)]
    return np.asarray(line.get_xydata())


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def told(figure: Figure) -> str:
    return " ".join(figure.get_suptitle().split())


@pytest.mark.parametrize("n_terms", [1, 3, 4, 6])
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_choice_is_in_the_panel_of_each_weight_and_the_chosen_one_marked(n_terms: int, seeds: int) -> None:
    given = sweep(16, n_terms, seeds=seeds)
    found = panels(sweep_figure(**given))
    assert [axes.get_xlabel() for axes in found] == [f"weight of term {number}" for number in range(n_terms)]
    means = given["score"].reshape(seeds, 16).mean(dim=0)
    for axes, weight in zip(found, given["weights"][:16].unbind(dim=1), strict=True):
        np.testing.assert_allclose(points(axes, CHOICE), torch.stack([weight, means], dim=1), atol=1e-6)
        ((x, y),) = points(axes, "chosen")
        assert (x, y) == pytest.approx((float(weight[given["chosen"]]), float(means.max())), abs=1e-6)


def test_seeds_of_one_choice_are_shown_from_lowest_to_highest_in_a_band_of_luck() -> None:
    given = sweep(16, seeds=3)
    axes = panels(sweep_figure(**given))[0]
    by_choice = given["score"].reshape(3, 16)
    (bars,) = [one for one in axes.collections if one.get_label() == SEEDS]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])  # type: ignore[attr-defined]
    np.testing.assert_allclose(ends, torch.stack([by_choice.amin(0), by_choice.amax(0)], dim=1), atol=1e-6)
    band: Any
    (band,) = [one for one in axes.patches if str(one.get_label()).startswith(BAND)]
    assert band.get_y() + band.get_height() / 2 == pytest.approx(float(by_choice.mean(0).quantile(0.5)))


@pytest.mark.parametrize(("noise", "verdict"), [(0.001, "beyond"), (1.0, "within")])
def test_a_lead_is_told_as_more_than_luck_or_not(noise: float, verdict: str) -> None:
    given = sweep(16, seeds=3, noise=noise)
    by_choice = given["score"].reshape(3, 16).double()
    spread, lead = by_choice.var(dim=0).mean().sqrt(), by_choice.mean(0).max() - by_choice.mean(0).quantile(0.5)
    text = told(sweep_figure(**given))
    digits = len(text.partition("±")[2].split()[0].partition(".")[2])
    assert f"differ by ±{spread:.{digits}f}" in text
    assert f"leads the median by {lead:.{digits}f}, {verdict} the" in text


def test_noise_is_not_made_up_where_there_is_one_seed() -> None:
    figure = sweep_figure(**sweep(64))
    assert "noise is not known" in told(figure)
    assert not {SEEDS, *(label for label in labels(figure) if label.startswith(BAND))} & set(labels(figure))


def test_noise_is_pooled_over_choices() -> None:
    """Two choices with deviations -1, 0, 1 and -2, 2: (2 + 8) / (2 + 1)."""
    score = torch.tensor([9.0, 100, 10, 104, 11, 7])
    found = sweep_points({"x": torch.arange(6)}, score, [4, 2, 4, 2, 4, 9], 1)
    assert found.noise == pytest.approx(math.sqrt(10 / 3))
    assert (found.mean.tolist(), found.columns["x"].tolist()) == ([102, 10, 7], [1, 0, 5])
    assert (found.low.tolist(), found.high.tolist(), found.chosen) == ([100, 9, 7], [104, 11, 7], 0)


@pytest.mark.parametrize("n_choices", [2, 64, 500])
def test_luck_is_what_the_best_of_equal_choices_gains(n_choices: int) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = 0.3 * torch.randn(4000, n_choices, 3, generator=generator, dtype=torch.float64)
    choice = [*range(n_choices)] * 3
    luck = sweep_points({}, drawn[0].T.flatten(), choice, 0).luck * 0.3 / float(drawn[0].var(dim=1).mean().sqrt())
    assert luck == pytest.approx(float(drawn.mean(dim=2).amax(dim=1).mean()), rel=0.08)


def test_heads_without_a_finite_score_are_left_out_and_counted() -> None:
    given = sweep(16)
    given["score"][[3, 7, 9]] = torch.tensor([math.nan, -math.inf, math.inf])
    given["chosen"] = 15
    figure = sweep_figure(**given)
    assert "16 heads, 16 choices (3 left out" in told(figure)
    assert len(points(panels(figure)[0], CHOICE)) == 13
    lost = sweep_figure(**given | {"score": torch.full((16,), -math.inf)})
    assert told(lost).endswith("No head has a finite score.")
    assert labels(lost) == []


def test_one_wild_head_hides_no_difference_among_the_rest() -> None:
    given = sweep(16)
    given["score"][3] = -50.0
    axes = panels(sweep_figure(**given))[0]
    assert axes.get_ylim()[0] > -1
    assert [text.get_text() for text in axes.texts] == ["↓ 1 lower"]


def test_a_trend_is_drawn_of_many_choices_and_keeps_equal_weights_together() -> None:
    assert TREND not in labels(sweep_figure(**sweep(16)))
    for axes in panels(sweep_figure(**sweep(30, 6, noise=0.0))):
        assert (np.diff(points(axes, TREND)[:, 0]) > 0).all()
    rising = points(panels(sweep_figure(**sweep(300, noise=0.0)))[0], TREND)
    assert (np.diff(rising[:, 1]) > 0).all()


@pytest.mark.parametrize(("values", "scale"), [((0.05, 0.07), "linear"), ((0.01, 0.1, 1.0), "log")])
def test_a_setting_that_varies_has_a_panel(values: Sequence[float], scale: str) -> None:
    given = sweep(16) | {"settings": {"temperature": torch.tensor(values).repeat(16)[:16]}}
    last = panels(sweep_figure(**given))[-1]
    assert (last.get_xlabel(), last.get_xscale()) == ("temperature", scale)


@pytest.mark.parametrize("n_terms", [1, 3, 4, 6])
@pytest.mark.parametrize(("n_choices", "seeds", "noise"), [(1, 1, 0.0), (8, 2, 0.0), (64, 3, 0.01), (500, 1, 0.01)])
def test_every_text_can_be_read(n_choices: int, n_terms: int, seeds: int, noise: float) -> None:
    """All texts lie within the picture, and none on another."""
    figure = sweep_figure(**sweep(n_choices, n_terms, seeds=seeds, noise=noise))
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    shown = [figure.get_suptitle(), *labels(figure), *(axes.get_xlabel() for axes in panels(figure))]
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in figure.findobj(Text)}
    boxes = {text: boxes[text] for text in shown}
    for text, box in boxes.items():
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{text!r} is cut off"
    for (one, here), (other, there) in combinations(boxes.items(), 2):
        assert not here.overlaps(there), f"{one!r} lies on {other!r}"
