"""`emoclim evaluate --tagging`, on a small workspace in which everything was done once."""

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from commands import answer, run
from commands import finished as finished
from commands import workspace as workspace

from emoclim.errors import ConfigError
from emoclim.pipeline.tagging import tag_run
from emoclim.pipeline.workspace import Workspace
from emoclim.tag_heads import TagConfig

QUICK = TagConfig(epochs=3)


def write(root: Path, *, split: bool = True, tags: dict[str, list[str]] | None = None, rows: int | None = None) -> Path:
    """A manifest of the workspace's music, each with its label and its kind of file as tags; some have none."""
    with (root / "data" / "audio.csv").open(newline="") as file:
        music = list(csv.DictReader(file))[:rows]
    manifest = root / "data" / "tagging.csv"
    places = ("train", "train", "train", "val", "test", "train", "test", "val")
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "tags", *(["split"] if split else [])])
        for number, row in enumerate(music):
            own = [row["label"], "even" if number % 2 else "odd"] if number % 5 else []
            own += (tags or {}).get(places[number % 8], []) if number % 3 == 0 else []
            writer.writerow([row["path"], "|".join(own), *([places[number % 8]] if split else [])])
    return manifest


def tagging(root: Path, *words: object, **options: object) -> dict:
    return answer("evaluate", "--workspace", root, "--no-plots", *words, **options)


def test_finds_the_manifest_where_it_is_looked_for(workspace):
    manifest = write(workspace)
    found = tagging(workspace, "--tag-seeds", 2)
    assert found["manifest"]["path"] == str(manifest)
    assert found["on"] == "embeddings"
    assert found["seeds"] == [42, 43]
    assert {"even", "odd"} < set(found["per_tag"])
    assert found["items"]["test"] == found["n_test"]
    assert found["provenance"]["input"]["name"] == "timbre embeddings"
    again = tagging(workspace, "--tagging", manifest, "--tag-seeds", 2)
    assert again == found


def test_writes_a_report_scores_and_pictures(workspace, capsys):
    write(workspace)
    words = ("evaluate", "--tagging", workspace / "data" / "tagging.csv", "--train-fraction", ".5,1", "--tag-seeds", 2)
    shown = run(*words, "--workspace", workspace).stdout
    folder = next((workspace / "runs").glob("*/tagging/tagging"))
    assert {path.name for path in folder.iterdir()} == {"report.json", "scores.parquet", "tags.png", "curve.png"}
    report = json.loads((folder / "report.json").read_text())
    assert [one["fraction"] for one in report["curve"]] == [0.5, 1.0]
    assert "By the share of training items" in shown
    assert "random scores" in shown
    assert "count, as negatives of every tag" in shown
    scores = pyarrow.parquet.read_table(folder / "scores.parquet")
    assert scores.num_rows == report["n_test"] * len(report["per_tag"])
    assert scores.column_names == ["id", "tag", "relevant", "probability_42", "probability_43"]
    odd = [row for row in scores.to_pylist() if row["tag"] == "odd"]
    assert sum(row["relevant"] for row in odd) == report["per_tag"]["odd"]["n_positive"]


def test_the_same_command_gives_the_same_bytes_and_others_are_told(workspace, caplog):
    write(workspace)
    place = Workspace(workspace)
    first = tag_run(config=QUICK, seeds=1, plots=False, workspace=place)
    before = [(first.folder / name).read_bytes() for name in ("report.json", "scores.parquet")]
    tag_run(config=QUICK, seeds=1, plots=False, workspace=place)
    assert [(first.folder / name).read_bytes() for name in ("report.json", "scores.parquet")] == before
    assert "other numbers" not in caplog.text
    tag_run(config=QUICK, seeds=2, plots=False, workspace=place)
    assert "held other numbers, which are in" in caplog.text


def test_variants_lie_beside_each_other(workspace):
    write(workspace)
    folders = {
        tag_run(config=QUICK, seeds=1, plots=False, workspace=Workspace(workspace), **options).folder.name
        for options in ({}, {"on": "features"}, {"shuffle": True}, {"on": "features", "shuffle": True, "split": "val"})
    }
    assert folders == {"tagging", "tagging-features", "tagging-shuffled", "tagging-val-features-shuffled"}


def test_features_are_those_of_the_encoder(workspace):
    write(workspace)
    found = tagging(workspace, "--on", "features", "--aggregate", "embeddings", "--shuffle-tags", "--tag-seeds", 1)
    assert found["provenance"]["input"]["name"] == "timbre"
    assert found["provenance"]["input"]["dim"] == 151
    assert found["provenance"]["aggregate"] == "embeddings"
    assert found["provenance"]["shuffled_tags"] is True


def test_items_without_tags_count_unless_they_are_dropped(workspace):
    write(workspace)
    kept, dropped = (tagging(workspace, "--tag-seeds", 1, *words) for words in ((), ("--drop-untagged",)))
    assert kept["untagged"].pop("kept") is True
    assert dropped["untagged"].pop("kept") is False
    assert kept["untagged"] == dropped["untagged"]
    assert min(kept["untagged"].values()) > 0
    for name, number in kept["untagged"].items():
        assert kept["items"][name] - dropped["items"][name] == number
    assert dropped["per_tag"]["odd"]["n_positive"] == kept["per_tag"]["odd"]["n_positive"]


def test_tags_that_no_training_item_has_are_told(workspace):
    write(workspace, tags={"test": ["rare"], "val": ["rarer"]})
    found = tagging(workspace, "--tag-seeds", 1)
    assert "2 tags left out, having no training item: rare, rarer" in found["warnings"]
    assert "rare" not in found["per_tag"]


def test_tags_that_no_test_item_has_are_told(workspace):
    write(workspace, tags={"train": ["rare"], "val": ["rare"]})
    result = run("evaluate", "--workspace", workspace, "--no-plots", "--tag-seeds", 1)
    assert "3 tags left out, having no positive item to be found: even, rare, tender" in result.stdout


def test_splits_are_made_and_kept_where_there_are_none(workspace):
    write(workspace, split=False)
    found = tagging(workspace, "--tag-seeds", 1)
    kept = (workspace / "data" / "tagging.splits.csv").read_text()
    assert kept.count(",test") == found["items"]["test"] > 1
    assert tagging(workspace, "--tag-seeds", 1) == found


def test_items_whose_embeddings_were_trained_on_are_told(workspace):
    write(workspace)
    told = [line for line in tagging(workspace, "--tag-seeds", 1)["warnings"] if "were in the training of run" in line]
    assert len(told) == 1
    assert not tagging(workspace, "--on", "features", "--tag-seeds", 1)["warnings"]


def test_labels_stand_in_for_tags(workspace, caplog):
    found = tagging(workspace, "--tagging", workspace / "data" / "audio.csv", "--tag-seeds", 1)
    assert "its labels are taken as such" in caplog.text
    with (workspace / "data" / "audio.csv").open(newline="") as file:
        assert found["per_tag"].keys() == {row["label"] for row in csv.DictReader(file)}


def test_groups_of_tags_may_be_given(workspace):
    write(workspace)
    groups = workspace / "groups.toml"
    groups.write_text('kind = ["odd", "even"]\n')
    found = tagging(workspace, "--tag-groups", groups, "--tag-seeds", 1)
    assert set(found["per_group"]["kind"]["tags"]) == {"odd", "even"}


def test_says_how_to_extract_what_is_missing(workspace):
    manifest = write(workspace)
    (workspace / "data" / "new.wav").write_bytes(b"never seen")
    with manifest.open("a") as file:
        file.write("new.wav,odd,test\n")
    told = run("evaluate", "--tagging", manifest, "--workspace", workspace, code=2).stderr
    assert f"(new.wav first); run: emoclim extract audio {manifest} --encoder timbre" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tag-seeds", 1), "there is no manifest at"),
        (("--tagging", "data/audio.csv", "--split", "train"), "evaluate val or test"),
        (("--tagging", "data/audio.csv", "--train-fraction", "0,1"), "give shares up to 1"),
        (("--tagging", "data/audio.csv", "--train-fraction", "some"), "not a list of numbers"),
        (("--tagging", "data/audio.csv", "--head", 9), "keeps no head 9"),
    ],
)
def test_refuses_what_cannot_be_done(finished, words, told):
    asked = [finished / word if str(word).startswith("data/") else word for word in words]
    assert told in run("evaluate", *asked, "--workspace", finished, code=2).stderr


def test_refuses_a_manifest_without_tags(finished, tmp_path):
    manifest = tmp_path / "bare.csv"
    manifest.write_text("path\nbare.csv\n")
    assert "has no tags; add a column" in run("evaluate", "--tagging", manifest, "--workspace", finished, code=2).stderr


def test_refuses_no_seeds(finished):
    with pytest.raises(ConfigError, match="with one seed or more"):
        tag_run(seeds=0, workspace=Workspace(finished))
