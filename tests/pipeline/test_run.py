"""The machine that makes every kind of run: killed anywhere and resumed, a run leaves the same bytes."""

import errno
import json
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
            work.keep("sum")({"value": value, "step": torch.tensor(step + 1), "ballast": torch.zeros(1000)})
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
    write, seen = run_machine.write_own, []

    def dying(snapshot: Any, path: Path) -> None:
        seen.append(path)
        if len(seen) == calls and calls % 2:
            raise error
        write(snapshot, path)
        if len(seen) == calls:
            raise error

    monkeypatch.setattr(run_machine, "write_own", dying)


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
    (elsewhere := resources.workspace.runs / "elsewhere").mkdir()
    partial_beside(folder / "page").symlink_to(elsewhere)
    assert resume(SumStep(), "part", resources) == whole
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (resources.workspace.runs / "whole").iterdir()}
    assert elsewhere.is_dir()
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


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_snapshot_that_a_disk_has_changed_is_told(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    [snapshot] = (killed(resources, monkeypatch, 3) / "unfinished").glob("*.safetensors")
    content = bytearray(snapshot.read_bytes())
    content[place] ^= 1
    for damaged in (content, content[:-3], b"", b"\0" * 8 + b"{}"):
        snapshot.write_bytes(damaged)
        with pytest.raises(RunError, match=f"{snapshot.name} is damaged"):
            resume(SumStep(), "part", resources)


def test_a_snapshot_that_is_a_pipe_is_told(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    [snapshot] = (killed(resources, monkeypatch, 3) / "unfinished").glob("*.safetensors")
    snapshot.unlink()
    os.mkfifo(snapshot)
    with pytest.raises(RunError, match="no regular file"):
        resume(SumStep(), "part", resources)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file become longer than some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = start(SumStep(), SumConfig(), resources, name="whole")
    told = r"part stopped \(.*(large|space).*\); .* go on with: emoclim sum --resume part$"
    with full_disk(2000), pytest.raises(RunError, match=told):  # no room for the first snapshot
        start(SumStep(), SumConfig(), resources, name="part")
    with monkeypatch.context() as patch, pytest.raises(RunError, match=told):  # nor for the result
        patch.setattr(f"{__name__}.write_json", raise_no_space)
        resume(SumStep(), "part", resources)
    assert resume(SumStep(), "part", resources) == whole


def test_a_disk_that_is_full_at_the_start_leaves_nothing(resources: Resources) -> None:
    with full_disk(10), pytest.raises(OSError, match="large"):
        start(SumStep(), SumConfig(), resources, name="part")
    assert list(resources.workspace.runs.iterdir()) == []


def raise_no_space(path: Path, content: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


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


def test_ctrl_c_after_a_snapshot_says_how_to_go_on(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        die_at(2, patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match="emoclim sum --resume part"):
            start(SumStep(), SumConfig(), resources, name="part")


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


@pytest.mark.parametrize(
    "change", [{"config": {}}, {"inputs": {"the number": 4}}, {"digest": "0" * 12}, {"inputs": []}]
)
def test_a_plan_that_says_something_else_is_told(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    plan = killed(resources, monkeypatch) / "unfinished" / "plan.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | change))
    with pytest.raises(RunError, match=r"part.* is damaged"):
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
