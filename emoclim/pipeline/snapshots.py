"""Unfinished runs: what is to be done, and snapshots of all that a training needs to go on after its last epoch.

While a run is unfinished, its folder has another one, ``unfinished/``, with a plan, which tells the command that began
it, and snapshots.
"""

from pathlib import Path

import safetensors.torch

from emoclim.errors import RunError
from emoclim.learning import Snapshot
from emoclim.pipeline.workspace import Workspace

UNFINISHED = "unfinished"
PLAN, JOINT_PLAN = "plan.json", "joint_plan.json"
COMMANDS = {PLAN: "train-heads", JOINT_PLAN: "train-end-to-end"}  # which goes on with which plan


def write_snapshot(snapshot: Snapshot, *, path: Path) -> None:
    """Write a snapshot, whole or not at all."""
    aside = path.with_name(f"{path.name}.partial")
    safetensors.torch.save_file({name: tensor.cpu().contiguous() for name, tensor in snapshot.items()}, aside)
    aside.replace(path)


def read_snapshot(path: Path) -> Snapshot | None:
    """Read a snapshot, if there is one."""
    return safetensors.torch.load_file(path) if path.exists() else None


def find_unfinished(workspace: Workspace, run: str, plan: str) -> Path:
    """The folder of an unfinished run, by name or path."""
    folder = next((path for path in (workspace.runs / run, Path(run)) if path.is_dir()), None)
    if folder is None:
        raise RunError(f"there is no run {run} in {workspace.runs}; name one of its folders")
    if (folder / UNFINISHED / plan).is_file():
        return folder
    for other, command in COMMANDS.items():
        if (folder / UNFINISHED / other).is_file():
            raise RunError(f"run {folder} was begun by another command; go on with: emoclim {command} --resume {run}")
    never = " (it never began; delete it)" if (folder / UNFINISHED).is_dir() else ""
    raise RunError(f"run {folder} is not unfinished; there is nothing to go on with{never}")
