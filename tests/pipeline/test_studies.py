"""Studies of Optuna: what is asked, what is told, and runs that go on after a kill."""

import json
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import answer, brief, run
from commands import finished as finished
from commands import workspace as workspace
from objective_cases import emo_clim

from emoclim.config import TrainConfig
from emoclim.errors import ConfigError, MissingLibrary, RunError
from emoclim.learning import Epoch
from emoclim.learning.learner import Learner
from emoclim.learning.sweep import Candidate, Space
from emoclim.pipeline import run as run_machine
from emoclim.pipeline.machine import provenance, without_password
from emoclim.pipeline.training.config import StudyConfig
from emoclim.pipeline.training.run_files import EVENTS_FILE, EpochEvents
from emoclim.pipeline.training.studies import Study
from emoclim.pipeline.training.sweep import CANDIDATES, read_rounds

optuna = pytest.importorskip("optuna")
sqlalchemy = pytest.importorskip("sqlalchemy")

EVEN = (0.25,) * 4
SPACE = Space(
    [EVEN, (1.0, 1.0, 0.0, 0.0)],
    {"temperature": [0.05, 0.2], "hidden_dim": [64, 128], "dropout": [0.1], "seed": [7, 8]},
    TrainConfig(epochs=3, seed=7),
    emo_clim(),
)


def make_study(
    folder: Path,
    *,
    storage: str = "journal.log",
    run: str = "001",
    experiment: str = "a",
    space: Space = SPACE,
    there: bool = False,
) -> Study:
    place = storage if "://" in storage else str(folder / storage)
    config = StudyConfig(storage=place, name="one")
    return Study(config, space, run=run, experiment=experiment, there=there)


def stored(folder: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    return optuna.load_study(study_name="one", storage=optuna.storages.JournalStorage(backend))


@contextmanager
def interrupting_after(n_epochs: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C as an epoch has been kept."""
    keep, seen = run_machine.write_own, []

    def counting(snapshot: object, path: Path) -> None:
        keep(snapshot, path)
        seen.append(snapshot)
        if len(seen) == n_epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_machine, "write_own", counting)
    yield
    monkeypatch.setattr(run_machine, "write_own", keep)


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
        assert 0.05 <= one.all_settings["temperature"] <= 0.2
        assert one.config.hidden_dim in (64, 128)
        assert (one.config.dropout, one.config.epochs) == (0.1, 3)
    assert len({one.all_settings["temperature"] for one in found}) == 4
    assert found[0].settings == found[1].settings


def test_what_was_asked_before_a_kill_comes_again(tmp_path: Path) -> None:
    whole = make_study(tmp_path).ask(4, 0)
    assert make_study(tmp_path).ask(4, 0) == whole
    (tmp_path / "half").mkdir()
    first = make_study(tmp_path / "half").ask(2, 0)
    assert first == whole[:4]
    assert make_study(tmp_path / "half").ask(4, 0) == whole
    later = make_study(tmp_path / "half").ask(4, 8)  # of another round: the first one stays as it is
    assert not {one.loss_weights for one in later} & {one.loss_weights for one in whole}


def test_another_run_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    first = study.ask(4, 0)
    study.tell(dict.fromkeys(range(8), 0.5))
    second = make_study(tmp_path, run="002").ask(4, 0)
    assert not {one.loss_weights for one in first} & {one.loss_weights for one in second}
    study = make_study(tmp_path, run="002")
    study.tell(dict.fromkeys(range(8), 0.7))
    assert [trial.value for trial in stored(tmp_path).trials] == [0.5] * 4 + [0.7] * 4


def test_the_seed_decides_what_is_asked(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 7), ("b", 7), ("c", 11)):
        (tmp_path / name).mkdir()
        space = Space(SPACE.weights, SPACE.settings | {"seed": [seed]}, SPACE.base.updated(seed=seed), SPACE.objective)
        found.append([one.loss_weights for one in make_study(tmp_path / name, space=space).ask(6, 0)])
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert found[0][:2] == found[2][:2]  # the given ones


@pytest.mark.parametrize("killed_at", ["ask", "set_user_attr"])
def test_given_weights_are_tried_though_killed_while_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    class Killed(BaseException):
        pass

    kind = optuna.Study if killed_at == "ask" else optuna.trial.Trial
    plain = getattr(kind, killed_at)

    def dying(*given: object, **named: object) -> None:
        if killed_at == "ask":
            plain(*given, **named)
        raise Killed

    study = make_study(tmp_path)
    monkeypatch.setattr(kind, killed_at, dying)
    with pytest.raises(Killed):
        study.ask(3, 0)
    monkeypatch.setattr(kind, killed_at, plain)
    found = make_study(tmp_path).ask(3, 0)
    assert [one.loss_weights for one in found[::2]][:2] in ([EVEN, (0.5, 0.5, 0, 0)], [(0.5, 0.5, 0, 0), EVEN])


def test_what_is_given_up_is_marked_as_failed(tmp_path: Path) -> None:
    study, other = make_study(tmp_path), make_study(tmp_path, run="002")
    study.ask(2, 0)
    other.ask(1, 0)
    study.give_up()
    assert [trial.state.name for trial in stored(tmp_path).trials] == ["FAIL", "FAIL", "RUNNING"]


def test_trials_are_told_the_mean_of_their_seeds_once(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    study.ask(3, 0)
    study.tell({0: 0.2, 1: 0.4, 2: float("-inf"), 3: 0.4, 4: 0.5})
    make_study(tmp_path).tell({0: 9.0, 1: 9.0})
    trials = stored(tmp_path).trials
    states = [trial.state.name for trial in trials]
    assert states[:3] == ["COMPLETE", "FAIL", "RUNNING"]  # of the last one a seed is missing
    assert trials[0].value == pytest.approx(0.3)
    noted = trials[0].user_attrs["emoclim"]
    assert (noted["run"], noted["candidates"], noted["settings"]["epochs"]) == ("001", [0, 1], 3)


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


def test_a_study_that_another_program_made_is_left_alone(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'theirs.db'}"
    optuna.create_study(storage=place, study_name="one", direction="minimize")
    with pytest.raises(ConfigError, match="give --study another name"):
        make_study(tmp_path, storage="theirs.db")


def test_other_choices_are_told(tmp_path: Path) -> None:
    make_study(tmp_path).ask(1, 0)
    more = Space(SPACE.weights, SPACE.settings | {"hidden_dim": [64, 128, 256]}, SPACE.base, SPACE.objective)
    with pytest.raises(ConfigError, match="cannot be used .*give a URL or a file that can, or --study another name"):
        make_study(tmp_path, space=more).ask(4, 2)


def test_a_study_that_is_gone_is_told_when_it_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="study 'one' is no longer in"):
        make_study(tmp_path, there=True)


def test_candidates_of_another_kind_are_told(tmp_path: Path) -> None:
    (tmp_path / CANDIDATES).write_text('{"rounds": [[{}]]}')
    with pytest.raises(RunError, match="is of another kind"):
        read_rounds(tmp_path, SPACE)


def test_passwords_are_not_shown() -> None:
    assert without_password("mysql://me:secret@host/db") == "mysql://me:***@host/db"
    assert without_password("sqlite:///a.db") == "sqlite:///a.db"


@pytest.mark.parametrize("program", ["venv/bin/emoclim", "src/emoclim/__main__.py"])
def test_the_command_is_noted_as_typed_but_for_passwords(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "argv", [program, "train-heads", "--optuna", "mysql://me:secret@host/db"])
    assert provenance()["command"] == ["emoclim", "train-heads", "--optuna", "mysql://me:***@host/db"]


def test_a_command_is_noted_without_the_place_of_the_program_or_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = tmp_path / "me", str(tmp_path / "mean" / "b")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "mine.py"), f"{home}/a", f"--workspace={home}/w", other])
    assert provenance()["command"] == ["mine.py", "~/a", "--workspace=~/w", other]


def test_without_optuna_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'emoclim\[optuna\]'"):
        make_study(tmp_path)


@pytest.mark.parametrize("storage", ["none/study.db", "none/journal.log"])
def test_a_storage_that_cannot_be_used_is_told(tmp_path: Path, storage: str) -> None:
    with pytest.raises(ConfigError, match=f"{storage} cannot be used|{storage}.* cannot be used"):
        make_study(tmp_path, storage=storage)


def test_a_run_of_rounds_goes_on_after_a_stop(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def words(name: str) -> list[object]:
        study = ("--optuna", workspace / f"{name}.db", "--rounds", 2, "--sweep", 3, "--name", name)
        return [*brief(workspace), "--epochs", 2, *study]

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
    runs = [trial.user_attrs["emoclim"]["run"] for trial in gone_on.trials]
    assert len(runs) == 12
    assert len(set(runs[:6])) == len(set(runs[6:])) == 1
    assert runs[0] != runs[6]
    points = [tuple(trial.params.values()) for trial in gone_on.trials]
    assert len(set(points)) == 12


def test_ctrl_c_before_anything_is_done_leaves_nothing_open(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "step", interrupted)
    words = (
        "--optuna",
        workspace / "study.db",
        "--rounds",
        1,
        "--sweep",
        2,
        "--name",
        "none",
        "--workspace",
        workspace,
    )
    run("train-heads", *words, code=130)
    assert not (workspace / "runs" / "none").exists()
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{workspace / 'study.db'}")
    trials = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{workspace / 'study.db'}").trials
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL"]


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file may grow longer, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_study_loses_nothing_on_a_full_disk(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    asked = study.ask(2, 0)
    size = (tmp_path / "journal.log").stat().st_size
    with small_files(size + 20), pytest.raises(OSError, match=r"File too large: the study in .*journal\.log"):
        study.tell({0: 0.5, 1: 0.25})
    assert (tmp_path / "journal.log").stat().st_size == size
    again = make_study(tmp_path, there=True)
    assert again.ask(2, 0) == asked
    again.tell(dict.fromkeys(range(4), 0.5))
    assert [trial.value for trial in stored(tmp_path).trials] == [0.5, 0.5]


def test_a_line_that_a_kill_cut_short_keeps_no_journal_from_being_read(tmp_path: Path) -> None:
    asked = make_study(tmp_path).ask(1, 0)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code":5,"wor')
    study = make_study(tmp_path, there=True)
    assert study.ask(1, 0) == asked
    study.tell(dict.fromkeys(range(2), 0.5))
    assert [trial.value for trial in stored(tmp_path).trials] == [0.5, None]


def test_a_full_disk_below_a_database_is_told_as_one(tmp_path: Path) -> None:
    place = tmp_path / "study.db"
    study = make_study(tmp_path, storage=f"sqlite:///{place}")
    engine = study._study._storage._backend.engine
    sqlalchemy.event.listen(engine, "begin", lambda one: one.exec_driver_sql("PRAGMA max_page_count = 1"))
    with pytest.raises(OSError, match="No space left on device: the study in sqlite"):
        study.ask(50, 0)


def test_a_full_disk_below_event_files_stops_a_run_that_goes_on(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    write = EpochEvents._write

    def full(self: EpochEvents, folder: Path, numbers: Sequence[int], epoch: Epoch) -> None:
        if epoch.number == 1:
            with small_files((folder / EVENTS_FILE).stat().st_size + 10):
                write(self, folder, numbers, epoch)
        write(self, folder, numbers, epoch)

    monkeypatch.setattr(EpochEvents, "_write", full)
    told = run(*brief(workspace), "--epochs", 3, "--tensorboard", "--name", "full", code=2).stderr
    assert "File too large" in told
    assert "--resume full" in told
    monkeypatch.undo()
    run("train-heads", "--resume", "full", "--workspace", workspace)
    assert (workspace / "runs" / "full" / "history.json").exists()


def test_event_files_tell_each_epoch_of_each_head_once(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("--epochs", 2, "--sweep", 2, "--seeds", 2, "--tensorboard", "--name", "told")
    with interrupting_after(3, monkeypatch):
        run(*brief(workspace), *words)
    run("train-heads", "--resume", "told", "--workspace", workspace)
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
