"""`evaluate` and `compare` by a label map of what is relevant, and within groups, on a small generated corpus."""

import csv
from collections import Counter
from math import atan2, dist
from pathlib import Path

import pytest
from commands import answer, mistake, run
from commands import finished as finished
from commands import workspace as workspace

from emoclim.pipeline.evaluation.files import read_queries

MAP = """
[image]
amusement = ["bright", "wild"]
awe = ""
contentment = ["calm"]
excitement = ["wild"]
anger = "dark"
disgust = "dark"
fear = ["dark"]
sadness = ["calm", "dark"]
[audio]
happy = "bright"
funny = "bright"
exciting = "wild"
tender = "calm"
sad = "calm"
angry = ["dark", "wild"]
scary = "dark"
"""
QUICK = ("--no-plots", "--k", "1,5")


def rows_of(workspace: Path, name: str) -> list[dict[str, str]]:
    with (workspace / "data" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def regroup(workspace: Path, name: str, groups: dict[int, str], other: str = "") -> list[dict[str, str]]:
    """Give items of the test split groups by their number there, and all others none."""
    rows, tested = rows_of(workspace, name), 0
    for row in rows:
        row["group"] = ""
        if row["split"] == "test":
            row["group"] = groups.get(tested, other)
            tested += 1
    with (workspace / "data" / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return [row for row in rows if row["split"] == "test"]


def test_a_label_map_says_what_is_relevant(workspace: Path) -> None:
    (workspace / "moods.toml").write_text(MAP)
    words = ("--label-map", workspace / "moods.toml", "--workspace", workspace)
    found = answer("evaluate", *words)
    counts = {
        name: Counter(row["label"] for row in rows_of(workspace, f"{name}.csv") if row["split"] == "test")
        for name in ("images", "audio")
    }
    across = found["directions"]["image_audio"]["per_class"]
    assert across["amusement"]["n_relevant"] == sum(
        counts["audio"][mood] for mood in ("happy", "funny", "exciting", "angry")
    )
    assert across["anger"]["n_relevant"] == counts["audio"]["angry"] + counts["audio"]["scary"]
    assert found["directions"]["audio_image"]["per_class"]["tender"]["n_queries"] == counts["audio"]["tender"]
    assert "awe" not in found["classes"]
    assert not [told for told in found["warnings"] if "no image of class happy" in told]
    assert found["label_map"]["name"] == "moods"
    folder = workspace / "runs" / "001-colour-timbre" / "evaluation"
    assert (folder / "test-by-moods" / "report.html").is_file()
    same = answer("compare", "001-colour-timbre", *words, "--resamples", 200, "--metric", "P@1")
    assert same["lines"][0]["mean"]["value"] == found["directions"]["image_audio"]["metrics"]["P@1"]
    run("evaluate", "--no-plots", "--workspace", workspace)
    both = ("001-colour-timbre", folder / "test-by-moods")
    told = run("compare", *both, "--workspace", workspace, code=2).output
    assert "the label map is not the same (none and moods " in " ".join(told.split())


PLACES = {  # valence and arousal of every label
    **{"amusement": (0.9, 0.8), "awe": (0.6, 0.6), "contentment": (0.8, 0.5), "excitement": (0.9, 0.7)},
    **{"anger": (0.2, 0.9), "disgust": (0.1, 0.8), "fear": (0.1, 0.9), "sadness": (0.1, 0.3)},
    **{"happy": (1.0, 0.7), "funny": (0.8, 0.9), "sad": (0.2, 0.3), "tender": (0.7, 0.5)},
    **{"exciting": (1.0, 0.8), "angry": (0.2, 0.8), "scary": (0.0, 1.0)},
}


@pytest.mark.parametrize("header", ["word,valence,arousal", "word,first,second"])
def test_a_label_map_is_computed_from_places_of_labels(workspace: Path, header: str) -> None:
    table = workspace / "places.csv"
    table.write_text(f"{header}\n" + "".join(f"{name},{one},{other}\n" for name, (one, other) in PLACES.items()))
    found = answer("evaluate", "--label-map", table, *QUICK, "--workspace", workspace)
    assert found["label_map"]["name"] == "computed from places.csv"
    music = Counter(row["label"] for row in rows_of(workspace, "audio.csv") if row["split"] == "test")
    by_angle = {name: atan2(other, one) for name, (one, other) in PLACES.items()}
    for label, one in found["directions"]["image_audio"]["per_class"].items():
        if one["n_queries"]:
            away = {
                name: dist(PLACES[label], PLACES[name])
                if "valence" in header
                else abs(by_angle[label] - by_angle[name])
                for name in sorted({row["label"] for row in rows_of(workspace, "audio.csv")})
            }
            assert one["n_relevant"] == music[min(away, key=lambda name: away[name])], label
    shown = run("evaluate", "--label-map", table, *QUICK, "--workspace", workspace).stdout
    assert "by the label map computed from places.csv" in " ".join(shown.split())
    table.write_text(f"{header}\nawe,0.5,0.5\n")
    told = mistake("evaluate", "--label-map", table, "--workspace", workspace)
    assert "'amusement'" in told
    assert "places.csv" in told


def test_items_rank_their_own_group(workspace: Path) -> None:
    music = regroup(workspace, "audio.csv", {0: "", 1: "one", 2: "one"}, "two")
    pictures = regroup(workspace, "images.csv", {0: "one", 1: "alone"}, "two")
    found = answer("evaluate", "--within", "group", *QUICK, "--workspace", workspace)
    assert any("1 items of split test have no group and are left out" in told for told in found["warnings"])
    folder = workspace / "runs" / "001-colour-timbre" / "evaluation" / "test-within-group-k-1-5"
    tables = read_queries(folder / "queries.parquet").directions
    sizes = Counter(row["group"] for row in music)
    labels = {row["path"]: row["group"] for row in pictures}
    ranked = dict(zip(tables["image_audio"].ids, tables["image_audio"].n_candidates.tolist(), strict=True))
    assert ranked == {path: sizes[group] for path, group in labels.items() if path in ranked}
    assert set(ranked.values()) == {0, 2, sizes["two"]}
    grouped = {row["path"]: sizes[row["group"]] - 1 for row in music if row["group"]}
    within = dict(zip(tables["audio_audio"].ids, tables["audio_audio"].n_candidates.tolist(), strict=True))
    assert within == {path: grouped[path] for path in within}  # but for itself
    shown = run("evaluate", "--within", "group", "--workspace", workspace)
    assert "each item ranks those of its own group only" in shown.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--label-map", "none.toml"), "there is no label map none.toml"),
        (("--label-map", "won2021-alm-va"), "no table [image]"),
        (("--within", "group"), "has no image with a group"),
        (("--within", "artist"), "group"),
        (("--tagging", "music.csv", "--within", "group"), "--within would have no effect"),
    ],
)
def test_mistakes_are_told(finished: Path, words: tuple[str, ...], told: str) -> None:
    assert told in " ".join(run("evaluate", *words, "--workspace", finished, code=2).output.split())


def test_groups_that_do_not_meet_are_told(workspace: Path) -> None:
    regroup(workspace, "images.csv", {}, "pictures")
    regroup(workspace, "audio.csv", {}, "music")
    assert (
        "no group is in image and audio alike"
        in run("evaluate", "--within", "group", "--workspace", workspace, code=2).output
    )
    told = run("compare", "001-colour-timbre", "--within", "group", "--workspace", workspace, code=2).output
    assert "emoclim evaluate 001-colour-timbre --split test --within group" in " ".join(told.split())


def test_an_item_that_is_a_link_to_nothing_is_told_as_one_that_cannot_be_read(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture = next(row["path"] for row in rows_of(workspace, "images.csv") if row["split"] == "test")
    (workspace / "data" / picture).unlink()
    (workspace / "data" / picture).symlink_to("nowhere.png")
    answer("evaluate", *QUICK, "--workspace", workspace)
    assert "cannot be read: left out" in caplog.text
