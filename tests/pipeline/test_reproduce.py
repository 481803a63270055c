"""`emoclim reproduce`, on the generated corpus with small encoders in the place of the paper's."""

import csv
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from commands import answer, mistake, run
from PIL import Image
from reproduced import QUICK, only_row, options, reproduce, rewrite
from reproduced import made as made
from reproduced import workspace as workspace

from emoclim.config import TrainConfig
from emoclim.data.datasets.loading import find_dataset
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders import Published, location
from emoclim.encoders.loading import load_encoder
from emoclim.errors import CheckpointError
from emoclim.learning.epochs import Snapshot
from emoclim.learning.settings import Augmentations, EncoderTuning, SupConSettings, TagConfig
from emoclim.modality import Modality
from emoclim.pipeline import run as run_machine
from emoclim.pipeline.reproduction import departures
from emoclim.pipeline.reproduction.request import EncoderChoice, Request, choose_encoders
from emoclim.pipeline.tagging.config import TaggingConfig
from emoclim.pipeline.training.config import HeadsConfig
from emoclim.pipeline.training.train_heads import TrainHeads
from emoclim.pipeline.workspace import Workspace
from emoclim.recipes import find_recipe

RECIPE = find_recipe("emo_clim")
ROWS = list(RECIPE.tables["table1"].rows)
MINIATURE = "miniature: not the paper's encoder, data, settings and splits"


def music(root: Path, split: str | None = None) -> list[Path]:
    with (root / "data" / "audio.csv").open(newline="") as file:
        return [root / "data" / row["path"] for row in csv.DictReader(file) if split in (None, row["split"])]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def own(found: Any) -> dict[str, Any]:
    """Lines that were made, by title."""
    return {line["title"]: line for line in found["table"]["lines"] if line["own"]}


def test_every_row_is_made_and_told_as_a_miniature(made: Path) -> None:
    found = json.loads((made / "answer.json").read_text())
    assert [row["row"] for row in found["rows"]] == ROWS
    assert {row["mark"] for row in found["rows"]} == {MINIATURE}
    assert "Not as in the paper: audio.csv has 31 items with a label, where the paper had 13,713." in found["notes"]
    assert any("epochs=1 (15)" in note for note in found["notes"])
    lines = own(found)
    for row in found["rows"]:
        report = json.loads((made / row["reports"][0]).read_text())
        assert report["run"] == row["runs"][0]
        assert (
            lines[row["title"]]["own"]["Image → Music MRR"]["value"]
            == report["directions"]["image_audio"]["metrics"]["MRR"]
        )
        assert "stands in for clip" in str(row["departures"])
    folder = made / "reports" / "table1"
    assert {path.name for path in folder.iterdir()} == {"report.json", "table.md", "table.tex"}
    assert (folder / "table.md").read_text().count(f"| own ({MINIATURE})") == len(ROWS)
    assert (folder / "table.tex").read_text().count(f"own ({MINIATURE})") == len(ROWS)


def test_nothing_is_done_twice(workspace: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.glob("runs/*/*.*")}
    shown = run("reproduce", "emo_clim", "table1", "--encoder", "clap=timbre", *options(workspace, cnns=True))
    assert {path: path.stat().st_mtime_ns for path in workspace.glob("runs/*/*.*")} == before
    assert [path.name for path in (workspace / "reports").iterdir()] == ["table1"]  # with the same numbers
    assert "5 of 5: CLAP (frozen), run reproduce-colour-timbre-frozen-" in shown.stderr
    assert "CLAP (frozen)" in shown.stdout


@pytest.mark.parametrize(
    ("target", "own_lines"), [("table2", 8), ("table3", 2), ("table4", 4), ("table5", 6), ("figure2", 3)]
)
def test_other_targets_are_made_from_the_same_runs(
    made: Path, target: str, own_lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(TaggingConfig, base=TagConfig(epochs=1), resamples=10)
    monkeypatch.setattr("emoclim.pipeline.reproduction.reproduce.TaggingConfig", quick)
    before = sorted((made / "runs").iterdir())
    found = reproduce(made, target, cnns=True)
    lines = own(found)
    assert sorted((made / "runs").iterdir()) == before
    assert len(lines) == own_lines
    assert all(line["mark"].startswith("miniature: not the paper's ") for line in lines.values())
    figure = made / "reports" / target / "figure.png"
    assert figure.is_file() == (target == "figure2")
    if target == "figure2":
        with Image.open(figure) as picture:
            assert picture.width > 2 * picture.height
        assert {line["own"]["images"]["value"] for line in lines.values()} == {6}
    if target == "table2":
        assert lines["fear ↔ scary"]["own"]["music clips"]["value"] == 5
        assert lines["awe ↔ –"]["own"].keys() == {"images"}
    if target == "table3":  # one of six is right
        assert all(line["own"]["P@5 by chance"]["value"] == pytest.approx(1 / 6) for line in lines.values())
    if target == "table4":
        assert lines["CLAP"]["mark"] == "miniature: not the paper's encoder and data"  # no heads have a part in it
        report = json.loads((made / found["rows"][0]["reports"][0]).read_text())
        assert report["on"] == "features"
        assert report["provenance"]["aggregate"] == "embeddings"
        assert report["macro"]["roc_auc"]["mean"] == lines["CLAP"]["own"]["ROC-AUC"]["value"]
        assert any("tagging.csv has 31 items with a split, where the paper had" in note for note in found["notes"])


def test_explain_tells_what_is_to_be_done_and_does_nothing(workspace: Path) -> None:
    shutil.rmtree(workspace / "runs" / json.loads((workspace / "answer.json").read_text())["rows"][0]["runs"][0])
    before = contents(workspace)
    plan = reproduce(workspace, "table1", "--explain", cnns=True)
    assert [row["state"] for row in plan["rows"]] == ["to do", "done", "to do", "done", "done"]
    assert sorted(held for held in plan["caches"].values() if held) == [31, 31, 31]
    longer = reproduce(workspace, "table1", "--explain", "--epochs", 3, cnns=True)
    assert {row["state"] for row in longer["rows"]} == {"to do"}
    assert (
        "train-end-to-end: done"
        in run("reproduce", "table1", "--explain", "--encoder", "clap=timbre", *options(workspace, cnns=True)).stdout
    )
    assert contents(workspace) == before


def test_a_paper_alone_means_all_its_tables(made: Path) -> None:
    plans = reproduce(made, "emo_clim", "--explain", cnns=True)["tables"]
    assert [plan["target"] for plan in plans] == [*(f"table{number}" for number in range(1, 6)), "figure2"]
    assert {row["state"] for plan in plans for row in plan["rows"]} == {"done"}


def test_a_row_without_its_checkpoint_says_so(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    found = reproduce(workspace, "table1", "--rows", "harmonic_cnn,clap", code=3)
    marks = {row["row"]: row["mark"] for row in found["rows"]}
    assert marks["harmonic_cnn-frozen"] == "not made: lacks harmonic_cnn_msd.pth of harmonic_cnn"
    assert list(own(found)) == ["CLAP (frozen)"]
    (told,) = (note for note in found["notes"] if note.startswith("Missing: harmonic_cnn_msd.pth"))
    assert f"put it at {tmp_path / 'home' / 'checkpoints' / 'harmonic_cnn_msd.pth'}" in told
    assert "https://github.com/minzwon/sota-music-tagging-models" in told


def test_a_checkpoint_is_fetched_if_asked_for(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))

    def offline(published: Published, **_: object) -> Path:
        if not published.file.startswith("small_cnn"):
            raise CheckpointError(f"cannot download {published.url}")
        path = location(published)
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(workspace / "small.safetensors", path))

    for place in ("emoclim.pipeline.reproduction.plan.obtain", "emoclim.encoders.loading.obtain"):
        monkeypatch.setattr(place, offline)
    words = ("--encoder", "harmonic_cnn=small_cnn", "--setting", "harmonic_cnn.width=4", "--download")
    found = reproduce(workspace, "table1", "--rows", "harmonic_cnn-frozen,short_chunk_cnn-frozen", *words, code=3)
    lacking = "not made: lacks short_chunk_cnn_msd.pth of short_chunk_cnn"
    assert [row["mark"] for row in found["rows"]] == [lacking, MINIATURE]
    assert any("short_chunk_cnn; cannot download https://" in note for note in found["notes"])
    assert Path(found["folder"]).name == "table1-harmonic_cnn-frozen-short_chunk_cnn-frozen"


def test_what_was_stopped_goes_on(workspace: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((made / "answer.json").read_text())
    name = before["rows"][1]["runs"][0]
    shutil.rmtree(workspace / "runs" / name)
    write = run_machine.write_own

    def interrupting(snapshot: Snapshot, path: Path) -> None:
        write(snapshot, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_machine, "write_own", interrupting)
    stopped = run("reproduce", "table1", "--encoder", "clap=timbre", *options(workspace, cnns=True), code=130)
    assert "the same command goes on from it" in stopped.stderr
    assert "3 of 5" not in stopped.stderr
    assert reproduce(workspace, "table1", "--explain", cnns=True)["rows"][1]["state"] == "unfinished"
    monkeypatch.setattr(run_machine, "write_own", write)
    assert reproduce(workspace, "table1", cnns=True)["table"] == before["table"]
    for file in ("heads.safetensors", "encoder.safetensors"):
        assert (workspace / "runs" / name / file).read_bytes() == (made / "runs" / name / file).read_bytes()


def test_results_of_other_settings_are_kept_aside(workspace: Path) -> None:
    before, changed = only_row(workspace), only_row(workspace, "--seed", 7)
    assert changed["runs"][0] != before["runs"][0]
    assert any("seed=7 (42)" in note for note in changed["notes"])
    kept = workspace / "reports" / "table3-clap.1" / "report.json"
    assert json.loads(kept.read_text())["rows"][0]["runs"][0] == before["runs"][0]


def test_encoders_are_trained_as_told(workspace: Path) -> None:
    (workspace / "quick.toml").write_text(f"{QUICK}[encoder]\nunfreeze = 'none'\n")
    first = {row["row"]: row["runs"][0] for row in json.loads((workspace / "answer.json").read_text())["rows"]}
    found = reproduce(workspace, "table1", "--rows", "harmonic_cnn", "--store", cnns=True)
    runs = {row["row"]: row["runs"][0] for row in found["rows"]}
    settings = json.loads((workspace / "runs" / runs["harmonic_cnn-unfrozen"] / "settings.json").read_text())
    assert (settings["store"], settings["trained"]) == (True, {"audio": []})
    assert any(note.endswith("; encoder: unfreeze=none (all).") for note in found["notes"])
    assert runs["harmonic_cnn-frozen"] == first["harmonic_cnn-frozen"]  # which does not depend on any of it
    assert runs["harmonic_cnn-unfrozen"] != first["harmonic_cnn-unfrozen"]


def test_the_code_of_the_paper_ranks_no_short_clips(workspace: Path) -> None:
    with (workspace / "data" / "audio.csv").open("a") as file:
        file.write("short.wav,happy,test\n")
    soundfile.write(workspace / "data" / "short.wav", np.random.default_rng(0).normal(0, 0.1, 15_000), 10_000)
    words = ("table5", "--encoder", "clap=small_cnn", "--setting", "clap.width=4")
    words = (*words, "--checkpoint", f"clap={workspace / 'small.safetensors'}")
    found, code = reproduce(workspace, *words), reproduce(workspace, *words, "--preset", "paper-code")
    clips, fewer = (sum(line["own"]["music clips"]["value"] for line in own(one).values()) for one in (found, code))
    assert fewer == clips - 1
    assert any(one.startswith("1 recordings shorter than 2 s") for one in code["warnings"])
    assert any("epochs=1 (30)" in note for note in code["notes"])
    assert code["rows"][0]["mark"] == "miniature: not the published code's encoder, data, settings and splits"
    assert any(note.startswith("Not as in the published code: no noise is added") for note in code["notes"])
    assert any("--preset paper-code" in note for note in found["notes"])
    assert not any("--preset paper-code" in note for note in code["notes"])  # which is in use
    assert Path(code["folder"]).name == "table5-paper-code"


def test_short_recordings_train_no_heads(workspace: Path) -> None:
    soundfile.write(workspace / "data" / "short.wav", np.random.default_rng(0).normal(0, 0.1, 20_000), 16_000)
    config = TrainConfig(batch_size=8, epochs=1, batches_per_epoch=2, val_batches=1, hidden_dim=16, embedding_dim=16)
    trained = {}
    for name in ("without", "with", "left out"):
        if name == "with":
            with (workspace / "data" / "audio.csv").open("a") as file:
                file.write("short.wav,happy,train\n")
            answer("extract", "audio", "--encoder", "timbre", "--workspace", workspace, "--workers", 0)
        asked = HeadsConfig(libraries={"image": "colour", "audio": "timbre"}, base=config)
        asked = asked.updated(min_seconds=2.0 if name == "left out" else 0.0)
        found = run_machine.start(TrainHeads(), asked, run_machine.Resources(Workspace(workspace), "cpu", 0))
        trained[name] = safetensors.torch.load_file(found.folder / "heads.safetensors")
    same = {
        name: all(torch.equal(tensors[key], trained["without"][key]) for key in tensors)
        for name, tensors in trained.items()
    }
    assert same == {"without": True, "with": False, "left out": True}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("table9",), "table1, table2, table3"),
        (("table1", "--rows", "vgg"), "table1 has no row called vgg"),
        (("table1", "--encoder", "vgg=colour"), "has no encoder vgg; it has clip, short_chunk_cnn"),
        (("table1", "--encoder", "harmonic_cnn=colour"), "'colour' takes image, and cannot stand in for harmonic_cnn"),
        (("table1", "--setting", "overlap=0"), "--setting overlap=0 does not say of which encoder"),
        (("table1", "--preset", "code"), "no preset 'code'"),
        (("table1", "--markdown", "--latex"), "give one of them"),
        (("table4", "--tagging", "none.csv"), "none.csv"),
        (("table1", "--checkpoint", "clip=none.pt"), "none.pt"),
    ],
)
def test_mistakes_are_told_in_one_line(made: Path, words: tuple[str, ...], told: str) -> None:
    assert told in mistake("reproduce", *words, "--encoder", "clap=timbre", *options(made))


def test_an_encoder_without_parameters_is_not_trained(made: Path) -> None:
    words = ("--rows", "harmonic_cnn", "--encoder", "harmonic_cnn=timbre")
    plan = reproduce(made, "table1", *words, "--explain")
    assert [row["state"] for row in plan["rows"]] == ["done", "not possible"]  # the run is that of timbre for CLAP
    assert plan["rows"][1]["mark"] == "not made: lacks parameters of timbre to train"
    assert any("let another stand in: --encoder harmonic_cnn=NAME" in note for note in plan["notes"])


def test_half_a_download_is_told_and_trained_anew_when_it_is_whole(workspace: Path) -> None:
    away = music(workspace, "train")[::6]
    for path in away:
        path.rename(path.with_suffix(".away"))
    half = only_row(workspace, code=3)
    lost = f"{len(away)} of 31 items of audio.csv cannot be used: missing, or failed to encode"
    assert {"kind": "data", "told": lost} in half["departures"]
    assert f"audio.csv has {31 - len(away)} items with a label, where the paper had 13,713" in str(half["notes"])
    assert own(half)
    assert only_row(workspace, "--max-failures", 0.9)["runs"][0] == half["runs"][0]
    for path in away:
        path.with_suffix(".away").rename(path)
    whole = only_row(workspace)
    assert whole["runs"][0] != half["runs"][0]
    assert lost not in str(whole["departures"])


def test_files_that_change_places_are_other_data(workspace: Path) -> None:
    before = only_row(workspace, "--explain")
    assert before["state"] == "done"
    first, second = music(workspace, "train")[:2]
    first.rename(workspace / "aside")
    second.rename(first)
    (workspace / "aside").rename(second)
    after = only_row(workspace, "--explain")
    assert (after["state"], after["runs"][0] == before["runs"][0]) == ("to do", False)
    (workspace / "data" / "aside").write_bytes(b"")
    unchanged = music(workspace, "test")[0]
    unchanged.write_bytes(unchanged.read_bytes() + b"\0")
    assert only_row(workspace, "--explain")["runs"][0] == after["runs"][0]  # no training sees it


def test_what_fails_to_encode_is_no_data(workspace: Path) -> None:
    music(workspace, "train")[0].write_bytes(b"no music")
    expected, found = only_row(workspace, "--explain"), only_row(workspace, code=3)
    assert "1 of 31 items of audio.csv cannot be used" in str(found["departures"])
    again = only_row(workspace, "--explain")
    assert (again["runs"][0], again["state"]) == (found["runs"][0], "done")
    assert found["runs"][0] != expected["runs"][0]  # which had it that all could be encoded
    assert only_row(workspace, "--max-failures", 0.05)["runs"][0] == found["runs"][0]


def test_explain_refuses_the_splits_that_the_run_would_refuse(workspace: Path) -> None:
    data, explain = workspace / "data", ("reproduce", "table2", "--explain", "--workspace", workspace)
    paths = [str(path.relative_to(data)) for path in music(workspace)]
    rewrite(data / "audio.csv", "path label", ((path, "joy" if False else "happy") for path in paths))
    before = contents(workspace)
    assert "31 items; 80/10/10 splits are yet to be made" in run(*explain).stdout
    assert contents(workspace) == before
    kept = data / "audio.splits.csv"
    rewrite(kept, "id split", ((path, "somewhere") for path in paths))
    assert "audio.splits.csv is not a table of id and split" in run(*explain, code=2).output
    rewrite(data / "audio.csv", "path label group", ((path, "happy", "one") for path in paths))
    rewrite(kept, "id split", ((path, ("train", "test")[n % 2]) for n, path in enumerate(paths[:9])))
    assert "group 'one' joins items placed in test and train" in run(*explain, code=2).output


def labelled(name: str, change: int = 0) -> Manifest:
    """As many items of each emotion as the paper had; `change` of them have the next one's."""
    data = RECIPE.data[name]
    counts = find_dataset(data.dataset).DESCRIPTION.published[data.counted_by]
    labels = [label for label, count in counts.items() for _ in range(count)]
    labels[:change] = [labels[-1]] * change
    return manifest(
        data.modality, [Item(str(number), Path(str(number)), label=label) for number, label in enumerate(labels)]
    )


def manifest(modality: Modality, items: list[Item]) -> Manifest:
    return Manifest("data", modality, Path("data.csv"), tuple(items))


def test_the_papers_own_data_are_known_by_their_numbers() -> None:
    for name in ("image", "audio"):
        assert departures.data_departures(labelled(name), labelled(name), RECIPE.data[name]) == []
    (other,) = departures.data_departures(labelled("image", 1), labelled("image", 1), RECIPE.data["image"])
    assert (
        other.description
        == "data.csv has 21,829 items with a label, where the paper had 21,829, but not as many of each"
    )
    assert departures.mark_of([other], "paper") == "not the paper's data"
    most = labelled("image")
    few = replace(most, items=most.items[:2])  # all others are names of files that are not there
    lost, counted = departures.data_departures(most, few, RECIPE.data["image"])
    assert lost.description.startswith("21,827 of 21,829 items of data.csv cannot be used")
    assert lost.small
    assert counted.small


def test_the_published_split_is_known_by_its_numbers() -> None:
    data = RECIPE.data["tagging"]
    description = find_dataset(data.dataset).DESCRIPTION
    parts = [part for part, count in description.split_sizes[data.split].items() for _ in range(count)]
    tags = description.labels
    items = [Item(str(n), Path(str(n)), tags=(tags[n % len(tags)],), split=part) for n, part in enumerate(parts)]
    assert departures.data_departures(manifest("audio", items), manifest("audio", items), data) == []
    fewer = [replace(item, tags=tags[:1]) for item in items[1:]]
    told = departures.data_departures(manifest("audio", fewer), manifest("audio", fewer), data)
    assert [one.small for one in told] == [False, False]
    assert told[1].description == "data.csv has 1 tags, and not the 50 that the paper had"


def test_encoders_and_settings_are_the_papers_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper, code = (RECIPE.preset(name) for name in ("paper", "paper-code"))
    heard = paper.encoder("clap")
    assert departures.encoder_departures("clap", EncoderChoice("clap", None, heard), paper) == []
    other = EncoderChoice("clap", None, {"model": "630k", "source_rate": 0, "overlap": 0.5})
    (rate,) = departures.encoder_departures("clap", other, paper)
    assert rate.description == "clap has model=630k (music_speech), source_rate=0 (16000), overlap=0.5 (0.0)"
    assert departures.encoder_departures("clip", EncoderChoice("clip", None, {"views": 8, "view_seed": 1}), paper) == []
    file = tmp_path / "mine.pt"
    file.write_bytes(b"parameters")
    given = EncoderChoice("clap", file, heard)
    (unknown,) = departures.encoder_departures("clap", given, paper)
    assert unknown.description == "clap has mine.pt, which is not known to be music_speech_epoch_15_esc_89.25.pt"
    monkeypatch.setattr(
        departures, "has_hash", lambda path, expected: path == file and expected.startswith("sha256:a2")
    )
    assert departures.encoder_departures("clap", given, paper) == []
    assert (
        departures.settings_departures(TrainConfig(), SupConSettings(), (EncoderTuning(), Augmentations()), paper) == []
    )
    assert departures.settings_departures(TrainConfig(epochs=30, views_per_item=2), SupConSettings(), None, code) == []
    noise = Augmentations(gaussian_snr=(5, 40))
    (tuned,) = departures.settings_departures(
        TrainConfig(), SupConSettings(), (EncoderTuning(unfreeze="last:1"), noise), paper
    )
    assert tuned.description == (
        "training with encoder: unfreeze=last:1 (all); augmentations: Gaussian noise at 5 to 40 dB (80% of them) (none)"
    )
    assert not tuned.small
    (shorter,) = departures.settings_departures(TrainConfig(epochs=14), SupConSettings(temperature=0.1), None, paper)
    assert shorter.description == "training with epochs=14 (15), temperature=0.1 (0.07)"
    assert shorter.small
    silent, published = Augmentations(), noise.updated(background=Path("sounds"))
    (without,) = departures.settings_departures(code.training, SupConSettings(), (EncoderTuning(), silent), code)
    assert without.description.startswith("training with augmentations: none (sounds of NSynth at 3 to 30 dB")
    assert departures.settings_departures(code.training, SupConSettings(), (EncoderTuning(), published), code) == []


def test_a_mark_says_what_no_one_can_have_and_what_is_not_the_sources() -> None:
    kinds = {kind: departures.Departure(kind, kind) for kind in departures.KINDS}
    assert departures.mark_of([], "paper") == "as in the paper"
    aside = [kinds["crops"], kinds["splits"]]
    assert departures.mark_of(aside, "paper") == "as in the paper, but for its splits and crops"
    assert departures.mark_of(aside[1:], "published code") == "as in the published code, but for its splits"
    assert departures.mark_of([*aside, kinds["settings"]], "published code") == (
        "not the published code's settings, splits and crops"
    )
    small = replace(kinds["encoder"], small=True)
    assert departures.mark_of([small, kinds["data"]], "paper") == "miniature: not the paper's encoder and data"


@pytest.mark.parametrize(
    ("preset", "name", "mark"),
    [
        ("paper", "clap-frozen", "as in the paper, but for its splits and crops"),
        ("paper", "harmonic_cnn-frozen", "as in the paper, but for its splits and crops"),
        ("paper", "harmonic_cnn-unfrozen", "not the paper's settings, splits and crops"),
        ("paper", "clap-features", "as in the paper"),
        ("paper-code", "clap-frozen", "not the published code's settings, splits and crops"),
        ("paper-code", "clap-features", "not the published code's settings and crops"),
    ],
)
def test_rows_of_the_papers_data_and_encoders_are_marked_by_what_is_left(
    tmp_path: Path, preset: str, name: str, mark: str
) -> None:
    file = tmp_path / "any.pt"
    file.write_bytes(b"parameters")
    row = RECIPE.tables["table4"].rows[name]
    choices = choose_encoders(RECIPE, preset, {}, {}, {})
    encoders = {
        modality: load_encoder(encoder, checkpoint=file, **choices[encoder].settings)
        for modality, encoder in row.encoders.items()
    }
    asked = Request(RECIPE, "table4", (), choices, preset, RECIPE.preset(preset).training, SupConSettings())
    manifests = {of: manifest(data.modality, []) for of, data in RECIPE.data.items()}
    found = departures.row_departures(row, asked, dict.fromkeys(RECIPE.data, ()), manifests, encoders)
    assert departures.mark_of(found, asked.settings.source) == mark


def test_what_a_cache_keeps_of_an_item_is_told(tmp_path: Path) -> None:
    """Windows as `unfold` cuts them: 7 of 59,049 samples and 5 of 80,000 from ten seconds at 16 kHz."""
    images, music, tagged = (RECIPE.data[name] for name in ("image", "audio", "tagging"))
    file = tmp_path / "any.pt"
    file.write_bytes(b"parameters")
    load = partial(load_encoder, checkpoint=file)
    told = {
        "short": departures.crop_departures(load("short_chunk_cnn"), music),
        "harmonic": departures.crop_departures(load("harmonic_cnn"), music),
        "centre": departures.crop_departures(load("clip"), images),
        "views": departures.crop_departures(load("clip", views=8), images),
    }
    few = {name: one.description.partition(";")[0] for name, (one,) in told.items()}
    assert few["short"] == "training hears one of 7 windows of each 10 s by short_chunk_cnn, and never the last 0.77 s"
    assert few["harmonic"] == "training hears one of 5 windows of each 10 s by harmonic_cnn"
    assert few["centre"] == "training sees the centre of each image by clip"
    assert few["views"] == "training sees one of 8 crops of each image by clip"
    assert departures.crop_departures(load("clap"), music) == []  # which takes ten seconds whole
    (windows,) = departures.crop_departures(load("clap"), tagged)
    assert windows.description.startswith(
        "training hears one of 2 windows of each 29.1 s by clap, and never the last 9.10 s"
    )
