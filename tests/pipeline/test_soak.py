"""Trainings that are killed at any moment, and many users of one workspace; `make soak` does ten times as much."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import end_to_end_workspace
import processes
from commands import answer, brief
from commands import finished as finished
from commands import workspace as workspace
from end_to_end_workspace import begin, files
from example_encoders import ROOT
from soaking import rounds, soak
from typer.testing import CliRunner

import emoclim.encoders
from emoclim.cli import app

Words = tuple[object, ...]
KILLS = 3  # at the most of one run
joint = end_to_end_workspace.finished


def give(words: Words, told: Path) -> None:
    """Give a command in another process, and keep what it says."""
    emoclim.encoders.__path__.append(str(ROOT / "examples"))
    result = CliRunner().invoke(app, [str(word) for word in words])
    told.write_text(f"emoclim {words}: {result.output}{result.exception!r}")
    os._exit(result.exit_code)


def killed(process: BaseProcess, seconds: float) -> bool:
    """Wait for so long, and kill what is not done by then."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode == -signal.SIGKILL


def check_kills(begun: Callable[[str], Words], resumed: Callable[[str], Words], runs: Path, told: Path) -> None:
    """Make a run, and others that are killed and resumed until they are done: they hold the same bytes."""
    start, draw = time.perf_counter(), random.Random(0)
    whole = processes.start(give, begun("whole"), told)
    whole.join(120)
    assert whole.exitcode == 0, told.read_text()
    seconds = time.perf_counter() - start
    for number in range(rounds(1)):
        name, kills = f"killed{number}", 0
        while True:
            planned = (runs / name / "unfinished" / "plan.json").exists()
            if not planned:
                shutil.rmtree(runs / name, ignore_errors=True)  # as users are told of a run that never began
            process = processes.start(give, resumed(name) if planned else begun(name), told)
            if not killed(process, draw.uniform(0, seconds) if kills < KILLS else 120):
                break
            kills += 1
            if (runs / name / "heads.safetensors").exists() and not (runs / name / "unfinished").exists():
                break
        assert process.exitcode in (0, -signal.SIGKILL), told.read_text()
        assert files(runs / name) == files(runs / "whole"), (name, kills)


@soak
def test_heads_killed_at_any_moment_end_with_the_same_bytes(workspace: Path, tmp_path: Path) -> None:
    def begun(name: str) -> Words:
        return (*brief(workspace), "--epochs", 4, "--sweep", 2, "--name", name)

    def resumed(name: str) -> Words:
        return ("train-heads", "--resume", name, "--workspace", workspace)

    check_kills(begun, resumed, workspace / "runs", tmp_path / "told")


@soak
def test_encoders_killed_at_any_moment_end_with_the_same_bytes(joint: Path, tmp_path: Path) -> None:
    def begun(name: str) -> Words:
        return begin(joint, "--name", name)

    def resumed(name: str) -> Words:
        return ("train-end-to-end", "--resume", name, "--workspace", joint, *end_to_end_workspace.QUIET)

    check_kills(begun, resumed, joint / "runs", tmp_path / "told")


def commands_of(user: int, workspace: Path) -> Iterator[Words]:
    """What one user does, in an order of their own."""
    draw, place = random.Random(user), ("--workspace", workspace)
    picture = next((workspace / "data").rglob("*.png"))
    choices: list[Words] = [
        ("extract", "images", "--encoder", "colour", *place, "--workers", 0),
        ("extract", "images", "--encoder", "colour", "--setting", "size=64", *place, "--workers", 0),
        brief(workspace),
        ("evaluate", "001-colour-timbre", "--no-plots", *place),
        ("search", picture, "--run", "001-colour-timbre", *place),
        ("cache", "list", *place),
        ("cache", "verify", "timbre", *place),
        ("cache", "gc", "--yes", *place),
    ]
    for _ in range(rounds(4)):
        yield draw.choice(choices)


def use(user: int, workspace: Path, told: Path) -> None:
    """Do all that a user does; what cannot be done just now is told in one line, and never with a traceback."""
    for words in commands_of(user, workspace):
        result = CliRunner().invoke(app, [str(word) for word in words])
        busy = result.exit_code == 2 and "is being written by process" in result.output
        if result.exit_code and not busy:
            told.write_text(f"emoclim {words}: {result.output}{result.exception!r}")
            os._exit(1)


@soak
def test_many_users_share_a_workspace(workspace: Path, tmp_path: Path) -> None:
    before = answer("evaluate", "001-colour-timbre", "--no-plots", "--workspace", workspace)
    users = [processes.start(use, user, workspace, tmp_path / f"{user}") for user in range(4)]
    for user, process in enumerate(users):
        process.join(rounds(120))
        assert process.exitcode == 0, (tmp_path / f"{user}").read_text()
    assert answer("cache", "verify", "timbre", "--workspace", workspace)
    assert answer("evaluate", "001-colour-timbre", "--no-plots", "--workspace", workspace) == before
    assert all((run / "heads.safetensors").is_file() for run in (workspace / "runs").iterdir())
