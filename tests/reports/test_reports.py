"""Report objects, their plain and tabular forms, and the pictures drawn of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from emoclim.errors import ConfigError
from emoclim.reports import plots, reason_rows
from emoclim.reports.joint_space import JointSpace, plot_joint_spaces
from emoclim.reports.plots import plot_confusion, plot_history, plot_per_class
from emoclim.reports.queries import Intervals, QueryScores
from emoclim.reports.retrieval import ClassReport, DirectionReport, RetrievalReport, directions
from emoclim.reports.tables import Estimate

CLASSES = ("calm", "happy", "sad")


def make_direction(query: str, candidate: str, shift: float) -> DirectionReport:
    """A direction in which no image is sad."""
    random = {"P@1": 0.25, "MRR": 0.5}
    per_class = {
        name: ClassReport(10 + place, 7, {"P@1": 0.2 + 0.2 * place + shift, "MRR": 0.5 + shift}, random)
        for place, name in enumerate(CLASSES)
    }
    if query == "image":
        per_class["sad"] = ClassReport(0, 7, {}, {})
    metrics = {"P@1": 0.40625 + shift, "MRR": 0.5 + shift}
    ids, classes = tuple(f"{query}-{row}" for row in range(33)), tuple(CLASSES[row % 3] for row in range(33))
    per_query = {"P@1": torch.zeros(33), "MRR": torch.zeros(33)}
    scores = QueryScores(ids, classes, torch.full((33,), 7), torch.full((33,), 21), per_query)
    return DirectionReport(
        query,
        candidate,
        n_queries=33,
        n_candidates=21,
        n_without_relevant=2,
        n_finding_nothing=0,
        metrics=metrics,
        random=random,
        per_class=per_class,
        micro={"P@1": 0.5, "MRR": 0.625},
        random_micro=random,
        confusion={"calm": {"calm": 0.75, "happy": 0.25, "sad": 0.0}},
        scores=scores,
    )


def make_report(*modalities: str) -> RetrievalReport:
    found = [make_direction(*pair, 0.01 * place) for place, pair in enumerate(directions(modalities))]
    return RetrievalReport(CLASSES, "embeddings", {direction.name: direction for direction in found}, {"seed": 1})


@pytest.mark.parametrize("modalities", [("image", "audio"), ("audio", "image"), ("audio", "image", "audio")])
def test_directions_have_one_order(modalities):
    expected = [("image", "audio"), ("audio", "image"), ("image", "image"), ("audio", "audio")]
    assert list(directions(modalities)) == expected


def test_directions_of_any_number_of_modalities():
    assert directions(["text"]) == (("text", "text"),)
    three = directions(["speech", "text", "audio"])
    assert len(three) == len(set(three)) == 9
    assert three[:2] == (("audio", "text"), ("text", "audio"))
    assert all(query == candidate for query, candidate in three[6:])


def test_names_and_titles():
    direction = make_direction("audio", "image", 0.0)
    assert direction.name == "audio_image"
    assert direction.title == "music → image"


def test_plain_form_is_json_and_complete():
    report = make_report("image", "audio")
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(plain) == {"classes", "average", "directions", "provenance"}
    assert list(plain["directions"]) == ["image_audio", "audio_image", "image_image", "audio_audio"]
    found = plain["directions"]["audio_image"]
    assert found == {
        "query": "audio",
        "candidate": "image",
        "n_queries": 33,
        "n_candidates": 21,
        "n_without_relevant": 2,
        "n_finding_nothing": 0,
        "metrics": {"P@1": 0.41625, "MRR": 0.51},
        "random": {"P@1": 0.25, "MRR": 0.5},
        "micro": {"P@1": 0.5, "MRR": 0.625},
        "random_micro": {"P@1": 0.25, "MRR": 0.5},
        "per_class": found["per_class"],
        "confusion": {"calm": {"calm": 0.75, "happy": 0.25, "sad": 0.0}},
        "intervals": None,
    }
    assert found["per_class"]["happy"] == {
        "n_queries": 11,
        "n_relevant": 7,
        "metrics": {"P@1": pytest.approx(0.41), "MRR": 0.51},
        "random": {"P@1": 0.25, "MRR": 0.5},
    }
    assert plain["directions"]["image_audio"]["per_class"]["sad"]["metrics"] == {}


def test_table_has_each_direction_beside_a_random_order():
    rows = make_report("image", "audio").table_rows()
    assert rows[0] == ("direction", "P@1", "MRR", "queries", "candidates")
    assert rows[1] == ("image → music", "40.62%", "50.00%", "33", "21")
    assert rows[2] == ("random order", "25.00%", "50.00%", "", "")
    assert [row[0] for row in rows[3::2]] == ["music → image", "image → image", "music → music"]
    assert {len(row) for row in rows} == {5}


def test_per_class_table_has_directions_and_numbers_of_items():
    rows = make_report("image", "audio").per_class_rows("P@1")
    titles = ("image → music", "music → image", "image → image", "music → music")
    assert rows[0] == ("emotion", *titles, "image items", "music items")
    assert rows[1] == ("calm", "20.00%", "21.00%", "22.00%", "23.00%", "10", "10")
    assert rows[3] == ("sad", "–", "61.00%", "–", "63.00%", "0", "12")
    assert rows[4] == ("macro mean", "40.62%", "41.62%", "42.62%", "43.62%", "21", "33")


def test_per_class_table_calls_an_emotion_as_each_taxonomy_does():
    labels = {"image": {"calm": "contentment", "happy": "amusement, joy"}, "audio": {"calm": "tender", "sad": "sad"}}
    rows = make_report("image", "audio").per_class_rows("P@1", labels)
    assert rows[0][:3] == ("image emotion", "music emotion", "image → music")
    assert [row[:3] for row in rows[1:]] == [
        ("contentment", "tender", "20.00%"),
        ("amusement, joy", "–", "40.00%"),
        ("–", "sad", "–"),
        ("macro mean", "", "40.62%"),
    ]
    assert len({len(row) for row in rows}) == 1


def draw_per_class(path: Path) -> None:
    plot_per_class(make_report("image", "audio"), path, "P@1")


def draw_joint_space(path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = {"audio": torch.randn(9, 8, generator=generator), "image": torch.randn(12, 8, generator=generator)}
    labels = {"audio": torch.arange(9) % 3, "image": torch.arange(12) % 3}
    plot_joint_spaces([JointSpace(embeddings, labels, CLASSES)], path, seed=1)


def draw_history(path: Path) -> None:
    val = torch.tensor([[3.0, 2.8], [2.5, 2.9], [2.6, 3.0]])
    plot_history(val + 0.1, val, val.argmin(dim=0), path)


@pytest.mark.parametrize("draw", [draw_per_class, draw_joint_space, draw_history])
def test_a_picture_is_whole_and_the_same_each_time(draw: Callable[[Path], None], tmp_path: Path):
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    second.write_bytes(b"an older picture")
    draw(first)
    draw(second)
    assert first.read_bytes() == second.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"first.png", "second.png"}
    with Image.open(first) as picture:
        assert set(picture.info) == {"dpi"}  # neither time nor version
        assert np.asarray(picture.convert("L")).std() > 5


def test_a_picture_shows_the_numbers(tmp_path: Path):
    for shift in (0.0, 0.1):
        direction = make_direction("audio", "audio", shift)
        report = RetrievalReport(CLASSES, "embeddings", {direction.name: direction})
        plot_per_class(report, tmp_path / f"{shift}.png", "P@1")
    assert (tmp_path / "0.0.png").read_bytes() != (tmp_path / "0.1.png").read_bytes()


def test_bars_have_whiskers_where_an_interval_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    known, unknown = Estimate(0.3, 0.2, 0.45), Estimate(0.3, None, None)
    classes = {"calm": {"P@1": known}, "happy": {"P@1": unknown}}
    bare = make_report("image")
    sure = replace(bare.directions["image_image"], intervals=Intervals({}, {}, classes))
    plot_per_class(bare, tmp_path / "a.png", "P@1")
    plot_per_class(replace(bare, directions={"image_image": sure}), tmp_path / "b.png", "P@1")
    plain, whiskered = (
        [line for one in figure.axes[0].collections for line in one.get_segments()] for figure in figures
    )
    added = [line for line in whiskered if line[0][0] == line[1][0]]
    assert len(added) == 1  # no image is sad, and of the happy ones no spread is known
    assert len(whiskered) == len(plain) + 1
    assert [y for _, y in added[0]] == pytest.approx([20, 45])


def test_the_confusion_shows_shares_of_what_is_found_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    report = make_report("image", "audio")
    plot_confusion(report, tmp_path / "a.png")
    panels = [axes for axes in figures[0].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [one.title for one in report.directions.values()]
    assert [text.get_text() for text in panels[0].texts] == ["75", "25", "0"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["calm"]
    bare = {name: replace(one, confusion={}) for name, one in report.directions.items()}
    plot_confusion(replace(report, directions=bare), tmp_path / "b.png")
    assert len(figures) == 1  # without P@1 there is nothing to draw


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path):
    report = make_report("image")
    names = ("$_$", "s$a$d", "sad")
    found = {
        name: replace(one, per_class=dict(zip(names, one.per_class.values(), strict=True)), confusion={"$_$": {}})
        for name, one in report.directions.items()
    }
    plot_per_class(replace(report, classes=names, directions=found), tmp_path / "a.png", "P@1")
    plot_confusion(replace(report, classes=names, directions=found), tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_per_class_picture_of_one_modality_and_many_classes(tmp_path: Path):
    classes = tuple(f"emotion {number}" for number in range(11))
    report = make_report("audio")
    per_class = dict.fromkeys(classes, report.directions["audio_audio"].per_class["calm"])
    direction = replace(report.directions["audio_audio"], per_class=per_class)
    path = tmp_path / "classes.png"
    plot_per_class(replace(report, classes=classes, directions={"audio_audio": direction}), path, "MRR")
    with Image.open(path) as picture:
        assert picture.width > picture.height


def test_joint_space_of_more_classes_than_the_palette_has(tmp_path: Path):
    labels = torch.arange(11)
    path = tmp_path / "joint.png"
    space = JointSpace({"audio": torch.eye(11)}, {"audio": labels}, [f"class {n}" for n in labels])
    plot_joint_spaces([space], path, seed=0)
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 20)
    assert len(colours) > 11


def test_refuses_a_metric_that_was_not_computed(tmp_path: Path):
    with pytest.raises(ConfigError, match="no metric 'P@5'; take one of P@1, MRR"):
        plot_per_class(make_report("audio"), tmp_path / "never.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("embeddings", [torch.ones(1, 8), torch.eye(2), torch.eye(3), torch.ones(6, 8)])
def test_joint_space_of_few_or_equal_items(embeddings: Tensor, tmp_path: Path):
    path = tmp_path / "joint.png"
    labels = torch.arange(len(embeddings)) % 3
    plot_joint_spaces([JointSpace({"image": embeddings}, {"image": labels}, CLASSES)], path, seed=0)
    with Image.open(path) as picture:
        drawn = {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 20)}
    legend_only = tmp_path / "legend.png"
    nothing = JointSpace({"image": torch.zeros(0, 8)}, {"image": labels[:0]}, CLASSES)
    plot_joint_spaces([nothing], legend_only, seed=0)
    with Image.open(legend_only) as picture:
        assert drawn - {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 20)}


def test_long_names_of_classes_break_no_picture_and_no_table(tmp_path: Path) -> None:
    long = ("very afraid " * 833 + "at night", "very afraid " * 833 + "by day")
    names = dict(zip(CLASSES, ("calm", *long), strict=True))
    report = make_report("image", "audio")
    found = {
        key: replace(
            one,
            per_class={names[name]: part for name, part in one.per_class.items()},
            confusion={"calm": {names[name]: share for name, share in one.confusion["calm"].items()}},
        )
        for key, one in report.directions.items()
    }
    report = replace(report, classes=tuple(names.values()), directions=found)
    plot_per_class(report, tmp_path / "bars.png", "P@1")
    plot_confusion(report, tmp_path / "confusion.png")
    embeddings = {"image": torch.eye(3, 4), "audio": torch.eye(3, 4)}
    space = JointSpace(embeddings, dict.fromkeys(embeddings, torch.arange(3)), report.classes)
    plot_joint_spaces([space], tmp_path / "space.png", seed=0)
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert max(picture.size) < 2500
    shown = [row[0] for row in report.per_class_rows("P@1")[2:4]]
    assert [len(name) for name in shown] == [60, 60]
    assert shown[0].endswith("at night")
    assert shown[0].startswith("very afraid very")
    assert len(json.dumps(report.to_dict())) > 100_000  # files keep names whole


def test_a_number_that_rounds_to_nothing_has_no_sign_of_less() -> None:
    none = Estimate(-1e-17, low=-0.0004, high=0.133)
    assert (none.signed, none.ends) == ("+0.00", "0.0–13.3")
    assert (Estimate(-0.0123, -0.02, -0.01).signed, Estimate(-0.0123, -0.02, -0.01).ends) == ("-1.23", "-2.0–-1.0")


def test_bars_show_what_weighs_most_and_add_up() -> None:
    parts = [("a", 0.5), ("b", 0.25), ("c", 0.1), ("d", 0.01), ("e", 0.01), ("f", -0.05), ("g", -0.25)]
    header, *rows = reason_rows([parts, [("a", 0.125)], []])
    assert header == ("", "because of", "adds", "")
    assert [row[:2] for row in rows] == [
        ("1", "a"),
        ("", "b"),
        ("", "c"),
        ("", "f"),
        ("", "g"),
        ("", "2 more"),
        ("2", "a"),
    ]
    assert sum(float(row[2]) for row in rows[:6]) == pytest.approx(sum(value for _, value in parts))
    assert [row[3] for row in rows] == ["█" * 20, "█" * 10, "█" * 4, "▒" * 2, "▒" * 10, "", "█" * 5]
    assert reason_rows([[("a", 0.0)]])[1] == ("1", "a", "+0.000", "")
