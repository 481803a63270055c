"""All three stages on generated music videos: crops, crops beside pictures, tags; each killed and gone on with."""

import csv
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from commands import answer, run
from end_to_end_workspace import QUIET, files

import emoclim.pipeline.run as run_machine
from emoclim.data.generated.videos import generate_videos
from emoclim.learning.epochs import Snapshot

pytest.importorskip("audiomentations", reason="augmentations need the extra [augment]")
pytest.importorskip("av", reason="videos need the extra [media]")

LENGTH = ("--setting", "length=49152")  # 3.07 s, the shortest
QUICK = ("--epochs", 2, "--batches-per-epoch", 1, "--val-batches", 1, "--batch-size", 2)
SPLITS = ("train", "train", "val", "test")
SECONDS = 5  # of a clip, which is a passage


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of videos, each of one emotion, as audio, as video and with tags; the features of what they show."""
    root = tmp_path_factory.mktemp("films")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("music", "videos"):
            patch.setattr(f"emoclim.data.generated.{module}.SECONDS", SECONDS)
        told = generate_videos(root / "data" / "films", seed=1, count=len(SPLITS), passages=2)
    rows = [
        {"path": f"films/{n:03}.mp4", "id": f"{n}-{place}", "start": SECONDS * place, "duration": SECONDS, "group": n}
        | {"pair": f"clip {n} {place}", "split": SPLITS[n], "tags": emotion}
        for n, emotions in enumerate(told)
        for place, emotion in enumerate(emotions)
    ]
    for name in ("audio", "video", "tagging"):
        columns = [column for column in rows[0] if column != "tags" or name == "tagging"]
        with (root / "data" / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    run("extract", "video", "--frames", "colour", "--workspace", root, *QUIET)
    return root


def begin(root: Path, name: str, *words: object) -> tuple[object, ...]:
    return ("pretrain", *LENGTH, *QUICK, "--name", name, "--workspace", root, *QUIET, *words)


def conditioned(root: Path, name: str, *words: object) -> tuple[object, ...]:
    start = root / "runs" / "first" / "encoder.safetensors"
    return begin(root, name, "--checkpoint", start, "--video", "colour_video", *words)


def tensors(root: Path, name: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(root / "runs" / name / "encoder.safetensors")


def tags(root: Path) -> tuple[object, ...]:
    words = ("--tagging", root / "data" / "tagging.csv", "--tag-head", "vcmr", "--tag-seeds", 1, "--no-plots")
    return ("evaluate", "second", *words, "--workspace", root, "--device", "cpu")


def test_the_three_stages_and_their_kills(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = run_machine.write_own

    def interrupting(snapshot: Snapshot, path: Path) -> None:
        write(snapshot, path)
        raise KeyboardInterrupt

    for make, name in ((begin, "first"), (conditioned, "second")):
        run(*make(root, name))
        monkeypatch.setattr(run_machine, "write_own", interrupting)
        assert answer(*make(root, f"{name} killed"))["interrupted"]
        monkeypatch.setattr(run_machine, "write_own", write)
        run("pretrain", "--resume", f"{name} killed", "--workspace", root, *QUIET)
        assert files(root / "runs" / f"{name} killed") == files(root / "runs" / name)
    first, second = tensors(root, "first"), tensors(root, "second")
    kept = {name for name, tensor in first.items() if torch.equal(second[name], tensor)}
    blocks = [f"all_blocks.{n}." for n in range(4)]
    assert {name for name in first if name.startswith(tuple(blocks))} == kept  # their statistics among them
    settings = json.loads((root / "runs" / "second" / "settings.json").read_text())
    assert settings["heads"][0]["config"]["encoder"]["unfreeze"] == "after:4"
    assert settings["augmentations"] is None
    assert settings["libraries"].keys() == {"audio", "video"}
    checkpoint = root / "runs" / "second" / "encoder.safetensors"
    words = ("--encoder", "sample_cnn", "--checkpoint", checkpoint, *LENGTH, "--workspace", root, *QUIET)
    run("extract", "audio", *words)
    monkeypatch.setattr(run_machine, "write_own", interrupting)
    run(*tags(root), code=130)
    monkeypatch.setattr(run_machine, "write_own", write)
    gone_on = answer(*tags(root))
    (folder,) = (root / "runs" / "second" / "tagging").iterdir()
    written = files(folder)
    assert gone_on["items"] == {"train": 4, "val": 2, "test": 2}
    assert answer(*tags(root)) == gone_on
    assert files(folder) == written


def test_batch_norm_of_frozen_blocks_drifts_by_the_settings_of_the_code(root: Path) -> None:
    run(*conditioned(root, "drifted", "--preset", "paper-code", "--epochs", 1))
    first, drifted = tensors(root, "first"), tensors(root, "drifted")
    moved = {
        name for name, tensor in first.items() if name.startswith("all_blocks.0.") and not tensor.equal(drifted[name])
    }
    assert moved == {f"all_blocks.0.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
