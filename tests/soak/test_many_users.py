"""Many users of one workspace, each of whom does now this, now that."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import processes
from commands import answer, brief
from commands import finished as finished
from commands import workspace as workspace
from soaking import rounds, soak
from typer.testing import CliRunner

from emoclim.cli import app

Words = tuple[object, ...]
WAITING = 600  # seconds, after which a user waits for what never comes


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
        busy = result.exit_code == 2 and "is being written by " in result.output  # who has just begun is not named yet
        if result.exit_code and not busy:
            told.write_text(f"emoclim {words}: {result.output}{result.exception!r}")
            os._exit(1)


@soak
def test_many_users_share_a_workspace(workspace: Path, tmp_path: Path) -> None:
    before = answer("evaluate", "001-colour-timbre", "--no-plots", "--workspace", workspace)
    users = [processes.start(use, user, workspace, tmp_path / f"{user}") for user in range(4)]
    for user, process in enumerate(users):
        process.join(rounds(WAITING))
        assert process.exitcode == 0, (tmp_path / f"{user}").read_text()
    assert answer("cache", "verify", "timbre", "--workspace", workspace)
    assert answer("evaluate", "001-colour-timbre", "--no-plots", "--workspace", workspace) == before
    assert all((run / "heads.safetensors").is_file() for run in (workspace / "runs").iterdir())
