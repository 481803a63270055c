"""`emoclim train-end-to-end` of two encoders at once, of music and of texts, and what comes after it."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from commands import answer, run
from encoder_cases import make_subject, shrunk
from end_to_end_workspace import QUICK, QUIET, files
from example_encoders import dropped_in

from emoclim.data.generated.corpus import generate
from emoclim.encoders.loading import find_encoder
from emoclim.learning.epochs import Snapshot
from emoclim.pipeline import run as run_machine

WORDS = "rain sea happy sad day lonely friend".split()
RUN = "001-small_cnn-minilm-unfrozen"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with music, texts of the same labels, an encoder of each with a checkpoint, and a run of both."""
    root = tmp_path_factory.mktemp("workspace")
    generate(root / "data", seed=1, pictures_per_label=4, pieces_per_label=8)
    labels = sorted({row["label"] for row in rows_of(root / "data" / "audio.csv")} - {"tender"})  # few pieces are
    lines = [
        f"{label}-{number}," + " ".join(WORDS[(place + k) % 7] for k in range(40)) + f" {number},{label}"
        for place, label in enumerate(labels)
        for number in range(8)
    ]
    (root / "data" / "text.csv").write_text("id,text,label\n" + "\n".join(lines) + "\n")
    (root / "quick.toml").write_text(QUICK)
    with dropped_in(tmp_path_factory.mktemp("encoders")), shrunk("minilm"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = find_encoder("small_cnn").untrained(width=8)
        safetensors.torch.save_file(net.state_dict(), root / "small.safetensors")
        (root / "minilm").mkdir()
        make_subject("minilm", root / "minilm")
        run(*begin(root))
        yield root


def rows_of(path: Path) -> list[dict[str, str]]:
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def begin(root: Path, *words: object) -> tuple[object, ...]:
    music = ("--encoder", "small_cnn", "--checkpoint", f"small_cnn={root / 'small.safetensors'}")
    texts = ("--encoder", "minilm", "--checkpoint", f"minilm={root / 'minilm' / 'minilm.pt'}")
    settings = ("--setting", "small_cnn.width=8", "--setting", "minilm.length=16", "--config", root / "quick.toml")
    return ("train-end-to-end", *music, *texts, *settings, "--workspace", root, *QUIET, *words)


def test_each_encoder_has_a_file_that_extract_takes_and_all_else_works(workspace: Path) -> None:
    folder = workspace / "runs" / RUN
    encoders = {own: folder / f"encoder-{own}.safetensors" for own in ("audio", "text")}
    assert all(path.is_file() for path in encoders.values())
    for own, path in encoders.items():
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["emoclim"])
        other = "text" if own == "audio" else "audio"
        assert (about["start"]["modality"], about["cached"]) == (own, {})
        assert about["trained_with"][other]["modality"] == other
    before = torch.load(workspace / "minilm" / "minilm.pt")
    after = safetensors.torch.load_file(encoders["text"])
    assert not torch.equal(
        after["body.encoder.layer.0.output.dense.weight"],
        next(tensor for name, tensor in before.items() if name.endswith("encoder.layer.0.output.dense.weight")),
    )
    place = ("--workspace", workspace)
    for modality in ("audio", "text"):
        refused = run("evaluate", *place, "--split", "val", code=2)
        advice = re.search(
            rf"takes {modality} features \w+ \(\w{{12}}\), and \S+ has none; make them with: emoclim (.*)",
            refused.output,
        )
        assert advice, refused.output
        answer(*shlex.split(advice[1]), "--workers", 0)
    evaluated = answer("evaluate", *place, "--split", "val", "--no-plots")
    (told,) = json.loads((folder / "settings.json").read_text())["heads"]
    directions = {name: evaluated["directions"][name]["metrics"] for name in ("audio_text", "text_audio")}
    measured = {f"{metric} {way}": found[metric] for metric in ("P@5", "MRR") for way, found in directions.items()}
    assert told["validation"] == pytest.approx(measured, abs=1e-6)
    assert len(answer("search", "--text", "a happy day", *place)[0]["found"]) == 5
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["encoder_settings"] == {"audio": {"width": 8}, "text": {"length": 16}}
    assert {own: bool(names) for own, names in settings["trained"].items()} == {"audio": True, "text": True}


def test_killed_in_the_second_epoch_and_resumed_it_gives_the_same_bytes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = run_machine.write_own

    def dying(snapshot: Snapshot, path: Path) -> None:
        if path.exists():
            raise RuntimeError("killed")
        write(snapshot, path)

    monkeypatch.setattr(run_machine, "write_own", dying)
    with pytest.raises(AssertionError, match="killed"):
        run(*begin(workspace, "--name", "again"))
    monkeypatch.setattr(run_machine, "write_own", write)
    run("train-end-to-end", "--resume", "again", "--workspace", workspace, *QUIET)
    assert files(workspace / "runs" / "again") == files(workspace / "runs" / RUN)


def test_an_encoder_that_nobody_published_begins_as_its_seed_says(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    words = ("train-end-to-end", "--encoder", "music_resnet", "--encoder", "minilm", "--checkpoint")
    text = (f"minilm={workspace / 'minilm' / 'minilm.pt'}", "--config", workspace / "quick.toml")
    given = (
        *words,
        *text,
        "--workspace",
        workspace,
        *QUIET,
        "--epochs",
        1,
        "--batches-per-epoch",
        1,
        "--batch-size",
        4,
    )
    shown = run(*given, "--seed", 3, "--name", "drawn").output
    assert (tmp_path / "home" / "checkpoints" / "music_resnet-untrained-3.safetensors").is_file()
    assert "encoder music_resnet: " in shown
    told = run("extract", "audio", "--encoder", "music_resnet", "--workspace", workspace, code=2).output
    assert "nobody published parameters of encoder 'music_resnet'; train it with" in told


@pytest.mark.parametrize("objective", ["multi_head", "w2v_regression", "triplet"])
def test_objectives_with_a_taxonomy_or_vectors_of_labels_train_both(workspace: Path, objective: str) -> None:
    labels = sorted({row["label"] for row in rows_of(workspace / "data" / "audio.csv")})
    vectors = workspace / "vectors.csv"
    vectors.write_text("word,a,b,c\n" + "".join(f"{label},{n + 1},{n % 2},{-n}\n" for n, label in enumerate(labels)))
    words = () if objective != "w2v_regression" else ("--word-vectors", vectors)
    trained = answer(*begin(workspace, "--objective", objective, *words, "--epochs", 1, "--name", "other"))
    assert trained["failures"] == {}
    (head,) = trained["heads"]
    assert all(0 < value <= 1 for name, value in head["validation"].items() if name.startswith("MRR"))
    assert {name for name in head["validation"] if name.startswith("MRR")} == {"MRR audio_text", "MRR text_audio"}


def test_mistakes_are_told_in_one_line(workspace: Path) -> None:
    for words, told in (
        (("--encoder", "musicnn"), "encoders small_cnn and musicnn both take audio; name one of them"),
        (
            ("--checkpoint", "file.pt"),
            "--checkpoint 'file.pt' does not say of which encoder; write for example small_cnn=",
        ),
        (
            ("--setting", "overlap=0.5"),
            "--setting 'overlap=0.5' does not say of which encoder; write for example small_cnn.",
        ),
        (("--unfreeze", "batchnorm"), "the encoder has no batch normalisation to train"),
        (("--images", "any"), "a run joins two modalities, not audio, image, text; name two of them"),
    ):
        assert told in run(*begin(workspace, *words), code=2).output
    assert len(list((workspace / "runs").iterdir())) == 1
