"""The machine that makes every kind of run: killed anywhere and resumed, a run leaves the same bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from emoclim.config import RunConfig
from emoclim.errors import ConfigError, RunError
from emoclim.files import partial_beside, write_json
from emoclim.pipeline import run as run_machine
from emoclim.pipeline.run import (
    SCHEMA,
    NothingToKeep,
    Resources,
    Step,
    Work,
    resume,
    start,
)
from emoclim.pipeline.workspace import HEADS_FILE, Workspace


class Killed(BaseException):
    pass


class SumConfig(RunConfig):
    steps: int = 5
    lost: bool = False


@dataclass(frozen=True)
class SumInputs:
    number: int

    @property
    def noted(self) -> Mapping[str, Any]:
        return {"the number": self.number}


@dataclass(frozen=True)
class Sum:
    value: float
    plan: str
    folder: Path = field(compare=False)
    interrupted: bool = False

    def write(self) -> None:
        (self.folder / HEADS_FILE).unlink(missing_ok=True)
        write_json(self.folder / "settings.json", {"sum": self.value, "plan": self.plan})
        (self.folder / HEADS_FILE).write_bytes(b"")


class SumStep(Step[SumConfig, SumInputs, Sum]):
    """Adds a number from a file again and again, with a snapshot after each step."""

    name, config = "sum", SumConfig

    def inputs(self, config: SumConfig, resources: Resources, known: Mapping[str, Any]) -> SumInputs:
        return SumInputs(int((resources.workspace.root / "number.txt").read_text()))

    def place(self, config: SumConfig, inputs: SumInputs, workspace: Workspace, name: str | None) -> Path:
        return workspace.claim_run(name, "sum")

    def run(self, config: SumConfig, inputs: SumInputs, work: Work) -> Sum:
        snapshot = work.read("sum") or {"value": torch.tensor(0.0), "step": torch.tensor(0)}
        value, done = snapshot["value"], int(snapshot["step"])
        for step in range(done, config.steps):
            value = value + inputs.number
            work.keep("sum")({"value": value, "step": torch.tensor(step + 1)})
        if config.lost:
            raise NothingToKeep("nothing was ever finite")
        return Sum(float(value), work.plan.digest, work.run)


class OtherStep(SumStep):
    name = "other"


@pytest.fixture
def resources(tmp_path: Path) -> Resources:
    (tmp_path / "number.txt").write_text("3")
    return Resources(Workspace(tmp_path), "cpu")


def die_at(calls: int, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Raise as snapshot number `calls` is written, half of the time before and half of the time after it is."""
    write, seen = run_machine.write_snapshot, []

    def dying(snapshot: Any, path: Path) -> None:
        seen.append(path)
        if len(seen) == calls and calls % 2:
            raise error
        write(snapshot, path)
        if len(seen) == calls:
            raise error

    monkeypatch.setattr(run_machine, "write_snapshot", dying)


def killed(resources: Resources, monkeypatch: pytest.MonkeyPatch, at: int = 2, **asked: Any) -> Path:
    with monkeypatch.context() as patch:
        die_at(at, patch, Killed())
        with pytest.raises(Killed):
            start(SumStep(), SumConfig(**asked), resources, name="part")
    return resources.workspace.runs / "part"


@pytest.mark.parametrize("at", range(2, 6))
def test_killed_anywhere_and_resumed_it_leaves_the_same_bytes(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    whole = start(SumStep(), SumConfig(), resources, name="whole")
    folder = killed(resources, monkeypatch, at)
    assert [path.name for path in folder.iterdir()] == ["unfinished"]
    partial_beside(folder / "run.json").write_text("{")  # as a kill leaves it
    assert resume(SumStep(), "part", resources) == whole
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (resources.workspace.runs / "whole").iterdir()}
    with pytest.raises(RunError, match="is not unfinished"):
        resume(SumStep(), "part", resources)


def test_a_damaged_snapshot_is_told(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = killed(resources, monkeypatch, 3)
    (snapshot,) = (folder / "unfinished").glob("*.safetensors")
    snapshot.write_bytes(b"junk")
    with pytest.raises(RunError, match=f"{snapshot.name} is damaged"):
        resume(SumStep(), "part", resources)
    snapshot.unlink()
    assert resume(SumStep(), "part", resources) == start(SumStep(), SumConfig(), resources, name="whole")


def test_killed_in_writing_it_is_no_run_until_it_was_resumed(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = write_json

    def dying(path: Path, content: Any) -> None:
        plain(path, content)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"{__name__}.write_json", dying)
        with pytest.raises(Killed):
            start(SumStep(), SumConfig(), resources, name="part")
    with pytest.raises(RunError, match="is no run"):
        resources.workspace.run("part")
    resume(SumStep(), "part", resources)
    assert resources.workspace.run("part").name == "part"


def test_before_the_first_snapshot_nothing_is_left(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        die_at(1, patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            start(SumStep(), SumConfig(), resources)
    with pytest.raises(NothingToKeep):
        start(SumStep(), SumConfig(lost=True), resources)
    assert list(resources.workspace.runs.iterdir()) == []


def test_what_changed_since_is_named(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(resources, monkeypatch)
    (resources.workspace.root / "number.txt").write_text("4")
    with pytest.raises(RunError, match="the number changed since"):
        resume(SumStep(), "part", resources)
    (resources.workspace.root / "number.txt").write_text("3")
    assert resume(SumStep(), "part", resources).value == 15


def test_the_run_of_another_command_is_told(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(resources, monkeypatch)
    with pytest.raises(RunError, match="emoclim sum --resume part"):
        resume(OtherStep(), "part", resources)


@pytest.mark.parametrize("change", [{"schema": SCHEMA - 1}, {"config": {"paces": 5}}, {"more": 1}])
def test_a_plan_of_another_version_is_told(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    plan = killed(resources, monkeypatch) / "unfinished" / "plan.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | change))
    with pytest.raises(RunError, match="another version"):
        resume(SumStep(), "part", resources)


def test_a_plan_that_is_damaged_or_missing_is_told(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = killed(resources, monkeypatch) / "unfinished" / "plan.json"
    plan.write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        resume(SumStep(), "part", resources)
    plan.unlink()
    with pytest.raises(RunError, match="it never began"):
        resume(SumStep(), "part", resources)


def test_names_are_taken_once(resources: Resources) -> None:
    start(SumStep(), SumConfig(), resources, name="part")
    for name, told in (("part", "exists already"), ("a/b", "no name for a run")):
        with pytest.raises(RunError, match=told):
            start(SumStep(), SumConfig(), resources, name=name)
    with pytest.raises(ConfigError, match="steps"):
        SumConfig(steps="many")  # type: ignore[arg-type]


def test_a_plan_has_the_digest_of_all_that_its_run_depends_on(resources: Resources) -> None:
    plans = [start(step, SumConfig(**asked), resources).plan for step, asked in (
        (SumStep(), {}), (SumStep(), {}), (SumStep(), {"steps": 4}), (OtherStep(), {}),
    )]  # fmt: skip
    (resources.workspace.root / "number.txt").write_text("4")
    plans.append(start(SumStep(), SumConfig(), resources).plan)
    assert plans[0] == plans[1]
    assert len(set(plans)) == 4
