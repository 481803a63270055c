"""Make runs: plan, train with snapshots, resume after a kill, write the result, clean up.

Every kind of run is a :class:`Step`, and :func:`start` and :func:`resume` serve them all. An unfinished run has a
folder with ``plan.json``, all that the bytes of its result depend on, and with snapshots. Invariant: killed anywhere
and resumed, a run leaves the bytes of one that never was; until it is whole, no reader takes it for a result.
"""

import json
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic_core import to_jsonable_python

from emoclim.cluster import Engine
from emoclim.config import RunConfig
from emoclim.encoders import read_own, write_own
from emoclim.errors import ConfigError, RunError, name_some, reason_of
from emoclim.files import PARTIAL, partial_beside, read_json, remove, write_json
from emoclim.learning import ALONE, Replicas, Snapshot
from emoclim.pipeline.machine import digest_of
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

SCHEMA = 3  # of plans, and of the files of a run
UNFINISHED, PLAN, SETTINGS = "unfinished", "plan.json", "settings.json"


class NothingToKeep(ConfigError):
    """No loss of a training was ever finite; its run is deleted."""


class Inputs(Protocol):
    """What a run is made from, loaded: libraries, encoders, other runs."""

    @property
    def noted(self) -> Mapping[str, Any]:
        """Plain values that change if an input does, by what a user calls it."""


class Result(Protocol):
    """What a run gave."""

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped early, so that it can be resumed."""

    def write(self) -> None:
        """Write all files into the run's folder; what makes it a result comes last."""


C = TypeVar("C", bound=RunConfig)
I = TypeVar("I", bound=Inputs)  # noqa: E741 - as C and R
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run is made with; nothing of its result depends on it."""

    workspace: Workspace = Workspace()
    device: str = "auto"
    workers: int | None = None  # processes that decode; None takes one per core
    track: Track = silent
    watch: Callable[[Any], None] | None = None  # is told of each epoch
    replicas: Replicas = ALONE  # processes that train together, of which the first one writes
    engine: Engine | None = None  # where parts of it are trained; None trains all here


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the bytes of a run depend on, as plain values, with a digest that tells it from others."""

    step: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    digest: str
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class Work:
    """An unfinished run: its folder, that of its plan and snapshots, and the plan."""

    run: Path
    folder: Path
    plan: Plan
    resources: Resources

    def read(self, name: str) -> Snapshot | None:
        """Read a snapshot, if there is one."""
        path = self._path(name)
        try:
            return read_own(path, lambda tensors, _: tensors) if path.exists() else None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged ({error}); delete it and resume again, without what it kept") from error

    def keep(self, name: str) -> Callable[[Snapshot], None]:
        """Return a function that writes snapshots of that name."""
        return lambda snapshot: write_own(snapshot, self._path(name))

    def has_snapshots(self) -> bool:
        """Tell whether there is anything to resume from."""
        return any(self.folder.rglob("*.safetensors"))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


class Step(ABC, Generic[C, I, R]):
    """A kind of run."""

    name: str  # of the command that makes and resumes it
    config: type[C]  # everything asked for

    @abstractmethod
    def inputs(self, config: C, resources: Resources, known: Mapping[str, Any]) -> I:
        """Load what a run is made from; of a run that is resumed, `known` is what was noted when it began."""

    @abstractmethod
    def place(self, config: C, inputs: I, workspace: Workspace, name: str | None) -> Path:
        """Make or find the folder of a run, of that name where one is given."""

    @abstractmethod
    def run(self, config: C, inputs: I, work: Work) -> R:
        """Do what is left, keeping snapshots."""

    def work_folder(self, folder: Path) -> Path:
        """Return the folder of the plan and snapshots of a run."""
        return folder / UNFINISHED

    def how_to_continue(self, folder: Path) -> str:
        """Say how a run that was stopped goes on."""
        return f"go on with: emoclim {self.name} --resume {folder.name}"


def start(step: Step[C, I, R], config: C, resources: Resources = Resources(), *, name: str | None = None) -> R:
    """Begin a run and finish it; go on where the same plan was begun in the same folder."""
    with resources.replicas.main_process_first():
        inputs = step.inputs(config, resources, {})
    plan = _plan(step, config, inputs)
    folder = resources.replicas.broadcast_result(lambda: step.place(config, inputs, resources.workspace, name))
    work = Work(folder, step.work_folder(folder), plan, resources)
    if resources.replicas.first:
        try:
            _begin(work)
        except OSError:
            _discard(work)
            raise
    return _execute(step, config, inputs, work)


def resume(step: Step[C, I, R], run: str, resources: Resources = Resources()) -> R:
    """Go on with a run that was killed or stopped, unless what it is made from has changed."""
    return _execute(step, *reopen(step, run, resources))


def reopen(step: Step[C, I, R], run: str, resources: Resources) -> tuple[C, I, Work]:
    """Load what an unfinished run is made from, as :func:`resume` goes on with it."""
    folder = _find_unfinished(resources.workspace, run, step)
    plan = _read_plan(folder, step)
    try:
        config = step.config.model_validate_json(json.dumps(plan.config))
    except ConfigError as error:
        raise _other_version(folder) from error
    if plan.digest != digest_of_run(step, plan.config, plan.inputs):
        raise RunError(f"the plan of run {folder} is damaged: it is not as it was; delete {folder} and train again")
    with resources.replicas.main_process_first():
        inputs = step.inputs(config, resources, plan.inputs)
    noted = to_jsonable_python(inputs.noted)
    if changed := [what for what in plan.inputs if noted.get(what) != plan.inputs[what]]:
        raise RunError(f"run {folder.name} cannot be resumed: {name_some(changed)} changed since it began; train again")
    return config, inputs, Work(folder, step.work_folder(folder), plan, resources)


def require_finite(losses: Iterable[float]) -> None:
    """Refuse a training that gave nothing to keep."""
    if not any(map(math.isfinite, losses)):
        raise NothingToKeep("no validation loss was ever finite, so there is nothing to keep; lower the learning rate")


def _plan(step: Step[C, I, R], config: C, inputs: I) -> Plan:
    asked, noted = config.model_dump(mode="json"), to_jsonable_python(inputs.noted)
    return Plan(step.name, asked, noted, digest_of_run(step, asked, noted))


def digest_of_run(step: Step[C, I, R], asked: Mapping[str, Any], noted: Mapping[str, Any]) -> str:
    """Return the digest of all that the bytes of a run depend on."""
    told = {name: value for name, value in asked.items() if name not in step.config.NOTED}
    return digest_of([SCHEMA, step.name, told, noted])


def _begin(work: Work) -> None:
    """Write the plan, unless the same one was begun there."""
    path = work.folder / PLAN
    if not path.exists() or read_json(path, RunError, f"delete {work.folder}").get("digest") != work.plan.digest:
        shutil.rmtree(work.folder, ignore_errors=True)
        write_json(path, asdict(work.plan))


def _execute(step: Step[C, I, R], config: C, inputs: I, work: Work) -> R:
    first = work.resources.replicas.first
    if first:
        for left in work.run.glob(f".*{PARTIAL}"):  # by a process that was killed while it wrote
            remove(left)
    try:
        result = step.run(config, inputs, work)
        work.resources.replicas.broadcast_result(result.write)
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, for one: what was done is kept, even if it was only asked for
        advice = f"see to its place and its space, and {step.how_to_continue(work.run)}"
        raise RunError(f"run {work.run} stopped ({reason_of(error)}); {advice}") from error
    except BaseException as error:
        if first and (isinstance(error, NothingToKeep) or not work.has_snapshots()):
            _discard(work)
        elif isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(step.how_to_continue(work.run)) from error
        raise
    if first and not result.interrupted:
        done = work.folder.rename(partial_beside(work.folder))  # at once, for what is half deleted cannot be resumed
        shutil.rmtree(done)
    return result


def _discard(work: Work) -> None:
    """Delete a plan without snapshots, and its run unless that has results already."""
    shutil.rmtree(work.folder, ignore_errors=True)
    if not any(work.run.glob("*.json")):
        shutil.rmtree(work.run, ignore_errors=True)


def _find_unfinished(workspace: Workspace, run: str, step: Step[C, I, R]) -> Path:
    folder = next((path for path in (workspace.runs / run, Path(run)) if path.is_dir()), None)
    if folder is None:
        raise RunError(f"there is no run {run} in {workspace.runs}; name one of its folders")
    if not (step.work_folder(folder) / PLAN).is_file():
        never = "" if (folder / SETTINGS).is_file() else " (it never began; delete it)"
        raise RunError(f"run {folder} is not unfinished; there is nothing to go on with{never}")
    return folder


def _read_plan(folder: Path, step: Step[C, I, R]) -> Plan:
    path = step.work_folder(folder) / PLAN
    advice = f"delete {folder} and train again"
    content: dict[str, Any] = read_json(path, RunError, advice)
    if content.get("schema") != SCHEMA or content.keys() != Plan.__dataclass_fields__.keys():
        raise _other_version(folder)
    plan = read_json(path, RunError, advice, Plan)
    if plan.step != step.name:
        raise RunError(f"run {folder} is another command's; go on with: emoclim {plan.step} --resume {folder.name}")
    return plan


def _other_version(folder: Path) -> RunError:
    return RunError(f"the plan of run {folder} is of another version of emoclim; delete {folder} and train again")
