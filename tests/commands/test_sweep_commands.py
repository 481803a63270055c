"""`emoclim train-heads`: sweeps and what they leave, runs that go on after a kill, and the losses to choose from."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import answer, brief, run
from commands import finished as finished
from commands import workspace as workspace
from forked_engine import Forked
from matplotlib.figure import Figure
from pyarrow import parquet
from typer.testing import CliRunner

from emoclim.cli import app
from emoclim.config import TrainConfig
from emoclim.learning.learner import Learner
from emoclim.pipeline import run as run_machine
from emoclim.pipeline.training import run_files, sweep


def test_banks_on_workers_come_to_the_same_bytes(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Forked(workers=2)
    monkeypatch.setattr("emoclim.cluster.open_engine", lambda text, device: engine)
    words = ("train-heads", "--seeds", 3, "--epochs", 2, "--workspace", workspace, "--name")
    run(*words, "shared", "--on", "local:2")
    assert engine.started == 2
    run(*words, "alone")
    for name in ("heads.safetensors", "settings.json", "history.json", "sweep.csv"):
        shared, alone = ((workspace / "runs" / run / name).read_bytes() for run in ("shared", "alone"))
        assert shared == alone, name


def test_same_seed_gives_the_same_bytes(workspace: Path) -> None:
    run("train-heads", "--epochs", 2, "--workspace", workspace, "--name", "again")
    first, again = workspace / "runs" / "001-colour-timbre", workspace / "runs" / "again"
    for name in ("heads.safetensors", "settings.json", "history.json", "history.png"):
        assert (first / name).read_bytes() == (again / name).read_bytes(), name


def test_several_weights_train_at_once_and_one_is_chosen(finished: Path) -> None:
    words = ("--loss-weights", "1,1,0,0", "--loss-weights", "0.25,0.25,0.25,0.25", "--name", "two", "--select", "mrr")
    result = answer(*brief(finished), *words)
    heads = result["heads"]
    assert [head["loss_weights"] for head in heads] == [[1, 1, 0, 0], [0.25] * 4]
    means = [(head["validation"]["MRR image_audio"] + head["validation"]["MRR audio_image"]) / 2 for head in heads]
    assert [head["score"] for head in heads] == pytest.approx(means)
    assert result["chosen"] == max((0, 1), key=means.__getitem__)
    assert answer("evaluate", "two", "--workspace", finished, "--no-plots")["head"] == result["chosen"]
    other = answer("evaluate", "two", "--workspace", finished, "--no-plots", "--head", 1 - result["chosen"])
    assert other["head"] == 1 - result["chosen"]


def test_a_sweep_leaves_tables_and_a_picture(workspace: Path) -> None:
    words = ("--sweep", 3, "--temperature", 0.07, "--temperature", 0.2, "--seeds", 2, "--keep", 3, "--name", "wide")
    result = answer(*brief(workspace), *words)
    assert len(result["heads"]) == 3 * 2 * 2
    assert len(result["kept"]) == 3
    assert result["chosen"] in result["kept"]
    folder = workspace / "runs" / "wide"
    assert {path.name for path in folder.iterdir()} == {
        "heads.safetensors", "settings.json", "history.json", "history.parquet", "history.png", "run.json",
        "sweep.csv", "sweep.parquet", "sweep.png",
    }  # fmt: skip
    with (folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["candidate"]) for row in rows] == list(range(12))
    assert [row["candidate"] for row in rows if row["chosen"] == "True"] == [str(result["chosen"])]
    table = parquet.read_table(folder / "sweep.parquet").to_pydict()
    assert table["P@5 image_audio"] == [head["validation"]["P@5 image_audio"] for head in result["heads"]]
    assert parquet.read_table(folder / "history.parquet").num_rows == 12
    whole = answer(*brief(workspace), *words[:-4], "--name", "whole")
    assert whole["heads"] == result["heads"]
    for number in result["kept"][1:]:
        reports = [
            answer("evaluate", name, "--head", number, "--workspace", workspace, "--no-plots")["directions"]
            for name in ("wide", "whole")
        ]
        assert reports[0] == reports[1]
    lost = next(number for number in range(12) if number not in result["kept"])
    told = run("evaluate", "wide", "--head", lost, "--workspace", workspace, code=2).stderr
    assert f"run wide keeps no head {lost}; it keeps " in told


def test_a_sweep_of_several_shapes_is_one_run(workspace: Path) -> None:
    (workspace / "sweep.toml").write_text("points = 2\nhidden_dim = [64, 128]\nlearning_rate = [1e-4, 1e-3]\n")
    words = ("--sweep-file", workspace / "sweep.toml", "--name", "shapes")
    result = answer(*brief(workspace), *words)
    assert [head["config"]["hidden_dim"] for head in result["heads"]] == [64] * 4 + [128] * 4
    with (workspace / "brief.toml").open("a") as file:
        file.write("hidden_dim = 64\nlearning_rate = 1e-3\n")
    alone = answer(*brief(workspace), "--name", "alone")
    assert alone["heads"][0]["validation"] == result["heads"][2]["validation"]


def test_a_killed_run_is_taken_up_and_ends_with_the_same_bytes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def dying(snapshot: object, path: Path) -> None:
        keep(snapshot, path)
        seen.append(snapshot)
        if len(seen) == 2:
            raise Killed

    seen: list[object] = []
    keep = run_machine.write_own
    words = (*brief(workspace), "--epochs", 3, "--sweep", 3)
    run(*words, "--name", "whole")
    monkeypatch.setattr(run_machine, "write_own", dying)
    with pytest.raises(Killed):
        CliRunner().invoke(app, [str(word) for word in (*words, "--name", "killed")], catch_exceptions=False)
    monkeypatch.setattr(run_machine, "write_own", keep)
    killed, whole = workspace / "runs" / "killed", workspace / "runs" / "whole"
    assert [path.name for path in killed.iterdir()] == ["unfinished"]
    assert answer("evaluate", "--workspace", workspace, "--no-plots")["run"] == "whole"  # it is no run yet
    assert "runs/killed exists already" in run(*words, "--name", "killed", code=2).stderr
    run("train-heads", "--resume", "killed", "--workspace", workspace)
    names = {path.name for path in whole.iterdir()} - {"evaluation"}
    assert {path.name for path in killed.iterdir()} == names
    for name in names - {"run.json"}:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    told = run("train-heads", "--resume", "killed", "--workspace", workspace, code=2).stderr
    assert "is not unfinished" in told
    assert "there is no run lost" in run("train-heads", "--resume", "lost", "--workspace", workspace, code=2).stderr


def test_what_changed_meanwhile_is_not_gone_on_with(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(snapshot: object, path: Path) -> None:
        keep(snapshot, path)
        raise OSError(28, "No space left on device")

    keep = run_machine.write_own
    monkeypatch.setattr(run_machine, "write_own", dying)
    told = run(*brief(workspace), "--epochs", 3, "--name", "full", code=2).stderr
    assert "No space left on device" in told
    monkeypatch.setattr(run_machine, "write_own", keep)
    table = workspace / "data" / "images.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    told = run("train-heads", "--resume", "full", "--workspace", workspace, code=2).stderr
    assert "run full cannot be resumed: the image library changed since it began" in told


def test_a_run_is_gone_on_with_after_another_manifest_was_extracted(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(snapshot: object, path: Path) -> None:
        keep(snapshot, path)
        raise OSError(28, "No space left on device")

    keep = run_machine.write_own
    words = (*brief(workspace), "--epochs", 3)
    run(*words, "--name", "whole")
    monkeypatch.setattr(run_machine, "write_own", dying)
    run(*words, "--name", "killed", code=2)
    monkeypatch.setattr(run_machine, "write_own", keep)
    header, *rows = (workspace / "data" / "images.csv").read_text().splitlines()
    (workspace / "data" / "few.csv").write_text("\n".join([header, *rows[::2]]) + "\n")
    run("extract", "images", workspace / "data" / "few.csv", "--encoder", "colour", "--workspace", workspace)
    run("train-heads", "--resume", "killed", "--workspace", workspace)
    killed, whole = workspace / "runs" / "killed", workspace / "runs" / "whole"
    assert (killed / "heads.safetensors").read_bytes() == (whole / "heads.safetensors").read_bytes()


def test_ctrl_c_ends_with_what_is_done(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupting(snapshot: object, path: Path) -> None:
        keep(snapshot, path)
        raise KeyboardInterrupt

    keep = run_machine.write_own
    monkeypatch.setattr(run_machine, "write_own", interrupting)
    stopped = run(*brief(workspace), "--epochs", 3, "--name", "stopped").stdout
    assert "stopped early; go on with: emoclim train-heads --resume stopped" in stopped
    assert answer("evaluate", "stopped", "--workspace", workspace, "--no-plots")["run"] == "stopped"
    monkeypatch.setattr(run_machine, "write_own", keep)
    finished = answer("train-heads", "--resume", "stopped", "--workspace", workspace)
    assert not finished["interrupted"]
    assert finished["heads"] == answer(*brief(workspace), "--epochs", 3)["heads"]


def quick(workspace: Path, **lists: str) -> list[object]:
    """Words of a sweep of small heads, with a file of lists to try."""
    lines = {"hidden_dim": "32", "embedding_dim": "16", "batches_per_epoch": "3", "val_batches": "2", "epochs": "2"}
    text = "".join(f"{name} = {value}\n" for name, value in (lines | lists).items())
    (workspace / "sweep.toml").write_text(text)
    return ["train-heads", "--workspace", workspace, "--sweep-file", workspace / "sweep.toml"]


def test_heads_that_are_lost_spare_the_others(workspace: Path) -> None:
    words = quick(workspace, temperature="[0.07, 1e-42]", learning_rate="[1e-4, 1e30]")
    result = answer(*words, "--name", "some")
    assert [head["score"] is None for head in result["heads"]] == [False, True, True, True]
    assert result["chosen"] == 0
    history = json.loads((workspace / "runs" / "some" / "history.json").read_text())["heads"]
    assert None in history[1]["val_loss"]
    told = run(*quick(workspace, learning_rate="1e30"), "--name", "all", code=2).stderr
    assert "no validation loss was ever finite, so there is nothing to keep; lower the learning rate" in told
    assert not (workspace / "runs" / "all").exists()


@pytest.mark.parametrize("moment", ["in the second bank", "in validation"])
def test_ctrl_c_at_any_time_keeps_what_is_done(workspace: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    words = quick(workspace, learning_rate="[1e-4, 1e-3]")
    whole = answer(*words, "--name", "whole")
    with monkeypatch.context() as patch:
        if moment == "in validation":
            plain = sweep.evaluate_each

            def validating(*given: Any, **named: Any) -> Any:
                signal.raise_signal(signal.SIGINT)
                return plain(*given, **named)

            patch.setattr(sweep, "evaluate_each", validating)
        else:
            step, seen = Learner.step, []

            def stepping(*given: Any) -> Any:
                seen.append(1)
                if len(seen) == 2 * 3 + 2:
                    raise KeyboardInterrupt
                return step(*given)

            patch.setattr(Learner, "step", stepping)
        stopped = answer(*words, "--name", "stopped")
    assert stopped["interrupted"]
    assert [head["candidate"] for head in stopped["heads"]] == ([0, 1] if moment == "in validation" else [0])
    assert answer("evaluate", "stopped", "--workspace", workspace, "--no-plots")["run"] == "stopped"
    assert answer("train-heads", "--resume", "stopped", "--workspace", workspace)["heads"] == whole["heads"]


def test_a_run_that_is_written_anew_is_none_until_it_is_whole(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def dying(*given: object, **named: object) -> None:
        raise Killed

    keep = run_machine.write_own

    def interrupting(snapshot: Any, path: Path) -> None:
        keep(snapshot, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_machine, "write_own", interrupting)
        run(*quick(workspace, points="4"), "--keep", 2, "--name", "torn")
    with monkeypatch.context() as patch:
        patch.setattr(run_files, "plot_history", dying)
        with pytest.raises(Killed):
            CliRunner().invoke(
                app, ["train-heads", "--resume", "torn", "--workspace", str(workspace)], catch_exceptions=False
            )
    told = run("evaluate", "torn", "--workspace", workspace, code=2).stderr
    assert "torn is no run" in told
    assert "--resume torn" in told
    run("train-heads", "--resume", "torn", "--workspace", workspace)
    run("evaluate", "torn", "--workspace", workspace, "--no-plots")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--resume", "x", "--epochs", 9, "--sweep", 5), "--epochs, --sweep would have no effect"),
        (("--rounds", 9, "--study", "x"), "--rounds, --study would have no effect"),
        (("--setting", "width=7"), "no setting is called 'width'"),
        (("--optuna", ""), "should be a URL or a file"),
        (("--objective", "class_similarity"), "give them by --vad (valence_arousal) or --word-vectors (words)"),
        (("--objective", "emo_clim", "--vad", "words.csv"), "--vad would have no effect on objective emo_clim"),
        (("--objective", "triplet", "--vad", "words.csv"), "or give --setting branches=3, which uses it"),
        (("--temperature", 0.1, "--setting", "temperature=0.2"), "temperature is given twice"),
        (("--name", ""), "'' is no name for a run"),
    ],
)
def test_options_without_effect_are_told(finished: Path, words: tuple[object, ...], told: str) -> None:
    assert told in run("train-heads", "--workspace", finished, *words, code=2).stderr


def test_the_picture_takes_loss_weights_of_any_sum(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def draw(weights: Any, *rest: Any) -> Figure:
        drawn.append(weights)
        return Figure()

    monkeypatch.setattr(run_files, "sweep_figure", draw)
    run(*quick(workspace, loss_weights="[[2, 1, 1, 0], [1, 1, 1, 1]]"))
    assert drawn[0].tolist() == [[0.5, 0.25, 0.25, 0], [0.25] * 4]


def test_heads_that_do_not_fit_train_in_parts_and_that_is_told(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    together = answer(*quick(workspace, points="5"), "--name", "together")
    config = TrainConfig(batch_size=together["heads"][0]["config"]["batch_size"])
    note = {"image": 99, "audio": 151}
    each = sum(32 * (dim + 16 + 6) + 16 for dim in note.values())
    rows = 2 * config.batch_size * (6 * 32 + 4 * 16 + 12 * config.batch_size)
    monkeypatch.setattr(sweep, "_free_memory", lambda device: int(2.5 * 2 * 4 * (7 * each + rows)))
    parts = answer(*quick(workspace, points="5"), "--name", "parts")
    assert "5 pairs of heads do not fit into memory at once; they are trained 2 at a time" in caplog.text
    assert parts["heads"] == together["heads"]


def test_emotions_may_attract_each_other_by_valence_and_arousal(workspace: Path) -> None:
    places = {"exciting": (0.9, 0.9), "happy": (1, 0.7), "funny": (0.9, 0.6), "angry": (0.1, 0.8), "scary": (0.1, 0.9)}
    rows = [f"{word},{valence},{arousal}" for word, (valence, arousal) in places.items()]
    (workspace / "vad.csv").write_text("\n".join(["word,valence,arousal", *rows]) + "\n")
    words = (*brief(workspace), "--vad", workspace / "vad.csv")
    assert "sad" in run(*words, code=2).stderr
    (workspace / "vad.csv").write_text("\n".join(["word,valence,arousal", *rows, "sad,0.1,0.3"]) + "\n")
    result = answer(*words, "--setting", "width=0.2")
    assert result["objective"] == "class_similarity"
    assert result["heads"][0]["config"]["width"] == 0.2
    assert len(result["label_vectors"]["table"]) == 6
    plain = answer(*brief(workspace))
    assert plain["label_vectors"] is None
    assert plain["heads"] != result["heads"]
    assert answer(*brief(workspace), "--no-positive", "skip")["heads"]
