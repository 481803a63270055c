"""Sweeps: which candidates are tried, how they are grouped, and which one is chosen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from objective_cases import TERMS, emo_clim

from emoclim.config import Settings, TrainConfig
from emoclim.errors import ConfigError
from emoclim.learning.objectives.base import Objective
from emoclim.learning.selection import RULES, Leaders, TrainedCandidate, choose
from emoclim.learning.sweep import Candidate, Space, groups, read_space, simplex_points

EVEN = (0.25, 0.25, 0.25, 0.25)
BASE = TrainConfig()
OBJECTIVE = emo_clim()
(OWN,) = OBJECTIVE.settings


@pytest.mark.parametrize("number", [1, 4, 15, 16, 64, 500])
def test_points_lie_on_the_simplex_and_differ(number: int) -> None:
    points = simplex_points(number, 4, seed=1)
    assert len(set(points)) == number
    assert points == simplex_points(600, 4, seed=1)[:number]
    for point in points:
        assert min(point) >= 0
        assert math.isclose(sum(point), 1, abs_tol=1e-12)


def test_points_begin_with_the_papers_and_with_whole_terms_switched_off() -> None:
    points = simplex_points(64, 4, seed=0)
    assert points[0] == EVEN
    supports = {tuple(weight > 0 for weight in point) for point in points[:15]}
    assert len(supports) == 15
    assert {(0.5, 0.5, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 1.0, 0.0)} <= set(points[:15])
    assert all(min(point) > 0 for point in points[15:])


def test_points_fill_the_simplex_evenly() -> None:
    """Each weight is below its median 1 - 0.5 ** (1 / 3) half of the time, whatever its place."""
    points = simplex_points(15 + 512, 4, seed=3)[15:]
    for term in range(4):
        share = sum(point[term] < 1 - 0.5 ** (1 / 3) for point in points) / len(points)
        assert abs(share - 0.5) < 0.02


def test_other_seeds_give_other_points_behind_the_fixed_ones() -> None:
    one, other = simplex_points(20, 4, seed=0), simplex_points(20, 4, seed=1)
    assert one[:15] == other[:15]
    assert not set(one[15:]) & set(other[15:])


def test_two_terms_have_a_line_of_points() -> None:
    points = simplex_points(7, 2, seed=0)
    assert points[:3] == [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)]
    assert len(set(points)) == 7


@pytest.mark.parametrize("number", [0, -1, 100_001])
def test_too_many_or_no_points_are_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=f"a sweep of {number} points is not possible"):
        simplex_points(number, 4, seed=0)


def test_settings_are_crossed_and_the_weights_change_first() -> None:
    found = Space([EVEN, (1, 0, 0, 0)], {"seed": [1, 2], "temperature": [0.07, 0.1]}, BASE, OBJECTIVE).candidates()
    assert [(one.config.seed, one.all_settings["temperature"], one.loss_weights[0]) for one in found] == [
        (seed, temperature, weight) for seed in (1, 2) for temperature in (0.07, 0.1) for weight in (0.25, 1.0)
    ]


@pytest.mark.parametrize(
    ("weights", "settings", "told"),
    [
        ([EVEN, EVEN], {}, "same candidate twice"),
        ([EVEN], {"temperature": [0.07, 0.07]}, "same candidate twice"),
        ([EVEN], {"temperature": []}, "at least one candidate"),
        ([], {}, "at least one candidate"),
        ([EVEN], {"colour": [1]}, "no setting is called 'colour'"),
        ([EVEN], {"dropout": [1.5]}, "dropout = 1.5 is not possible"),
        ([(1, 1, 1)], {}, "loss weights .1, 1, 1. must be 4"),
    ],
)
def test_what_cannot_be_tried(weights: Sequence[Sequence[float]], settings: Mapping[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Space(weights, settings, BASE, OBJECTIVE).candidates()


class Branching(Objective):
    """Terms that follow from a setting, and weights of its own."""

    class Settings(Settings):
        branches: int = 2

    @property
    def terms(self) -> tuple[str, ...]:
        return ("one", "two", "three")[: self.choice("branches")]

    @property
    def default_weights(self) -> tuple[float, ...]:
        return (0.3, 0.3, 0.4)[: self.choice("branches")]


def test_terms_and_their_weights_may_follow_from_settings(tmp_path: Path) -> None:
    (path := tmp_path / "sweep.toml").write_text("seed = [1, 2]")
    for branches, weights in ((2, (0.3, 0.3)), (3, (0.3, 0.3, 0.4))):
        objective = Branching((), [Branching.Settings(branches=branches)])
        assert {one.loss_weights for one in read_space(path, BASE, objective).candidates()} == {weights}
    path.write_text("branches = [2, 3]")
    with pytest.raises(ConfigError, match="branches changes them"):
        read_space(path, BASE, objective)


def test_what_shares_all_but_weights_and_temperature_is_one_bank() -> None:
    space = Space([EVEN, (1, 0, 0, 0)], {"learning_rate": [1e-4, 1e-3], "temperature": [0.05, 0.07]}, BASE, OBJECTIVE)
    found = space.candidates()
    assert groups(found, max_heads=100) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert groups(found, max_heads=3) == [[0, 1, 2], [3], [4, 5, 6], [7]]


def test_a_sweep_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        "points = 3\nseeds = 2\nseed = 7\nepochs = 4\ndropout = [0.2, 0.5]\nloss_weights = [[0, 0, 0, 1]]\n"
    )
    found = read_space(path, BASE, OBJECTIVE).candidates()
    assert len(found) == 2 * 2 * 4
    assert {one.config.seed for one in found} == {7, 8}
    assert {one.config.dropout for one in found} == {0.2, 0.5}
    assert {one.config.epochs for one in found} == {4}
    assert [one.loss_weights for one in found[:2]] == [(0, 0, 0, 1), EVEN]
    path.write_text("temperature = 0.1\n")
    assert read_space(path, BASE, OBJECTIVE).candidates() == [Candidate(EVEN, BASE, OWN.updated(temperature=0.1))]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("points = 0", "points and seeds are whole numbers of at least 1"),
        ("seeds = 1.5", "points and seeds are whole numbers"),
        ("loss_weights = [1, 0, 0, 0]", "loss_weights is a list of lists"),
        ("loss_weights = []", "loss_weights is empty"),
        ("seed = [7, 9]\nseeds = 2", "seeds counts on from one seed, but seed is a list"),
        ("seed = 'x'\nseeds = 2", "seed = 'x' is not possible"),
        ("temprature = 0.1", "no setting is called 'temprature' .did you mean 'temperature'"),
        ("points = ", "sweep.toml"),
    ],
)
def test_a_sweep_file_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_space(path, BASE, OBJECTIVE)
    with pytest.raises(ConfigError, match=r"none.toml cannot be read"):
        read_space(tmp_path / "none.toml", BASE, OBJECTIVE)


# What is chosen


def line(
    number: int, p5: float, mrr: float, loss: float = 3.0, seed: int = 42, weights: Any = None
) -> TrainedCandidate:
    weights = weights or (1.0, float(number), 0.0, 0.0)
    metrics = {"P@5 image_audio": p5, "P@5 audio_image": p5, "MRR image_audio": mrr + 0.1, "MRR audio_image": mrr - 0.1}
    candidate = Candidate(weights, BASE.updated(seed=seed), OWN)
    return TrainedCandidate(number, candidate, 2, 15, loss, (loss,) * 4, metrics)


@pytest.mark.parametrize(("rule", "chosen"), [("p5", 0), ("mrr", 1), ("mean", 2), ("loss", 3)])
def test_the_rule_says_which_is_chosen(rule: str, chosen: int) -> None:
    lines = [line(0, 0.6, 0.1), line(1, 0.1, 0.6), line(2, 0.5, 0.5), line(3, 0.2, 0.2, loss=1.0)]
    assert choose(lines, OBJECTIVE, rule).chosen == chosen
    assert set(RULES) == {"p5", "mrr", "mean", "loss"}


def test_the_first_of_equals_is_chosen() -> None:
    assert choose([line(0, 0.4, 0.4), line(1, 0.4, 0.4)], OBJECTIVE, "mean").chosen == 0


def test_seeds_of_one_recipe_are_judged_together() -> None:
    lucky = [line(0, 0.9, 0.9, seed=1, weights=EVEN), line(1, 0.5, 0.5, seed=1)]
    unlucky = [line(2, 0.1, 0.1, seed=2, weights=EVEN), line(3, 0.6, 0.6, seed=2, weights=(1, 1, 0, 0))]
    report = choose([*lucky, *unlucky], OBJECTIVE, "mean")
    assert report.chosen == 1
    assert report.scores == pytest.approx((0.5, 0.55, 0.5, 0.55))


def test_a_lost_head_is_never_chosen_while_there_are_others() -> None:
    lost = replace(line(0, 0.9, 0.9), val_loss=math.inf)
    report = choose([lost, line(1, 0.1, 0.1)], OBJECTIVE, "mean")
    assert report.chosen == 1
    assert report.scores[0] == -math.inf


@pytest.mark.parametrize("weights", [(0, 0, 0, 1), (0, 0, 1, 0), (0, 0, 0.5, 0.5)])
def test_weights_that_never_compare_the_modalities_are_marked_and_not_chosen(weights: tuple[float, ...]) -> None:
    lucky = line(0, 0.9, 0.9, weights=weights)
    report = choose([lucky, line(1, 0.1, 0.1), line(2, 0.2, 0.2)], OBJECTIVE, "mean")
    assert (report.chosen, report.aligned) == (2, (False, True, True))
    assert [row[0] for row in report.table_rows(3)[1:]] == ["chosen", "", "by luck"]
    assert report.columns()["aligned"] == [False, True, True]
    assert report.best(2) == [1, 2]
    (told,) = report.notes()
    assert "1 of 3 heads" in told
    assert "by luck, if at all; none of them is chosen" in told
    alone = choose([lucky], OBJECTIVE, "mean")
    assert alone.chosen == 0
    assert "for want of others" in alone.notes()[0]
    assert choose([line(1, 0.1, 0.2)], OBJECTIVE, "mean").notes() == []


def test_a_direction_in_which_no_head_retrieves_anything_is_told() -> None:
    (told,) = choose([line(0, 0, 0.1), line(1, 0, 0.1)], OBJECTIVE, "mean").notes()
    assert told.startswith("audio_image: queries retrieve nothing")
    assert choose([line(0, 0, 0.1), line(1, 0, 0.2)], OBJECTIVE, "mean").notes() == []  # one of them does


def test_the_best_keep_the_chosen_one_and_their_order() -> None:
    report = choose([line(n, p, p) for n, p in enumerate((0.1, 0.5, 0.3, 0.4))], OBJECTIVE, "p5")
    assert report.best(2) == [1, 3]
    assert report.best(99) == [0, 1, 2, 3]
    rows = report.table_rows(2)
    assert [row[0] for row in rows] == ["", "chosen", ""]
    assert [row[rows[0].index("best epoch")] for row in rows[1:]] == ["3 of 15"] * 2
    assert [found.best_epoch for found in report.lines] == [2] * 4
    assert rows[0][1:5] == ("image > audio", "audio > image", "image > image", "audio > audio")


def test_the_table_has_a_column_for_all_that_is_known() -> None:
    columns = choose([line(0, 0.1, 0.1), line(1, 0.2, 0.2)], OBJECTIVE, "mean").columns()
    assert columns["chosen"] == [False, True]
    assert columns["weight_audio_image"] == [0.0, 1.0]
    assert columns["val_loss_audio_audio"] == [3.0, 3.0]
    assert {"temperature", "seed", "best_epoch", "P@5 image_audio", "score"} <= columns.keys()
    assert {len(column) for column in columns.values()} == {2}


def test_losses_that_cannot_be_compared_choose_nothing() -> None:
    lines = [line(0, 0.1, 0.1), line(1, 0.2, 0.2)]
    other = replace(lines[0].candidate, settings=OWN.updated(temperature=0.5))
    lines[0] = replace(lines[0], candidate=other)
    with pytest.raises(
        ConfigError, match="losses of different batch sizes or settings.* cannot be compared; select by mean"
    ):
        choose(lines, OBJECTIVE, "loss")
    assert choose(lines, OBJECTIVE, "mrr").chosen == 1


def test_who_leads_is_told_by_the_best_epoch_of_each() -> None:
    leaders = Leaders(TERMS)
    candidates = [Candidate(EVEN, BASE, OWN), Candidate((1, 0, 0, 0), BASE, OWN.updated(no_positive="skip"))]
    leaders.update([4, 5], candidates, 0, [2.0, 9.0], [[1.0, 1.0, 3.0, 3.0], [4.0] * 4])
    leaders.update([4, 5], candidates, 1, [3.0, 1.0], [[0.5] * 4, [1.5] * 4])
    leaders.update([6], candidates[:1], 0, [math.nan], [[math.nan] * 4])
    assert [one.number for one in leaders.best(2)] == [5, 4]
    header, first, second, third = leaders.table_rows(9)
    assert header[-4:] == ("no_positive", "epoch", "best", "validation loss")
    assert first == ("5", "1", "0", "0", "0", "skip", "2", "2", "1.5000")
    assert second == ("4", *["0.25"] * 4, "count", "2", "1", "2.0000")
    assert third[-1] == "inf"


def test_an_unknown_rule_is_told() -> None:
    with pytest.raises(ConfigError, match="no rule 'best' to select by; there are loss, p5, mrr, mean"):
        choose([line(0, 0.1, 0.1)], OBJECTIVE, "best")
