"""Studies of Optuna: what is asked, what is told, and runs that go on after a kill."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import answer, run
from commands import finished as finished
from commands import workspace as workspace

from emoclim.config import TrainConfig
from emoclim.errors import ConfigError
from emoclim.losses import EMO_CLIM
from emoclim.pipeline import sweeping
from emoclim.pipeline.studies import Study
from emoclim.sweep import Candidate, Space

optuna = pytest.importorskip("optuna")

EVEN = (0.25,) * 4
SPACE = Space(
    [EVEN, (1.0, 1.0, 0.0, 0.0)],
    {"temperature": [0.05, 0.2], "hidden_dim": [64, 128], "dropout": [0.1], "seed": [7, 8]},
    TrainConfig(epochs=3, seed=7),
)


def make_study(folder: Path, *, storage: str = "journal.log", run: str = "001", experiment: str = "a") -> Study:
    return Study(str(folder / storage), "one", SPACE, run=run, experiment=experiment, terms=EMO_CLIM)


def stored(folder: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    return optuna.load_study(study_name="one", storage=optuna.storages.JournalStorage(backend))


@contextmanager
def interrupting_after(n_epochs: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C as an epoch has been kept."""
    keep, seen = sweeping._keep, []

    def counting(snapshot: object, **options: object) -> None:
        keep(snapshot, **options)
        seen.append(snapshot)
        if len(seen) == n_epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "_keep", counting)
    yield
    monkeypatch.setattr(sweeping, "_keep", keep)


def score(candidate: Candidate) -> float:
    """Best at a weight of .7 for the first term."""
    return -((candidate.loss_weights[0] - 0.7) ** 2)


def test_a_round_begins_with_the_given_weights_and_has_all_seeds(tmp_path: Path) -> None:
    found = make_study(tmp_path).ask(4, 0)
    assert [one.config.seed for one in found] == [7, 8] * 4
    assert found[0].loss_weights == EVEN
    assert found[2].loss_weights == (0.5, 0.5, 0, 0)
    for one in found:
        assert sum(one.loss_weights) == pytest.approx(1)
        assert 0.05 <= one.config.temperature <= 0.2
        assert one.config.hidden_dim in (64, 128)
        assert (one.config.dropout, one.config.epochs) == (0.1, 3)
    assert len({one.config.temperature for one in found}) == 4
    assert found[0].config.temperature == found[1].config.temperature


def test_what_was_asked_before_a_kill_comes_again(tmp_path: Path) -> None:
    whole = make_study(tmp_path).ask(4, 0)
    assert make_study(tmp_path).ask(4, 0) == whole
    (tmp_path / "half").mkdir()
    first = make_study(tmp_path / "half").ask(2, 0)
    assert first == whole[:4]
    assert make_study(tmp_path / "half").ask(4, 0) == whole
    assert make_study(tmp_path, run="002").ask(4, 0) != whole


def test_trials_are_told_the_mean_of_their_seeds_once(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    study.ask(3, 0)
    study.tell({0: 0.2, 1: 0.4, 2: float("-inf"), 3: 0.4, 4: 0.5})
    make_study(tmp_path).tell({0: 9.0, 1: 9.0})
    trials = stored(tmp_path).trials
    states = [trial.state.name for trial in trials]
    assert states[:3] == ["COMPLETE", "FAIL", "RUNNING"]  # of the last one a seed is missing
    assert trials[0].value == pytest.approx(0.3)
    assert trials[0].user_attrs == {"run": "001", "candidates": [0, 1]}


def test_it_learns_from_what_it_is_told(tmp_path: Path) -> None:
    study, found = make_study(tmp_path), []
    for number in range(8):
        asked = study.ask(8, 16 * number)
        study.tell({16 * number + place: score(one) for place, one in enumerate(asked)})
        found.append(max(score(one) for one in asked[4:]))
    assert max(found) > -0.001
    weights = [one.loss_weights[0] for one in asked]
    assert sum(abs(weight - 0.7) < 0.2 for weight in weights) > len(weights) / 2


def test_a_study_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    make_study(tmp_path)
    with pytest.raises(ConfigError, match="'one' in .* is of other features, classes or settings; give --study"):
        make_study(tmp_path, experiment="b")


@pytest.mark.parametrize("storage", ["none/study.db", "none/journal.log"])
def test_a_storage_that_cannot_be_used_is_told(tmp_path: Path, storage: str) -> None:
    with pytest.raises(ConfigError, match=f"{storage} cannot be used"):
        make_study(tmp_path, storage=storage)


def test_a_run_of_rounds_goes_on_after_a_stop(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def words(name: str) -> list[object]:
        study = ("--optuna", workspace / f"{name}.db", "--rounds", 2, "--sweep", 3, "--name", name)
        return ["train-heads", "--epochs", 2, "--workspace", workspace, *study]

    whole = answer(*words("whole"))
    assert len(whole["heads"]) == 6
    assert whole["heads"][0]["loss_weights"] == list(EVEN)
    assert "storage" not in whole["study"]
    with interrupting_after(3, monkeypatch):
        stopped = answer(*words("stopped"))
    assert stopped["interrupted"]
    going_on = answer("train-heads", "--resume", "stopped", "--workspace", workspace)
    assert going_on["heads"] == whole["heads"]
    assert not going_on["interrupted"]
    one, other = (workspace / "runs" / name / "heads.safetensors" for name in ("whole", "stopped"))
    assert one.read_bytes() == other.read_bytes()
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{workspace / 'stopped.db'}")
    told = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{workspace / 'stopped.db'}").trials
    assert [trial.value for trial in told] == pytest.approx([head["score"] for head in going_on["heads"]])
    more = run(*words("whole")[:-1], "more").stdout  # the same study, gone on with by another run
    assert f"study {study.study_name}; look at it with: optuna-dashboard sqlite:///" in more
    gone_on = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{workspace / 'whole.db'}")
    assert [trial.user_attrs["run"] for trial in gone_on.trials] == ["whole"] * 6 + ["more"] * 6


def test_event_files_tell_each_epoch_of_each_head(workspace: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("--epochs", 2, "--sweep", 2, "--seeds", 2, "--tensorboard", "--name", "told", "--workspace", workspace)
    run("train-heads", *words)
    folder = workspace / "runs" / "told"
    assert {path.name for path in (folder / "tensorboard").iterdir()} == {"0-0", "0-1"}
    history = json.loads((folder / "history.json").read_text())["heads"]
    for bank, numbers in (("0-0", (0, 1)), ("0-1", (2, 3))):
        events = EventAccumulator(str(folder / "tensorboard" / bank)).Reload()
        for number in numbers:
            scalars = events.Scalars(f"val_loss/head_{number}")
            assert [scalar.value for scalar in scalars] == pytest.approx(history[number]["val_loss"])
            assert [scalar.step for scalar in scalars] == [0, 1]
        assert len(events.Tags()["scalars"]) == 2 * 6
