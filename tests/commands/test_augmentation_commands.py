"""`emoclim train-end-to-end` with augmentations: what is kept of them, and that a run goes on with the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import soundfile
from commands import answer, run
from end_to_end_workspace import begin, files
from end_to_end_workspace import finished as finished
from end_to_end_workspace import workspace as workspace

from emoclim.config import TrainConfig
from emoclim.encoders.colour import load as load_colour
from emoclim.errors import ConfigError
from emoclim.learning.epochs import Snapshot
from emoclim.learning.settings import Augmentations, SupConSettings, load_joint_config
from emoclim.pipeline import run as run_machine
from emoclim.pipeline.training.end_to_end.crops import make_augmenters
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import silent

pytest.importorskip("audiomentations", reason="augmentations need the extra [augment]")

TABLE = """
[augmentations]
gaussian_snr = [5, 40]
background = "sounds"
background_probability = 0.5
"""


@pytest.fixture
def sounds(workspace: Path) -> Path:
    folder = workspace / "sounds"
    folder.mkdir()
    for n in range(3):
        noise = np.random.default_rng(n).standard_normal(48_000) / 10
        soundfile.write(folder / f"{n}.wav", noise, 16_000)
    return folder


def about(folder: Path) -> dict[str, object]:
    with safetensors.safe_open(folder / "encoder.safetensors", framework="pt") as file:
        found: dict[str, object] = json.loads(file.metadata()["emoclim"])
    return found


def test_a_run_says_what_was_added_and_goes_on_with_it(
    workspace: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--gaussian-snr", "5,40", "--background", sounds, "--background-snr", "3,20")
    shown = run(*begin(workspace, *words, "--name", "whole")).output
    assert "sounds of sounds at 3 to 20 dB (80% of them), Gaussian noise at 5 to 40 dB (80% of them)" in shown
    whole = workspace / "runs" / "whole"
    noted = json.loads((whole / "settings.json").read_text())["augmentations"]
    assert noted == noted | {
        "gaussian_snr": [5.0, 40.0],
        "gaussian_probability": 0.8,
        "background": "../sounds",
        "background_snr": [3.0, 20.0],
        "background_probability": 0.8,
        "background_digest": noted["background_digest"],
    }
    assert about(whole)["augmentations"] == {name: value for name, value in noted.items() if name != "background"}
    assert "audiomentations" in json.loads((whole / "run.json").read_text())["versions"]
    write = run_machine.write_own

    def interrupting(snapshot: Snapshot, path: Path) -> None:
        write(snapshot, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_machine, "write_own", interrupting)
    assert answer(*begin(workspace, *words, "--name", "part"))["interrupted"]
    monkeypatch.setattr(run_machine, "write_own", write)
    resume = ("train-end-to-end", "--resume", "part", "--workspace", workspace, "--workers", 0, "--device", "cpu")
    kept = (sounds / "1.wav").read_bytes()
    (sounds / "1.wav").write_bytes((sounds / "0.wav").read_bytes())
    assert "the background sounds changed since" in run(*resume, code=2).output
    (sounds / "1.wav").write_bytes(kept)
    run(*resume)
    assert files(workspace / "runs" / "part") == files(whole)


def test_without_any_nothing_is_said_of_them(workspace: Path) -> None:
    folder = next(path for path in (workspace / "runs").iterdir())
    assert "augmentations" not in about(folder)
    assert json.loads((folder / "settings.json").read_text())["augmentations"] is None


def test_a_table_of_the_file_says_the_same_as_options(workspace: Path, sounds: Path) -> None:
    words = ("--gaussian-snr", "5,40", "--background", sounds, "--background-probability", 0.5, "--epochs", 1)
    run(*begin(workspace, *words, "--name", "typed"))
    quick = workspace / "quick.toml"
    quick.write_text(quick.read_text() + TABLE)
    run(*begin(workspace, "--epochs", 1, "--name", "written"))
    assert files(workspace / "runs" / "typed") == files(workspace / "runs" / "written")
    run(*begin(workspace, "--epochs", 1, "--gaussian-snr", "10,10", "--name", "both"))
    both = json.loads((workspace / "runs" / "both" / "settings.json").read_text())["augmentations"]
    assert (both["gaussian_snr"], both["background_probability"]) == ([10.0, 10.0], 0.5)


def test_mistakes_are_told_before_anything_is_trained(workspace: Path, sounds: Path) -> None:
    (sounds / "9.wav").write_text("no sound")
    for words, told in (
        (("--background", sounds), "9.wav cannot be decoded (Format not recognised); mend it or take it out of its"),
        (("--background", workspace / "none"), "none of background sounds; name another"),
        (("--background-snr", "3,20"), "background_snr would have no effect without background"),
        (
            ("--gaussian-snr", "40,5"),
            "gaussian_snr = (40.0, 5.0) is not possible; give two numbers, the lower one first",
        ),
        (("--gaussian-snr", "loud"), "--gaussian-snr 'loud' is not a list of numbers"),
    ):
        result = run(*begin(workspace, *words), code=2)
        assert told in result.output
        assert len(list((workspace / "runs").iterdir())) == 1
    quick = workspace / "quick.toml"
    for text, told in (
        ("[augmentations]\ngaussian = 5", r"quick.toml: no setting is called 'gaussian' \(did you mean"),
        ("augmentations = 5", r"quick.toml: augmentations = 5 is no table; write \[augmentations\] above its settings"),
    ):
        quick.write_text(text)
        with pytest.raises(ConfigError, match=told):
            load_joint_config(quick, TrainConfig(), SupConSettings)


def test_what_takes_no_waveforms_is_refused(tmp_path: Path) -> None:
    settings = Augmentations(gaussian_snr=(5, 40))
    with pytest.raises(ConfigError, match="encoder 'colour' takes no waveforms to add sounds to; leave augmentations"):
        make_augmenters(settings, {"image": load_colour()}, Workspace(tmp_path), silent)
