"""`emoclim evaluate --tagging`, on a small workspace in which everything was done once."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from commands import answer, run
from commands import finished as finished
from commands import workspace as workspace

from emoclim.errors import ConfigError
from emoclim.learning.settings import TagConfig
from emoclim.pipeline.run import Resources, start
from emoclim.pipeline.tagging.config import TaggingConfig
from emoclim.pipeline.tagging.tag import Tag, TaggingResult
from emoclim.pipeline.workspace import Workspace
from emoclim.stages import tagging as tagging_stage

QUICK = TagConfig(epochs=3)


def tag_run(workspace: Workspace, **asked: Any) -> TaggingResult:
    return start(Tag(), TaggingConfig(**asked), Resources(workspace))


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


def copied(folder: Path, row: str) -> str:
    """A row for a copy of a file of the workspace's music."""
    name, rest = row.split(",", 1)
    shutil.copy(folder / name, folder / f"{name}.twin.wav")
    return f"{name}.twin.wav,{rest}"


def tagging(root: Path, *words: object, **options: object) -> dict:
    return answer("evaluate", "--workspace", root, "--no-plots", *words, **options)


def test_finds_the_manifest_where_it_is_looked_for(workspace):
    manifest = write(workspace)
    found = tagging(workspace, "--tag-seeds", 2)
    assert found["manifest"]["path"] == "../data/tagging.csv"
    assert found["on"] == "embeddings"
    assert found["seeds"] == [42, 43]
    assert {"even", "odd"} < set(found["per_tag"])
    assert found["items"]["test"] == found["n_test"]
    assert found["provenance"]["input"]["name"] == "timbre embeddings"
    again = tagging(workspace, "--tagging", manifest, "--tag-seeds", 2)
    assert again == found


def test_writes_a_report_scores_and_pictures(workspace, capsys):
    write(workspace)
    manifest = workspace / "data" / "tagging.csv"
    extracted = run("extract", "audio", manifest, "--encoder", "timbre", "--workspace", workspace).stdout
    assert "no item has a label" not in extracted  # tags are
    words = ("evaluate", "--tagging", manifest, "--train-fraction", ".5,1", "--tag-seeds", 2)
    shown = run(*words, "--workspace", workspace).stdout
    folder = next((workspace / "runs").glob("*/tagging/tagging-2-seeds-share-0.5-1"))
    assert {path.name for path in folder.iterdir()} == {"report.json", "scores.parquet", "tags.png", "curve.png"}
    report = json.loads((folder / "report.json").read_text())
    assert [one["fraction"] for one in report["curve"]] == [0.5, 1.0]
    assert "By the share of training items" in shown
    assert f"Numbers and pictures are in {folder}" in shown
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
    first = tag_run(base=QUICK, seeds=1, plots=False, workspace=place)
    before = [(first.folder / name).read_bytes() for name in ("report.json", "scores.parquet")]
    tag_run(base=QUICK, seeds=1, plots=False, workspace=place)
    assert [(first.folder / name).read_bytes() for name in ("report.json", "scores.parquet")] == before
    assert "other numbers" not in caplog.text
    write(workspace, tags={"train": ["new"]})
    tag_run(base=QUICK, seeds=1, plots=False, workspace=place)
    assert "held other numbers, which are in" in caplog.text


def test_the_numbers_do_not_tell_where_the_command_was_given(workspace, monkeypatch):
    manifest = write(workspace, tags={"test": ["rare"]})
    options = {"base": QUICK, "seeds": 1, "plots": False}
    told = [tag_run(manifest=manifest, workspace=Workspace(workspace), **options)]
    for here, root in ((workspace, Path()), (workspace / "data", Path(".."))):
        monkeypatch.chdir(here)
        own = manifest.relative_to(here)
        told.append(tag_run(manifest=own, workspace=Workspace(root), **options))
    assert len(told[0].inputs.warnings) == 2
    assert [one.to_dict() for one in told[1:]] == [told[0].to_dict()] * 2
    assert [path.name for path in told[0].folder.parent.iterdir()] == [told[0].folder.name]


def test_scores_are_written_whole_or_not_at_all(workspace, monkeypatch):
    write(workspace)
    result = tag_run(base=QUICK, plots=False, workspace=Workspace(workspace))
    before = (result.folder / "scores.parquet").read_bytes()

    def broken(path: Path, content: bytes) -> None:
        path.write_text("half of")
        if content.startswith(b"PAR1"):
            raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match="no space"):
        result.write()
    assert (result.folder / "scores.parquet").read_bytes() == before


@pytest.mark.parametrize("plots", [True, False])
def test_pictures_are_told_where_there_are_any(workspace, plots):
    write(workspace)
    result = tag_run(base=QUICK, seeds=1, plots=plots, workspace=Workspace(workspace))
    assert (result.folder / "tags.png").is_file() == plots
    assert result.summary()[-1] == f"Numbers{' and pictures' if plots else ''} are in {result.folder}"


def own_title(result) -> str:
    """Of the line with this result in the first of the papers' tables."""
    table, *_ = result.paper_tables()
    assert table.title.startswith("emo_clim, ")
    return next(row[0] for row in table.rows if row[0].startswith("own: "))


def test_a_share_of_the_items_is_told_wherever_numbers_are(workspace):
    write(workspace)
    options = {"base": QUICK, "seeds": 1, "plots": False, "workspace": Workspace(workspace)}
    some, more, all_ = (tag_run(fractions=shares, **options) for shares in ((0.1,), (0.1, 0.5), (1.0,)))
    for result, share, name in ((some, "10 %", "share-0.1"), (more, "50 %", "share-0.1-0.5")):
        told = f"learnt from {share} of the training items ({result.report.curve[-1].n_train})"
        assert result.shows_curve
        assert told in result.title
        assert any(told in line for line in result.summary())
        assert own_title(result).endswith(told.removeprefix("learnt from "))
        assert result.folder.name == f"tagging-1-seeds-{name}-epochs-3"
    assert not all_.shows_curve
    assert "training items" not in all_.title + own_title(all_) + " ".join(all_.summary())


def test_the_papers_table_tells_controls(workspace):
    write(workspace)
    result = tag_run(base=QUICK, shuffle=True, split="val", plots=False, workspace=Workspace(workspace))
    assert own_title(result) == "own: tagging.csv, embeddings, val items, shuffled tags"


def test_variants_lie_beside_each_other(workspace):
    write(workspace)
    groups = workspace / "kinds.toml"
    groups.write_text('kind = ["odd", "even"]\n')
    variants = {
        "tagging": {},
        "tagging-features-5-seeds": {"on": "features", "seeds": 5},
        "tagging-val-features-shuffled": {"on": "features", "shuffle": True, "split": "val"},
        "tagging-head-0-aggregate-embeddings": {"head": 0, "aggregate": "embeddings"},
        "tagging-vcmr-head": {"tag_head": "vcmr"},
        "tagging-windows-apart-by-PR-AUC": {"windows": "apart", "keep_by": "PR-AUC"},
        "tagging-share-0.25-1-drop-untagged": {"fractions": (1.0, 0.25, 1.0), "drop_untagged": True},
        "tagging-groups-kinds": {"tag_groups": groups},
        "tagging-20-resamples-seed-7-epochs-2": {"resamples": 20, "seed": 7, "base": TagConfig(epochs=2)},
    }
    for name, options in variants.items():
        assert tag_run(plots=False, workspace=Workspace(workspace), **options).folder.name == name
    assert len(list(next((workspace / "runs").glob("*/tagging")).iterdir())) == len(variants)


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


def test_items_of_equal_content_are_placed_together(workspace):
    manifest = write(workspace, split=False)
    header, *rows = manifest.read_text().splitlines()
    twins = [copied(workspace / "data", row) for row in rows]
    manifest.write_text("\n".join([header, *rows, *twins]) + "\n")
    found = tagging(workspace, "--on", "features", "--tag-seeds", 1)
    with (workspace / "data" / "tagging.splits.csv").open(newline="") as file:
        splits = {row["id"]: row["split"] for row in csv.DictReader(file)}
    assert len(set(splits.values())) == 3
    assert all(splits[f"{row.split(',')[0]}.twin.wav"] == splits[row.split(",")[0]] for row in rows)
    assert not found["warnings"]


def test_content_that_kept_splits_part_is_told(workspace):
    manifest = write(workspace, split=False)
    header, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *rows, *(copied(workspace / "data", row) for row in rows)]) + "\n")
    names = [row.split(",")[0] for row in rows]
    places = {name: ("train", "val", "test")[number % 3] for number, name in enumerate(names)}
    twins = {f"{name}.twin.wav": "test" if place == "train" else place for name, place in places.items()}
    lines = [f"{name},{place}" for name, place in (places | twins).items()]
    (workspace / "data" / "tagging.splits.csv").write_text("\n".join(["id,split", *lines]) + "\n")
    (told,) = tagging(workspace, "--on", "features", "--tag-seeds", 1)["warnings"]
    torn = sum(place == "train" for place in places.values())
    assert told.startswith(f"tagging.csv has the same content in several splits ({torn} in train and test)")


def test_groups_that_share_content_are_placed_together(workspace):
    manifest = write(workspace, split=False)
    header, *rows = manifest.read_text().splitlines()
    twins = [copied(workspace / "data", row) for row in rows]
    grouped = [f"{row},pair {number // 2}" for number, row in enumerate(twins)]
    manifest.write_text("\n".join([f"{header},group", *(f"{row}," for row in rows), *grouped]) + "\n")
    assert not tagging(workspace, "--on", "features", "--tag-seeds", 1)["warnings"]
    with (workspace / "data" / "tagging.splits.csv").open(newline="") as file:
        splits = {row["id"]: row["split"] for row in csv.DictReader(file)}
    for number in range(0, len(rows), 2):
        whole = [row.split(",")[0] for row in (*rows[number : number + 2], *twins[number : number + 2])]
        assert len({splits[name] for name in whole}) == 1


def test_the_items_that_stop_the_training_are_told_of(workspace):
    write(workspace)
    for on in ("embeddings", "features"):
        told = tagging(workspace, "--split", "val", "--on", on, "--tag-seeds", 1)["warnings"]
        assert sum("the val items also decide when a training ends" in line for line in told) == 1


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
        (("--tagging", "data/audio.csv", "--split", "train"), "should be 'val' or 'test'"),
        (("--tagging", "data/audio.csv", "--train-fraction", "0,1"), "give shares above 0, up to 1"),
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


def test_refuses_training_items_without_tags(workspace):
    manifest = write(workspace)
    header, *rows = manifest.read_text().splitlines()
    bare = [",".join([row.split(",")[0], "", "train"]) if row.endswith("train") else row for row in rows]
    manifest.write_text("\n".join([header, *bare]) + "\n")
    for words in ((), ("--drop-untagged",)):
        told = run("evaluate", "--tagging", manifest, *words, "--workspace", workspace, code=2).stderr
        assert "no training item of" in told


def test_refuses_no_seeds(finished):
    with pytest.raises(ConfigError, match="seeds"):
        tag_run(seeds=0, workspace=Workspace(finished))


def test_killed_between_heads_the_same_command_goes_on_and_gives_the_same_bytes(workspace, monkeypatch):
    write(workspace)
    asked = {"base": QUICK, "seeds": 3, "fractions": (0.5, 1.0), "plots": False}
    whole = tag_run(Workspace(workspace), **asked)
    names = ("report.json", "scores.parquet")
    expected = {name: (whole.folder / name).read_bytes() for name in names}
    shutil.rmtree(whole.folder)
    train, trained = tagging_stage.train_tag_head, []

    def counting(*given: Any, **named: Any) -> Any:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(named["seed"])
        return train(*given, **named)

    def train_and_count(*given: Any, **named: Any) -> Any:
        trained.append(named["seed"])
        return train(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(tagging_stage, "train_tag_head", counting)
        with pytest.raises(KeyboardInterrupt):
            tag_run(Workspace(workspace), **asked)
    unfinished = whole.folder.with_name(f"{whole.folder.name}.unfinished")
    assert len(list(unfinished.glob("*.safetensors"))) == 2
    monkeypatch.setattr(
        tagging_stage, "train_tag_head", lambda *given, **named: trained.append(0) or train(*given, **named)
    )
    again = tag_run(Workspace(workspace), **asked)
    assert {name: (again.folder / name).read_bytes() for name in names} == expected
    assert len(trained) == 2 + 4
    assert not unfinished.exists()
