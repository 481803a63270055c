"""`emoclim train-end-to-end` and what comes after it, on the generated corpus with a small encoder."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from commands import answer, run
from end_to_end_workspace import QUICK, QUIET, RUN, begin, files
from end_to_end_workspace import finished as finished
from end_to_end_workspace import workspace as workspace
from example_encoders import ROOT

from emoclim.config import TrainConfig
from emoclim.encoders.loading import load_encoder
from emoclim.errors import ConfigError
from emoclim.learning.epochs import Snapshot
from emoclim.learning.settings import EncoderTuning, SupConSettings, load_joint_config
from emoclim.pipeline import run as run_machine
from emoclim.pipeline.training.end_to_end import crops, train_end_to_end
from emoclim.pipeline.training.end_to_end.encoder_result import EncoderResult
from emoclim.stages.encoder_training import JointTraining


def interrupt_after_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupting(snapshot: Snapshot, path: Path) -> None:
        write(snapshot, path)
        raise KeyboardInterrupt

    write = run_machine.write_own
    monkeypatch.setattr(run_machine, "write_own", interrupting)


def test_a_run_has_an_encoder_that_extract_takes_and_all_else_works(workspace: Path) -> None:
    folder = workspace / "runs" / RUN
    assert sorted(path.name for path in folder.iterdir()) == [
        "encoder.safetensors",
        "heads.safetensors",
        "history.json",
        "history.parquet",
        "history.png",
        "run.json",
        "settings.json",
        "sweep.csv",
        "sweep.parquet",
    ]
    encoder = ("--encoder", "small_cnn", "--checkpoint", folder / "encoder.safetensors", "--setting", "width=8")
    place = ("--workspace", workspace)
    refused = run("evaluate", *place, code=2)
    told = r"takes audio features small_cnn \(\w{12}\), and \S+ has none; make them with: emoclim (.*)"
    advice = re.search(told, refused.output)
    assert advice
    extracted = answer(*shlex.split(advice[1]), "--workers", 0)
    first = answer(
        "extract", "audio", *encoder[:2], "--checkpoint", workspace / "small.safetensors", *encoder[4:], *place
    )
    assert extracted["encoded"] == first["encoded"] > 0
    assert extracted["cache"] != first["cache"]
    evaluated = answer("evaluate", *place, "--split", "val")
    assert evaluated["run"] == RUN
    (told,) = json.loads((folder / "settings.json").read_text())["heads"]
    directions = {name: evaluated["directions"][name]["metrics"] for name in ("image_audio", "audio_image")}
    measured = {f"{metric} {way}": found[metric] for metric in ("P@5", "MRR") for way, found in directions.items()}
    assert told["validation"] == pytest.approx(measured, abs=1e-6)
    assert told["score"] == pytest.approx(sum(measured.values()) / 4, abs=1e-6)
    compared = answer("compare", RUN, "--over-seeds", *place, "--split", "val", "--resamples", 200)
    assert compared["systems"] == {RUN: [RUN]}
    (found,) = answer("search", next((workspace / "data").rglob("*.png")), *place)
    assert len(found["found"]) == 5
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["heads"][0]["config"]["encoder"] == EncoderTuning(learning_rate=1e-3).model_dump()
    assert settings["libraries"]["audio"]["cache"] == Path(extracted["cache"]).name
    assert set(settings["trained"]["audio"]) == {f"body.{n}.{kind}" for n in (0, 1) for kind in ("weight", "bias")}


def test_the_encoder_says_where_it_comes_from(finished: Path) -> None:
    path = finished / "runs" / RUN / "encoder.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["emoclim"])
    assert about["start"]["checkpoint"].startswith("small.safetensors@")
    assert about["config"]["encoder"]["unfreeze"] == "all"
    trained = load_encoder("small_cnn", checkpoint=path, width=8)
    assert trained.spec.checkpoint.startswith("encoder.safetensors@")
    before = safetensors.torch.load_file(finished / "small.safetensors")
    after = trained.module.state_dict()
    assert not torch.equal(after["body.0.weight"], before["body.0.weight"])
    assert torch.equal(after["mel.mel_scale.fb"], before["mel.mel_scale.fb"])


@pytest.mark.parametrize("words", [(), ("--store",)])
def test_killed_in_the_second_epoch_and_resumed_it_gives_the_same_bytes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    if words:
        run(*begin(workspace, "--name", "whole", *words))
    write = run_machine.write_own

    def dying(snapshot: Snapshot, path: Path) -> None:
        if path.exists():
            raise RuntimeError("killed")
        write(snapshot, path)

    monkeypatch.setattr(run_machine, "write_own", dying)
    with pytest.raises(AssertionError, match="killed"):
        run(*begin(workspace, "--name", "again", *words))
    monkeypatch.setattr(run_machine, "write_own", write)
    folder = workspace / "runs" / "again"
    assert sorted(path.name for path in (folder / "unfinished").iterdir()) == [
        "plan.json",
        "training.safetensors",
    ]
    told = run("train-heads", "--resume", "again", "--workspace", workspace, code=2)
    assert "go on with: emoclim train-end-to-end --resume again" in told.output
    useless = run("train-end-to-end", "--resume", "again", "--seed", 3, "--workspace", workspace, code=2)
    assert "--seed would have no effect" in useless.output
    useless = run("train-end-to-end", "--resume", "again", "--store", "--workspace", workspace, code=2)
    assert "--store would have no effect" in useless.output
    few = workspace / "data" / "few.csv"
    few.write_text("".join((workspace / "data" / "images.csv").read_text().splitlines(keepends=True)[:-2]))
    run("extract", "images", few, "--encoder", "colour", "--workspace", workspace)  # now the newest of its cache
    run("train-end-to-end", "--resume", "again", "--workspace", workspace, *QUIET)
    assert not (folder / "unfinished").exists()
    assert (files(folder) == files(workspace / "runs" / RUN)) == (not words)
    assert files(folder) == files(workspace / "runs" / ("whole" if words else RUN))
    told = run("train-end-to-end", "--resume", "again", "--workspace", workspace, code=2)
    assert "is not unfinished" in told.output


def test_processes_that_torchrun_starts_train_one_run(workspace: Path) -> None:
    """With batch normalisations frozen, what two of them give is what one gives, to rounding."""
    words = ("--batchnorm", "frozen", "--name")
    alone = answer(*begin(workspace, *words, "alone"))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    script = (Path(__file__).parents[1] / "torchrun_worker.py", ROOT / "examples")
    told = subprocess.run(
        [*map(str, (*torchrun, *script, *begin(workspace, *words, "both", "--json")))],
        capture_output=True,
        text=True,
        timeout=600,  # which only one that hangs takes
        check=False,
    )
    assert told.returncode == 0, told.stderr
    both = json.loads(told.stdout)
    assert (alone["processes"], both["processes"]) == (1, 2)
    for key in ("trained", "features", "left_out"):
        assert both[key] == alone[key]
    folders = [workspace / "runs" / name for name in ("alone", "both")]
    assert files(folders[0]).keys() == files(folders[1]).keys()
    one, other = (safetensors.torch.load_file(folder / "encoder.safetensors") for folder in folders)
    for key, tensor in one.items():
        torch.testing.assert_close(other[key], tensor, rtol=0, atol=1e-4, msg=key)
    losses = [json.loads((folder / "history.json").read_text())["heads"][0]["train_loss"] for folder in folders]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    # where biases before a normalisation have drifted as rounding would have it, a rank may be another
    assert both["heads"][0]["validation"] == pytest.approx(alone["heads"][0]["validation"], abs=0.05)


def test_a_run_is_gone_on_with_by_as_many_processes(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after_an_epoch(monkeypatch)
    run(*begin(workspace, "--name", "part"))
    plan = workspace / "runs" / "part" / "unfinished" / "plan.json"
    content = json.loads(plan.read_text().replace('"processes": 1', '"processes": 2'))
    step = train_end_to_end.TrainEndToEnd()
    content["digest"] = run_machine.digest_of_run(step, content["config"], content["inputs"])
    plan.write_text(json.dumps(content))
    told = run("train-end-to-end", "--resume", "part", "--workspace", workspace, code=2)
    assert "begun by 2 processes, not 1; go on with as many" in told.output


def test_what_changed_meanwhile_is_not_gone_on_with(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after_an_epoch(monkeypatch)
    stopped = answer(*begin(workspace, "--name", "part"))
    assert stopped["interrupted"]
    assert (workspace / "runs" / "part" / "encoder.safetensors").is_file()
    changed = safetensors.torch.load_file(workspace / "small.safetensors")
    safetensors.torch.save_file({name: tensor + 1 for name, tensor in changed.items()}, workspace / "small.safetensors")
    told = run("train-end-to-end", "--resume", "part", "--workspace", workspace, code=2)
    assert "run part cannot be resumed: the audio encoder changed since it began" in told.output


def test_recordings_that_changed_meanwhile_are_not_gone_on_with(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_an_epoch(monkeypatch)
    run(*begin(workspace, "--name", "part"))
    rows = (workspace / "data" / "audio.csv").read_text().splitlines()
    recording = workspace / "data" / next(row for row in rows if "train" in row).partition(",")[0]
    content = recording.read_bytes()
    recording.write_bytes(content + b"more")
    told = run("train-end-to-end", "--resume", "part", "--workspace", workspace, code=2)
    assert "run part cannot be resumed: the contents of the files changed since it began" in told.output
    recording.write_bytes(content)
    assert answer("train-end-to-end", "--resume", "part", "--workspace", workspace, *QUIET)["failures"] == {}


def test_networks_without_batch_normalisations_are_told_of_none(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[EncoderResult] = []
    summary = EncoderResult.summary
    monkeypatch.setattr(EncoderResult, "summary", lambda result: results.append(result) or summary(result))
    run(*begin(workspace, "--epochs", 1, "--name", "norms"))
    with_norms = replace(results[0], inputs=replace(results[0].inputs, processes=2))
    without = replace(with_norms, training=replace(with_norms.training, encoders={}))
    assert "2 processes shared each batch; batch normalisations saw their part of it" in with_norms.summary()
    assert "2 processes shared each batch" in without.summary()
    assert "batch normalisations" not in " ".join(without.summary())


def test_a_run_is_shown_and_its_options_are_heard(workspace: Path) -> None:
    words = ("--unfreeze", "none", "--batchnorm", "frozen", "--epochs", 1, "--precision", "bf16", "--name", "frozen")
    shown = run(*begin(workspace, *words)).output
    assert "0 parameters trained (unfreeze none); batch normalisations stay as they were" in shown
    assert "waiting for files" in shown
    assert "--checkpoint" in shown
    assert "P@5 image_audio" in shown
    folder = workspace / "runs" / "frozen"
    after = safetensors.torch.load_file(folder / "encoder.safetensors")
    before = safetensors.torch.load_file(workspace / "small.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_recordings_are_decoded_into_a_store_once(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = train_end_to_end.train_end_to_end

    def waiting(*words: Any, **options: Any) -> JointTraining:
        training = train(*words, **options)
        return replace(training, seconds=100.0, waiting=90.0)

    monkeypatch.setattr(train_end_to_end, "train_end_to_end", waiting)
    first = answer(*begin(workspace, "--store", "--name", "first"))
    monkeypatch.setattr(crops, "write_waveform", None)  # nothing is to be decoded any more
    shown = run(*begin(workspace, "--store", "--name", "second")).output
    held = first["waveforms"]["audio"]
    assert re.search(rf"decoded waveforms: {held['recordings']} recordings, \S+ MB in \S+\.waveforms$", shown, re.M)
    assert held["bytes"] == sum(path.stat().st_size for path in Path(held["store"]).iterdir())
    assert "90% of it waiting for files; more --workers would help" in shown
    assert files(workspace / "runs" / "first") == files(workspace / "runs" / "second")
    for name, store in (("second", True), (RUN, False)):
        assert json.loads((workspace / "runs" / name / "settings.json").read_text())["store"] is store
    with safetensors.safe_open(workspace / "runs" / "second" / "encoder.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["emoclim"])["store"]
    told = run(*begin(workspace, "--name", "third")).output
    assert "90% of it waiting for files; more --workers, or --store, would help" in told


def test_a_recording_that_cannot_be_decoded_is_left_out_as_ever(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = (workspace / "data" / "audio.csv").read_text().splitlines()
    spoilt = [workspace / "data" / row.partition(",")[0] for row in rows if row.endswith(",train") or ",train," in row]
    for path in spoilt[:12]:
        path.write_bytes(b"no sound")
    shown = run(*begin(workspace, "--store", "--name", "spoilt")).output
    assert "; 12 of this run cannot be used" in shown
    assert re.search(r"^\d+ recordings could not be used \(\S+: this is no sound file", shown, re.M)
    assert len(set(re.findall(r"(\S+) cannot be used and is left out: this is no sound file", caplog.text))) > 2


def test_mistakes_are_told_in_one_line(workspace: Path) -> None:
    for words, told in (
        (("--unfreeze", "some"), "unfreeze = 'some' is not possible; it must be all, none, batchnorm or, say, last:2"),
        (("--unfreeze", "last:9"), "unfreeze = last:9 is too many: the encoder has 1"),
        (("--loss-weights", "1,2"), "loss weights (1.0, 2.0) must be 4 finite numbers"),
    ):
        result = run(*begin(workspace, *words), code=2)
        assert told in result.output
        assert len(list((workspace / "runs").iterdir())) == 1
    assert "name the encoder to train with --encoder" in run("train-end-to-end", code=2).output


def test_settings_of_heads_and_encoder_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "both.toml"
    path.write_text(QUICK)
    config, own, tuning, augmentations = load_joint_config(path, TrainConfig(), SupConSettings)
    assert not augmentations
    assert own == {}
    assert (config.batch_size, config.learning_rate, tuning) == (8, 1e-4, EncoderTuning(learning_rate=1e-3))
    for text, told in (
        ("[encoder]\nunfreezes = 'all'", r"both.toml: no setting is called 'unfreezes' \(did you mean 'unfreeze'\?\)"),
        ("encoder = 3", r"both.toml: encoder = 3 is no table; write \[encoder\] above its settings"),
        ("[encoder]\nclip_norm = 0", "clip_norm = 0 is not possible; it should be greater than 0"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            load_joint_config(path, TrainConfig(), SupConSettings)
