"""Reports of tagging: what is averaged, what is left out, groups of tags and pictures."""

import json

import pytest
import torch
from torch import Tensor

from emoclim.data.labels.tag_groups import MTAT_GROUPS, MTAT_UNGROUPED, groups_of
from emoclim.errors import ConfigError
from emoclim.metrics.tagging import draw_counts, resampled_metrics, tag_metrics
from emoclim.metrics.ties import random_average_precision
from emoclim.reports.tagging import SeedMean, TaggingReport, Trained, make_report
from emoclim.reports.tagging_plots import plot_curve, plot_tags

N_ITEMS, TAGS = 40, ("loud", "soft", "none", "all")


def table() -> Tensor:
    """Tags of the items; nobody has the third, everybody the last."""
    relevant = torch.rand(N_ITEMS, len(TAGS), generator=torch.Generator().manual_seed(0)) < 0.3
    relevant[:, 2], relevant[:, 3] = False, True
    return relevant


def head(fraction: float, seed: int, noise: float = 0.7) -> Trained:
    generator = torch.Generator().manual_seed(seed)
    scores = table().float() + noise * torch.randn(N_ITEMS, len(TAGS), generator=generator)
    return Trained(fraction, seed, int(100 * fraction), 1, 3, scores.sigmoid())


def report(trained: list[Trained], counts: Tensor | None = None) -> TaggingReport:
    ids = tuple(f"piece {number}" for number in range(N_ITEMS))
    drawn = draw_counts(N_ITEMS, 200, torch.Generator().manual_seed(1)) if counts is None else counts
    groups = {"mood": ("loud", "soft"), "empty": ("none",), "odd": ("none", "loud")}
    return make_report(TAGS, trained, ids, table(), table(), drawn, groups, {"config": {}})


def test_means_are_over_seeds_and_over_the_tags_that_are_defined():
    heads = [head(1.0, seed) for seed in (1, 2, 3)]
    found = report(heads)
    by_seed = torch.stack([tag_metrics(one.probabilities, table()).roc_auc[:2].mean() for one in heads])
    assert found.macro.roc_auc.mean == pytest.approx(float(by_seed.mean()), abs=1e-14)
    assert found.macro.roc_auc.deviation == pytest.approx(float(by_seed.std()), abs=1e-14)
    precision = torch.stack([tag_metrics(one.probabilities, table()).average_precision for one in heads])
    assert found.macro.average_precision.mean == pytest.approx(float(precision[:, [0, 1, 3]].mean()), abs=1e-14)


def test_tags_that_are_not_defined_are_named():
    found = report([head(1.0, 1)])
    assert found.macro.without_average_precision == ("none",)
    assert found.macro.without_roc_auc == ("none", "all")
    per_tag = {score.name: score for score in found.per_tag}
    assert (per_tag["none"].roc_auc, per_tag["none"].average_precision) == (None, None)
    assert per_tag["all"].roc_auc is None
    assert per_tag["all"].average_precision.mean == 1
    assert per_tag["all"].average_precision.estimate.ends == ""
    per_group = {score.name: score for score in found.per_group}
    assert (per_group["empty"].roc_auc, per_group["empty"].random["average_precision"]) == (None, None)
    assert per_group["odd"].roc_auc == per_tag["loud"].roc_auc
    assert per_group["odd"].without_roc_auc == ("none",)


def test_random_scores_are_expected_over_tags_that_are_defined():
    found = report([head(1.0, 1)])
    n_positive = table().sum(0)[[0, 1, 3]]
    assert found.macro.base_rate == pytest.approx(float(n_positive.double().mean()) / N_ITEMS)
    expected = random_average_precision(n_positive, torch.full((3,), N_ITEMS)).mean()
    assert found.macro.random["average_precision"] == pytest.approx(float(expected))
    assert found.macro.n_positive == int(table().sum())


def test_intervals_are_those_of_the_resamples_round_the_estimate():
    heads = [head(1.0, seed) for seed in (1, 2)]
    counts = draw_counts(N_ITEMS, 200, torch.Generator().manual_seed(1))
    found = report(heads, counts).per_tag[0].average_precision
    drawn = torch.stack([resampled_metrics(one.probabilities, table(), counts)[1][0] for one in heads]).mean(0)
    assert drawn.mean() > found.mean  # which is why they are moved
    moved = drawn - drawn.mean() + found.mean
    low, high = moved.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert (found.low, found.high) == pytest.approx((low, min(high, 1.0)), abs=1e-12)
    assert found.low < found.mean < found.high


def test_intervals_hold_the_expected_value_about_as_often_as_they_say():
    generator = torch.Generator().manual_seed(4)

    def sample() -> tuple[Tensor, Tensor]:
        relevant = torch.rand(60, 5, generator=generator) < 0.2
        return torch.randn(60, 5, generator=generator) + relevant, relevant

    many = [tag_metrics(*sample()) for _ in range(1000)]
    truth = {
        name: float(torch.stack([getattr(one, name).nanmean() for one in many]).mean())
        for name in ("roc_auc", "average_precision")
    }
    held = dict.fromkeys(truth, 0)
    for _ in range(100):
        scores, relevant = sample()
        counts = draw_counts(60, 128, generator)
        names = tuple("abcde")
        made = make_report(names, [Trained(1.0, 0, 60, 0, 0, scores)], names, relevant, relevant, counts, {}, {})
        for name, value in truth.items():
            found = getattr(made.macro, name)
            held[name] += found.low <= value <= found.high
    assert all(88 <= number <= 99 for number in held.values()), held


def test_there_is_no_interval_where_no_spread_was_seen(tmp_path):
    certain = [Trained(share, 1, int(100 * share), 0, 0, table().float()) for share in (0.5, 1.0)]
    found = report(certain)
    for score in (found.macro, found.per_tag[0]):
        assert score.roc_auc == score.average_precision == SeedMean(1.0)
        assert score.to_dict()["roc_auc"] == {"mean": 1.0, "deviation": None, "low": None, "high": None}
    assert found.table_rows()[1][1:6] == ("100.00%", "", "", "100.00%", "")
    plot_tags(found, tmp_path / "tags.png")
    plot_curve(found, tmp_path / "curve.png")
    assert (tmp_path / "tags.png").is_file()
    assert report(certain, torch.zeros(N_ITEMS, 4)).macro.roc_auc.estimate.ends == ""


def test_numbers_are_those_of_the_heads_that_saw_most():
    found = report([head(0.1, 1, noise=3.0), head(0.1, 2, noise=3.0), head(1.0, 1), head(1.0, 2)])
    assert [one.n_train for one in found.curve] == [10, 100]
    assert found.macro is found.curve[-1].macro
    assert found.probabilities.shape == (2, N_ITEMS, len(TAGS))
    assert found.curve[0].macro.roc_auc.mean < found.macro.roc_auc.mean
    assert found.seeds == (1, 2)


def test_the_plain_form_is_json_without_nan():
    found = report([head(0.1, 1), head(1.0, 1)])
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["per_tag"]["none"]["roc_auc"] is None
    assert content["per_tag"]["loud"]["n_train_positive"] == int(table()[:, 0].sum())
    assert content["macro"]["random"]["roc_auc"] == 0.5
    assert [one["fraction"] for one in content["curve"]] == [0.1, 1.0]


def test_tables_show_every_line():
    found = report([head(0.1, 1), head(0.1, 2), head(1.0, 1), head(1.0, 2)])
    rows = found.table_rows()
    assert [row[0] for row in rows] == ["tags", "all tags", "mood", "empty", "odd", "random scores"]
    assert rows[1][1] == f"{found.macro.roc_auc.mean:.2%}"
    assert rows[3][1] == "–"
    for rows in (found.table_rows(), found.per_tag_rows(), found.curve_rows()):
        assert len({len(row) for row in rows}) == 1
    assert len(found.per_tag_rows()) == 5
    assert [row[0] for row in found.curve_rows()[1:]] == ["10%", "100%"]
    assert report([head(0.025, 1)]).curve_rows()[1][0] == "2.5%"


def test_pictures_are_drawn_again_in_the_same_bytes(tmp_path):
    found = report([head(0.1, 1), head(1.0, 1)])
    for draw in (plot_tags, plot_curve):
        for name in ("one.png", "two.png"):
            draw(found, tmp_path / name)
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
        assert (tmp_path / "one.png").stat().st_size > 5000


def test_the_published_groups_have_each_tag_of_magnatagatune_once():
    grouped = [tag for members in MTAT_GROUPS.values() for tag in members]
    assert len(grouped) == len(set(grouped)) == 47
    assert {name: len(members) for name, members in MTAT_GROUPS.items()} == {
        "genre": 12,
        "mood": 7,
        "instrument": 11,
        "vocals": 12,
        "other": 5,
    }
    assert not MTAT_UNGROUPED & set(grouped)


def test_the_published_groups_are_of_the_published_tags(shared):
    tags = (shared / "labels" / "mtat_top50_tags.txt").read_text().split("\n")
    published = {tag.strip() for tag in tags if tag.strip()}
    assert MTAT_UNGROUPED.union(*MTAT_GROUPS.values()) == published


def test_groups_are_taken_where_all_tags_are_known():
    assert groups_of(["rock", "slow", "woman", "pop"]) == {"genre": ("rock", "pop"), "mood": ("slow",)}
    assert groups_of(["rock", "happy"]) == {}


def test_groups_may_be_given(tmp_path):
    file = tmp_path / "groups.toml"
    file.write_text('mood = ["happy", "gone"]\nempty = ["gone"]\n')
    assert groups_of(["rock", "happy"], file) == {"mood": ("happy",)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mood = 3", "mood.*valid tuple"),
        ("mood", "cannot be read"),
        ('mood = ["sad"]', "groups none of the tags"),
    ],
)
def test_refuses_groups_that_are_none(tmp_path, text, told):
    file = tmp_path / "groups.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        groups_of(["rock"], file)


def test_refuses_groups_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="none.toml cannot be read"):
        groups_of(["rock"], tmp_path / "none.toml")
