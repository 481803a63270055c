"""Pretraining of an encoder by contrast: no labels, no heads; the encoder, which goes on from a kill with its bytes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import processes
import pytest
import safetensors.torch
import torch
from asking import free_port
from commands import answer, mistake, run
from end_to_end_workspace import QUIET, files
from example_encoders import ROOT, dropped_in
from torchrun_worker import take_part

import emoclim.pipeline.run as run_machine
from emoclim.data.generated.corpus import generate
from emoclim.encoders.loading import find_encoder
from emoclim.learning.epochs import Snapshot

QUICK = """
batch_size = 8
epochs = 2
batches_per_epoch = 2
val_batches = 1
"""
pytest.importorskip("audiomentations", reason="augmentations need the extra [augment]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Recordings without labels, and an encoder that was pretrained on them."""
    root = tmp_path_factory.mktemp("workspace")
    generate(root / "data", seed=1, pictures_per_label=4, pieces_per_label=8)
    shutil.rmtree(root / "data" / "images")
    paths = [path.relative_to(root / "data") for path in sorted((root / "data" / "audio").rglob("*.*"))]
    (root / "data" / "audio.csv").write_text("".join(f"{path}\n" for path in ("path", *paths)))
    (root / "quick.toml").write_text(QUICK)
    with dropped_in(tmp_path_factory.mktemp("encoders")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = find_encoder("small_cnn").untrained(width=8)
        safetensors.torch.save_file(net.state_dict(), root / "small.safetensors")
        run(*begin(root, "--name", "whole"))
        yield root


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def begin(root: Path, *words: object) -> tuple[object, ...]:
    settings = ("--encoder", "small_cnn", "--setting", "width=8", "--config", root / "quick.toml")
    return ("pretrain", *settings, "--checkpoint", root / "small.safetensors", "--workspace", root, *QUIET, *words)


def test_an_encoder_is_left_and_no_heads(workspace: Path) -> None:
    folder = workspace / "runs" / "whole"
    assert "encoder.safetensors" in files(folder)
    assert "heads.safetensors" not in files(folder)
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["terms"] == ["pairs"]
    (head,) = settings["heads"]
    assert {name: head["config"][name] for name in ("head", "temperature", "optimiser", "learning_rate")} == {
        "head": "projector",
        "temperature": 0.1,
        "optimiser": "adam",
        "learning_rate": 1e-3,
    }
    assert head["config"]["encoder"]["weight_decay"] == 1e-6
    assert settings["augmentations"]["reverb_probability"] == 0.6
    told = run(*begin(workspace, "--epochs", 1, "--name", "told")).output
    assert "polarity (80%), noise (1%), gain (30%), filter (80%), delay (30%), pitch (60%), reverb (60%)" in told
    checkpoint = workspace / "runs" / "told" / "encoder.safetensors"
    words = ("--encoder", "small_cnn", "--setting", "width=8", "--checkpoint", checkpoint, "--workspace", workspace)
    assert "0 failed" in run("extract", "audio", *words, *QUIET).output
    assert "there is no run in" in mistake("evaluate", "--workspace", workspace)


def test_what_a_kill_left_goes_on_with_the_same_bytes(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = run_machine.write_own

    def interrupting(snapshot: Snapshot, path: Path) -> None:
        write(snapshot, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_machine, "write_own", interrupting)
    assert answer(*begin(workspace, "--name", "part"))["interrupted"]
    monkeypatch.setattr(run_machine, "write_own", write)
    run("pretrain", "--resume", "part", "--workspace", workspace, *QUIET)
    assert files(workspace / "runs" / "part") == files(workspace / "runs" / "whole")
    assert "is not unfinished" in mistake("pretrain", "--resume", "part", "--workspace", workspace)


def test_the_settings_of_the_code_are_another_preset(workspace: Path) -> None:
    trained = answer(*begin(workspace, "--preset", "paper-code", "--epochs", 1))
    (head,) = trained["heads"]
    assert (head["config"]["optimiser"], head["config"]["learning_rate"]) == ("adamw", 3e-4)
    assert head["config"]["encoder"]["accumulate"] == 2
    assert "there is no preset 'papers'" in mistake(*begin(workspace, "--preset", "papers"))
    assert "unfreeze some of it" in mistake(*begin(workspace, "--unfreeze", "none"))


def test_only_encoders_of_sound_have_crops_to_compare(workspace: Path) -> None:
    words = ("pretrain", "--encoder", "colour", "--config", workspace / "quick.toml", "--workspace", workspace, *QUIET)
    assert "'colour' takes no waveforms" in mistake(*words)


def test_what_is_named_lies_anywhere_and_needs_two_items_of_each_split(workspace: Path) -> None:
    (workspace / "data").rename(workspace / "mine")
    table, short = workspace / "mine" / "audio.csv", ("--epochs", 1, "--batches-per-epoch", 1)
    assert answer(*begin(workspace, *short, "--audio", table))["interrupted"] is False
    rows = table.read_text().splitlines()[1:6]
    (workspace / "mine" / "few.csv").write_text(
        "path,split\n" + "".join(f"{row},{'val' if n else 'train'}\n" for n, row in enumerate(rows))
    )
    told = mistake(*begin(workspace, *short, "--audio", workspace / "mine" / "few.csv"))
    assert "there are 1 audio items of the train split, and it takes 2" in told


def test_several_processes_train_one_encoder(workspace: Path, tmp_path: Path) -> None:
    """They are forks; that torchrun starts such is tested with the training of encoders and heads."""
    words = ("--batchnorm", "frozen", "--name")
    answer(*begin(workspace, *words, "alone"))
    both = [str(word) for word in (ROOT / "examples", *begin(workspace, *words, "both", "--json"))]
    port = free_port()
    forks = [processes.start(take_part, rank, 2, port, *both, told=tmp_path / "told") for rank in range(2)]
    assert processes.exit_codes(*forks) == [0, 0], (tmp_path / "told").read_text()
    one, other = (
        safetensors.torch.load_file(workspace / "runs" / name / "encoder.safetensors") for name in ("alone", "both")
    )
    for key, tensor in one.items():
        torch.testing.assert_close(other[key], tensor, rtol=0, atol=1e-4, msg=key)
