"""`emoclim reproduce`, on the generated corpus with small encoders in the place of the paper's."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from commands import answer, run
from example_encoders import dropped_in
from PIL import Image

from emoclim.data.datasets.loading import find_dataset
from emoclim.data.generated.corpus import generate
from emoclim.data.labels.taxonomy import match_labels
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders import Published, location
from emoclim.encoders.loading import find_encoder
from emoclim.errors import CheckpointError
from emoclim.learning.epochs import Snapshot
from emoclim.learning.settings import Augmentations, EncoderTuning
from emoclim.modality import Modality
from emoclim.pipeline import departures
from emoclim.pipeline import run as run_machine
from emoclim.pipeline.encoder_choice import EncoderChoice
from emoclim.pipeline.paper_rows import TARGETS
from emoclim.reports import compared, papers
from emoclim.reports.compared import Number, Own
from emoclim.reports.mapping_table import table_2

QUICK = """
batch_size = 8
epochs = 2
batches_per_epoch = 2
val_batches = 1
hidden_dim = 16
embedding_dim = 16
"""
ROWS = [row.name for row in TARGETS["table1"]]
OTHERS = "miniature: not the paper's encoder, data and settings"
CNNS = ("short_chunk_cnn", "harmonic_cnn")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace in which table 1 was made."""
    root = tmp_path_factory.mktemp("workspace")
    generate(root / "data", seed=1, pictures_per_label=5, pieces_per_label=8)
    write_tags(root / "data")
    (root / "quick.toml").write_text(QUICK)
    with dropped_in(tmp_path_factory.mktemp("encoders")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = find_encoder("small_cnn").untrained(width=8)
        safetensors.torch.save_file(net.state_dict(), root / "small.safetensors")
        (root / "answer.json").write_text(json.dumps(answer("reproduce", "table1", *small(root))))
        yield root


@pytest.fixture
def workspace(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "copy"))


def write_tags(data: Path) -> None:
    with (data / "audio.csv").open(newline="") as file:
        music = list(csv.DictReader(file))
    with (data / "tagging.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "tags", "split"])
        for number, row in enumerate(music):
            tags = f"{row['label']}|{'even' if number % 2 else 'odd'}"
            writer.writerow([row["path"], tags, ("train", "val", "test")[number % 3]])


def stand_ins(root: Path, *, cnns: bool = True) -> list[object]:
    """Options with which small encoders stand in."""
    words: list[object] = ["--encoder", "clip=colour", "--encoder", "clap=timbre"]
    for role in CNNS if cnns else ():
        words += ["--encoder", f"{role}=small_cnn", "--setting", f"{role}.width=8"]
        words += ["--checkpoint", f"{role}={root / 'small.safetensors'}"]
    return [*words, "--config", root / "quick.toml", "--workspace", root]


def small(root: Path, *, cnns: bool = True) -> list[object]:
    """The same, and how to compute."""
    return [*stand_ins(root, cnns=cnns), "--workers", 0, "--device", "cpu"]


def times(root: Path) -> dict[str, int]:
    """When each file of caches and trainings was written."""
    paths = [*root.glob("runs/*/*"), *root.glob("cache/*.h5")]
    return {str(path): path.stat().st_mtime_ns for path in paths if path.is_file()}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_row_of_table_1_is_made_and_told_as_a_miniature(first: Path) -> None:
    made = json.loads((first / "answer.json").read_text())
    assert [row["row"] for row in made["rows"]] == ROWS
    assert {row["mark"] for row in made["rows"]} == {OTHERS}
    assert "Not as in the paper: audio.csv has 50 labelled items, where the paper had 13,713." in made["notes"]
    assert any("epochs=2 (15)" in note for note in made["notes"])
    for row, line in zip(made["rows"], made["table"]["lines"], strict=True):
        assert f"{row['encoder']} stands in for {row['row'].rpartition('-')[0]}" in str(row["departures"])
        assert row["run"].endswith("unfrozen" if "unfrozen" in row["row"] else "frozen", 0, -9)
        report = json.loads((first / row["report"]).read_text())
        assert report["run"] == row["run"]
        for direction, title in zip(papers.DIRECTIONS, papers.TITLES, strict=True):
            for metric in papers.METRICS:
                own = line["own"][f"{title} {metric}"]
                assert own["value"] == report["directions"][direction]["metrics"][metric]
        assert list(line["paper"].values()) == [f"{value:.2f}" for value in papers.TABLE_1[row["title"]]]
    folder = first / "reports" / "table1"
    assert {path.name for path in folder.iterdir()} == {"report.json", "table.md", "table.tex"}
    assert (folder / "table.md").read_text().count(f"| own ({OTHERS})") == len(ROWS)
    assert (folder / "table.tex").read_text().count(f"own ({OTHERS})") == len(ROWS)
    assert json.loads((folder / "report.json").read_text()) == {k: v for k, v in made.items() if k != "folder"}


def test_nothing_is_done_twice(workspace: Path, first: Path) -> None:
    before = times(workspace)
    made = json.loads((first / "answer.json").read_text())
    shown = run("reproduce", "table1", *small(workspace))
    again = json.loads((workspace / "reports" / "table1" / "report.json").read_text())
    assert again == {name: value for name, value in made.items() if name != "folder"}
    after = times(workspace)
    assert {path: after[path] for path in after if "/runs/" in path} == {
        path: before[path] for path in before if "/runs/" in path
    }
    assert after.keys() == before.keys()
    assert "5 of 5: CLAP (frozen), run reproduce-colour-timbre-frozen-" in shown.stderr
    assert f"CLAP (frozen): {OTHERS}" in shown.stdout
    ranked = answer("evaluate", made["rows"][1]["run"], "--workspace", workspace, "--no-plots")
    assert (
        ranked["directions"]["image_audio"]["metrics"]["MRR"]
        == again["table"]["lines"][1]["own"]["Image → Music MRR"]["value"]
    )


@pytest.mark.parametrize(
    ("target", "own_lines"), [("table2", 9), ("table3", 2), ("table4", 4), ("table5", 6), ("figure2", 3)]
)
def test_the_other_targets_are_made_from_the_same_runs(first: Path, target: str, own_lines: int) -> None:
    before = sorted((first / "runs").iterdir())
    made = answer("reproduce", target, *(small(first) if target != "table2" else ("--workspace", first)))
    assert sorted((first / "runs").iterdir()) == before
    own = [line for line in made["table"]["lines"] if line["mark"]]
    assert len(own) == own_lines
    assert all(line["mark"].startswith("miniature: not the paper's ") and line["own"] for line in own)
    folder = first / "reports" / target
    assert (folder / "figure.png").is_file() == (target == "figure2")
    if target == "figure2":
        with Image.open(folder / "figure.png") as picture:
            assert picture.width > 2 * picture.height
        assert own[0]["own"]["images"]["value"] == 6
    if target == "table4":
        assert own[0]["title"] == "CLAP"
        assert own[0]["mark"] == "miniature: not the paper's encoder and data"
        report = json.loads((first / made["rows"][0]["report"]).read_text())
        assert report["on"] == "features"
        assert report["macro"]["roc_auc"]["mean"] == own[0]["own"]["ROC-AUC"]["value"]
        assert any("tagging.csv has 17 train, 17 val, 16 test clips with 9 tags" in note for note in made["notes"])


def test_explain_tells_what_is_to_be_done_and_does_nothing(workspace: Path) -> None:
    shutil.rmtree(workspace / "runs" / json.loads((workspace / "answer.json").read_text())["rows"][0]["run"])
    before = contents(workspace)
    plan = answer("reproduce", "table1", "--explain", *stand_ins(workspace))
    assert [row["state"] for row in plan["rows"]] == ["to do", "done", "to do", "done", "done"]
    assert sorted(held for held in plan["caches"].values() if held) == [32, 50, 50]
    longer = answer("reproduce", "table1", "--explain", "--epochs", 3, *stand_ins(workspace))
    assert {row["state"] for row in longer["rows"]} == {"to do"}
    assert not {row["run"] for row in longer["rows"]} & {row["run"] for row in plan["rows"]}
    shown = run("reproduce", "table1", "--explain", *stand_ins(workspace)).stdout
    assert "heads and encoder: done" in shown
    assert contents(workspace) == before
    for name in ("images", "audio"):
        with (workspace / "data" / f"{name}.csv").open(newline="") as file:
            rows = [[row["path"], row["label"]] for row in csv.DictReader(file)]
        with (workspace / "data" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["path", "label"], *rows])
    unsplit = run("reproduce", "table2", "--explain", "--workspace", workspace).stdout
    assert "50 items, 80/10/10 splits yet to be made" in unsplit
    assert not list((workspace / "data").glob("*.splits.csv"))


def test_a_row_without_its_checkpoint_says_so(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    made = answer("reproduce", "table1", *small(workspace, cnns=False), code=3)
    marks = {row["row"]: row["mark"] for row in made["rows"]}
    assert marks["harmonic_cnn-frozen"] == "not made: lacks harmonic_cnn_msd.pth of harmonic_cnn"
    assert marks["clap-frozen"] == OTHERS
    lines = {line["title"]: line for line in made["table"]["lines"]}
    assert lines["Harmonic CNN (unfrozen)"]["own"] == {}
    assert lines["CLAP (frozen)"]["own"]
    place = tmp_path / "home" / "checkpoints" / "harmonic_cnn_msd.pth"
    told = [note for note in made["notes"] if note.startswith("Missing: harmonic_cnn_msd.pth")]
    assert len(told) == 1
    assert f"put it at {place}" in told[0]
    assert "https://github.com/minzwon/sota-music-tagging-models" in told[0]
    shown = run("reproduce", "table5", "--workspace", workspace, code=3).stdout
    assert shown.count("own (not made: lacks clip_ViT-B-32-quickgelu_openai.pt of clip and 630k-best.pt of clap)") == 6


def test_a_checkpoint_is_fetched_if_asked_for(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))

    def offline(published: Published, *, track: object) -> Path:
        if published.file.startswith("small_cnn"):
            path = location(published)
            path.parent.mkdir(parents=True, exist_ok=True)
            return Path(shutil.copy(workspace / "small.safetensors", path))
        raise CheckpointError(f"cannot download {published.url}")

    monkeypatch.setattr("emoclim.pipeline.reproduction_planning.obtain", offline)
    monkeypatch.setattr("emoclim.encoders.loading.obtain", offline)
    words = [*small(workspace, cnns=False), "--encoder", "harmonic_cnn=small_cnn", "--setting", "harmonic_cnn.width=8"]
    words += ["--rows", "harmonic_cnn-frozen,short_chunk_cnn-frozen"]
    made = answer("reproduce", "table1", *words, "--download", code=3)
    assert [row["mark"] for row in made["rows"]] == [
        "not made: lacks short_chunk_cnn_msd.pth of short_chunk_cnn",
        OTHERS,
    ]
    assert any("short_chunk_cnn; cannot download https://" in note for note in made["notes"])
    assert Path(made["folder"]).name == "table1-harmonic_cnn-frozen-short_chunk_cnn-frozen"


def test_what_was_stopped_goes_on(workspace: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.loads((first / "answer.json").read_text())
    name = made["rows"][1]["run"]
    shutil.rmtree(workspace / "runs" / name)
    write = run_machine.write_snapshot

    def interrupting(snapshot: Snapshot, path: Path) -> None:
        write(snapshot, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_machine, "write_snapshot", interrupting)
    stopped = run("reproduce", "table1", *small(workspace), code=130)
    assert "the same command goes on from it" in stopped.stderr
    assert "3 of 5" not in stopped.stderr
    plan = answer("reproduce", "table1", "--explain", *stand_ins(workspace))
    assert plan["rows"][1]["state"] == "unfinished"
    monkeypatch.setattr(run_machine, "write_snapshot", write)
    again = answer("reproduce", "table1", *small(workspace))
    assert again["table"] == made["table"]
    weights = ("heads.safetensors", "encoder.safetensors")
    assert all(
        (workspace / "runs" / name / file).read_bytes() == (first / "runs" / name / file).read_bytes()
        for file in weights
    )


def test_results_of_other_settings_are_kept_aside(workspace: Path) -> None:
    words = ("reproduce", "table3", "--rows", "clap", *small(workspace))
    before = answer(*words)
    changed = answer(*words, "--seed", 7)
    assert changed["rows"][0]["run"] != before["rows"][0]["run"]
    assert any("seed=7 (42)" in note for note in changed["notes"])
    kept = workspace / "reports" / "table3-clap.1" / "report.json"
    assert json.loads(kept.read_text())["rows"] == before["rows"]


def test_encoders_are_trained_as_told(workspace: Path) -> None:
    (workspace / "quick.toml").write_text(f"{QUICK}[encoder]\nunfreeze = 'none'\n")
    made = answer("reproduce", "table1", "--rows", "harmonic_cnn", *small(workspace), "--store")
    settings = [json.loads((workspace / "runs" / row["run"] / "settings.json").read_text()) for row in made["rows"]]
    assert settings[1]["store"]
    assert settings[1]["trained"] == []
    assert any(note.endswith("; encoder: unfreeze=none (all).") for note in made["notes"])
    first = json.loads((workspace / "answer.json").read_text())
    assert made["rows"][0]["run"] == first["rows"][2]["run"]  # heads do not depend on how an encoder is trained
    assert made["rows"][1]["run"] != first["rows"][3]["run"]


def test_the_code_of_the_paper_ranks_no_short_clips(workspace: Path) -> None:
    with (workspace / "data" / "audio.csv").open("a") as file:
        file.write("short.wav,happy,test,\n")
    soundfile.write(workspace / "data" / "short.wav", np.random.default_rng(0).normal(0, 0.1, 30_000), 10_000)
    left_out = "1 recordings shorter than 5 s are left out"
    made = answer("reproduce", "table5", *small(workspace))
    assert left_out not in made["warnings"]
    music = [line["own"]["music clips"]["value"] for line in made["table"]["lines"]]
    made = answer("reproduce", "table5", *small(workspace), "--preset", "paper-code")
    assert left_out in made["warnings"]
    assert sum(line["own"]["music clips"]["value"] for line in made["table"]["lines"]) == sum(music) - 1
    assert "Settings and checkpoints are those of the published code, not of the paper." in made["notes"]
    assert any("epochs=2 (30)" in note for note in made["notes"])
    assert Path(made["folder"]).name == "table5-paper-code"


def test_mistakes_are_told_in_one_line(first: Path) -> None:
    before = sorted((first / "runs").iterdir())
    for words, told in (
        (("table5", "--rows", "harmonic_cnn"), "table5 has no row called harmonic_cnn; its rows are clap-frozen"),
        (("table2", "--rows", "clap"), "table2 has no row called clap; it has none of encoders"),
        (("table1", "--encoder", "vgg=colour"), "the paper has no encoder vgg; it has clip, short_chunk_cnn"),
        (("table1", "--encoder", "colour"), "--encoder 'colour' is not NAME=VALUE"),
        (("table1", "--encoder", "clap=colour"), "encoder 'colour' takes image, and cannot stand in for clap"),
        (("table1", "--setting", "overlap=0"), "--setting overlap=0 does not say of which encoder"),
        (("table1", "--json", "--latex"), "--json and --latex are forms of the same result"),
        (("table4", "--tagging", "none.csv"), "there is no manifest at none.csv"),
        (("table1", "--checkpoint", "clap=none.pt"), "no checkpoint at"),
    ):
        roles = () if "colour" in words[-1] or "none.pt" in words[-1] else ("--encoder", "clap=timbre")
        result = run("reproduce", *words, "--encoder", "clip=colour", *roles, "--workspace", first, code=2)
        assert told in result.output
    assert sorted((first / "runs").iterdir()) == before


def test_an_encoder_without_parameters_is_not_trained(first: Path) -> None:
    words = ("table1", "--rows", "harmonic_cnn", "--encoder", "harmonic_cnn=timbre", "--encoder", "clip=colour")
    plan = answer("reproduce", *words, "--explain", "--workspace", first)
    assert [row["state"] for row in plan["rows"]] == ["to do", "not possible"]
    assert plan["rows"][1]["mark"] == "not made: lacks parameters of timbre to train"
    assert any("let another stand in: --encoder harmonic_cnn=NAME" in note for note in plan["notes"])


def labelled(modality: Modality, change: int = 0) -> Manifest:
    """As many items of each emotion as the paper had; `change` of them have the next one's."""
    counts = departures.emotions(modality)
    labels = [label for label, count in counts.items() for _ in range(count)]
    labels[:change] = [labels[-1]] * change
    items = tuple(Item(str(number), label=label) for number, label in enumerate(labels))
    return Manifest("data", modality, Path("data.csv"), items)


def test_the_papers_own_data_are_known_by_their_numbers() -> None:
    assert departures.of_data(labelled("image")) == departures.of_data(labelled("audio")) == []
    (other,) = departures.of_data(labelled("image", change=1))
    assert (
        other.told == "data.csv has 21,829 labelled items, where the paper had 21,829, but not as many of each emotion"
    )
    assert departures.mark_of([other]) == "not the paper's data"
    description = find_dataset("magnatagatune").DESCRIPTION
    sizes = description.split_sizes["pons2017"]
    parts = [part for part, count in sizes.items() for _ in range(count)]
    items = tuple(Item(str(n), tags=(description.labels[n % 50],), split=part) for n, part in enumerate(parts))
    assert departures.of_tagging(Manifest("t", "audio", Path("t.csv"), items)) == []
    (fewer,) = departures.of_tagging(Manifest("t", "audio", Path("t.csv"), items[1:]))
    assert "18,705 train, 1,825 val, 5,329 test clips with 50 tags, where MagnaTagATune has 18,706 train" in fewer.told
    assert not fewer.small


def test_encoders_and_settings_are_the_papers_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = EncoderChoice("clap", None, {"source_rate": 16_000})
    assert departures.of_encoder("clap", own, "paper") == []
    (rate,) = departures.of_encoder("clap", EncoderChoice("clap", None, {"source_rate": 0, "overlap": 0.5}), "paper")
    assert rate.told == "clap has source_rate=0 (16000), overlap=0.5 (0.0)"
    assert departures.mark_of([rate]) == "not the paper's encoder"
    assert departures.of_encoder("clip", EncoderChoice("clip", None, {"views": 8, "view_seed": 1}), "paper") == []
    file = tmp_path / "mine.pt"
    file.write_bytes(b"parameters")
    given = EncoderChoice("clap", file, {"source_rate": 16_000})
    (unknown,) = departures.of_encoder("clap", given, "paper")
    assert unknown.told == "clap has mine.pt, which is not known to be 630k-best.pt"
    monkeypatch.setattr(
        departures, "has_hash", lambda path, expected: path == file and expected.startswith("sha256:e0")
    )
    assert departures.of_encoder("clap", given, "paper") == []
    paper = departures.preset("paper")
    assert departures.of_settings(paper, (EncoderTuning(), Augmentations()), "paper") == []
    (tuned,) = departures.of_settings(
        paper, (EncoderTuning(unfreeze="last:1"), Augmentations(gaussian_snr=(5, 40))), "paper"
    )
    assert tuned.told == (
        "training with encoder: unfreeze=last:1 (all); augmentations: Gaussian noise at 5 to 40 dB (80% of them)"
    )
    assert not tuned.small
    assert departures.of_settings(departures.preset("paper-code"), None, "paper-code") == []
    assert departures.mark_of([]) == "as in the paper, but for its splits"


def test_tables_hold_the_papers_numbers_and_ones_own_below() -> None:
    for table, printed in (
        (compared.table_3({}), papers.TABLE_3),
        (compared.table_4({}), papers.TABLE_4),
        (compared.table_5({}), papers.TABLE_5),
    ):
        assert table.rows()[1:] == tuple(printed)
        assert all(line["mark"] is None for line in table.to_dict()["lines"])
    numbers = (Number(0.5, 0.4, 0.61), Number(None))
    own = compared.table_4({"CLAP": Own("miniature", numbers)}).rows()
    assert own[6:8] == (
        ("own (miniature)", "", "50.00", "–"),
        ("95 % interval", "", "40.0–61.0", ""),
    )
    further = compared.table_5({"joy ↔ joy": Own("other", (*(Number(0.25),) * 4, Number(1200), Number(3)))}).rows()
    assert further[-1] == ("own: joy ↔ joy (other)", "25.00", "25.00", "25.00", "25.00", "1,200", "3")


def test_table_2_shows_the_map_that_labels_call_for() -> None:
    counts = {"image": {"excitement": 2, "joy": 3, "awe": 1}, "audio": {"exciting": 4, "joy": 5, "tender": 6}}
    published = {modality: departures.emotions(modality) for modality in ("image", "audio")}
    marks = {"image": "not the paper's data", "audio": "as it was"}
    rows = table_2(match_labels(counts), counts, published, marks).rows()
    mark = "images not the paper's data; music as it was"
    assert rows[1:3] == (("excitement", "exciting", "2,725", "4,576"), (f"own ({mark})", "exciting", "2", "4"))
    assert rows[3:5] == (("amusement", "funny", "4,724", "895"), (f"own ({mark})", "–", "0", "–"))
    assert (f"own: joy ({mark})", "joy", "3", "5") in rows
    assert rows[-2:] == (("–", "tender", "–", "3,358"), (f"own ({mark})", "tender", "–", "6"))
